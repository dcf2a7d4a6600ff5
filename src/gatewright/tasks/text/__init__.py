"""Prediction of the next symbol of a text."""
