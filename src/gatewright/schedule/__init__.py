"""The schedule of a graph: how its terms are run, whatever prints the kernels. Needs no torch."""
