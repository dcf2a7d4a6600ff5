"""The number of examples of the tests that draw random cells, walks, files or moments."""

from __future__ import annotations

import os


def example_count(default: int) -> int:
    """`GATEWRIGHT_EXAMPLES` if it is set, as `--quick` sets it to 1, else the test's own number."""
    return int(os.environ.get("GATEWRIGHT_EXAMPLES", default))
