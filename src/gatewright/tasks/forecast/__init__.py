"""Time series: what comes next, and the methods that a network has to beat."""
