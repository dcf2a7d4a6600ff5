"""The language that cells are written in. It does not need torch."""
