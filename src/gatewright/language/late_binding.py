"""Methods of a cell that higher levels implement, imported at first use.

A cell draws itself, computes a step and builds its graph, but drawing, tensors and graphs
are on higher levels than the language. This table is the only import of a higher level in
the whole package; `tests/test_imports.py` enforces that.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

ABOVE = {
    "graph": "gatewright.graph:build_graph",
    "step": "gatewright.backends.step:step",
    "svg": "gatewright.draw.diagram.cell_diagram:svg",
}


def above(name: str) -> Any:
    """Import the function of a higher level that is listed under `name`."""
    module, function = ABOVE[name].split(":")
    return getattr(import_module(module), function)
