"""Charts: pure data in, SVG or HTML out."""
