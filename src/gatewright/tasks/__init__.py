"""The tasks that networks learn, one file or folder each."""
