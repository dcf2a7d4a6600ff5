"""One file a format: each turns what a user has into a table, or into sequences or a text."""
