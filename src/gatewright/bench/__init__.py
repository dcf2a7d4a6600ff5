"""Benchmarks: how fast a cell runs beside what else there is, and what bounds it."""
