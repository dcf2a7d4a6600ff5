"""SVG diagrams, plots and reports: pure data in, markup out."""
