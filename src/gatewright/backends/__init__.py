"""Backends: run a graph over a sequence. They know no layer.

A backend is a module with one function, `run`; `reference.py` says what it takes and gives.
"""
