"""Leaving Python: a trained model or a layer as a program or a file for another runtime."""
