"""One file per format: each turns a user's data into a table, or into sequences or a text."""
