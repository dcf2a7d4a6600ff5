"""Where data come from: a file that is opened safely, and the options to read it with."""
