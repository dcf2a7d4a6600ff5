"""The schedule of a graph: the order of its terms, for every printer. Needs no torch."""
