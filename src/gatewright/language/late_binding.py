"""What higher levels add to a cell: bound by name, imported at first use.

A cell draws itself, computes a step and knows its graph, though drawing, tensors and
graphs live on higher levels than the language. This table is the only way up in the
whole package; `tests/test_imports.py` sees to it.
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
    """The function that a higher level offers under `name`."""
    module, function = ABOVE[name].split(":")
    return getattr(import_module(module), function)
