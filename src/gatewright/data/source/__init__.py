"""Files that are opened safely, and the options to read them with."""
