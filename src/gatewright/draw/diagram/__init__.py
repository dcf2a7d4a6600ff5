"""The diagram of a cell: a layout engine, and the drawing as SVG."""
