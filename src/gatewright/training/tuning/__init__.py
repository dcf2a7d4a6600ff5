"""A search over recipes and designs, by short-lived trials on validation parts."""
