"""Benchmarks: the speed of a cell next to its peers, and the limits that bound it."""
