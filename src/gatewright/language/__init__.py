"""The language: what a cell may say. Needs no torch."""
