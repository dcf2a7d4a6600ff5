"""The weights of a layer, by name: in its modules, in torch, in files."""
