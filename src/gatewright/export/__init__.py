"""The text of a cell for other runtimes, printed from its graph."""
