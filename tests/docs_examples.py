"""The examples of docs/reinforcement-learning.md, run where their packages are imported already."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reinforcement-learning.md"


def run_example(package: str) -> dict[str, Any]:
    """Run the example that imports from a package; return the names that it binds."""
    blocks = re.findall(r"(?s)```python\n(.*?)```", PAGE.read_text(encoding="utf-8"))
    (block,) = (block for block in blocks if f"\nfrom {package}." in block)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, f"{PAGE.name}, {package}", "exec"), names)
    return names
