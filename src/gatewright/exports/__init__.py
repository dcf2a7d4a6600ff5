"""Printers of a cell, from its graph and weights: Python source, JAX, ONNX."""
