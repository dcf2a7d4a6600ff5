"""Text: which symbol comes next."""
