"""Layers: a cell as an nn.Module, with stacking, both directions, and sequences of any length."""
