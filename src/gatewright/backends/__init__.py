"""Backends: they run a graph over a sequence, and know no layer.

A backend is a module with two functions, `run` and `why_not`; `run.py` has what they take and
return, and `choose.py` the table of backends.
"""
