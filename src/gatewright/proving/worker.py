"""`python -m gatewright.proving.worker`: run kernels on a GPU, in a process that may crash.

It reads requests from its standard input, one line of JSON each, and answers each with a line.
After a failure it ends: an error on a GPU can spoil everything that follows in its process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

import torch

from gatewright.backends.triton.record import Times
from gatewright.errors import BackendError, SizeError
from gatewright.language.cell import StoredCell
from gatewright.proving.exactness import compare
from gatewright.proving.times import compile_for, times_of


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Compare a cell's kernels with the reference, or time them.

    Args:
        request: "name", "cell" (as it is stored), "dtype", "device", and whether to "time".

    Returns:
        The fields of a `Proof` that are known now, or the reason of a refusal.
    """
    cell = StoredCell.from_json(request["cell"])
    name, dtype, device = request["name"], request["dtype"], torch.device(request["device"])
    if request["time"]:
        times: list[Times] = list(times_of(name, cell, dtype, device))
        return {"times": [asdict(each) for each in times]}
    checks, error, worst = 0, 0.0, ""
    try:
        for comparison in compare(cell.graph, getattr(torch, dtype), device):
            checks += 1
            if not comparison.error <= error:
                error, worst = comparison.error, f"{comparison.worst}, {comparison.run}"
            if not comparison.is_right:
                failure = (
                    f"{worst}: its error is {error:.3g} times what is allowed next to the reference"
                )
                return {"failure": failure}
        compile_for(name, cell, dtype, device)
    except (BackendError, SizeError) as refusal:
        return {"refused": str(refusal)}
    return {"checks": checks, "error": error, "worst": worst}


def main() -> None:
    """Answer requests until there are no more, or one fails."""
    # Compilers may print: only our lines go to the process that asked.
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        try:
            fields = answer(json.loads(line))
        except Exception as error:  # of any kind: a failure of the kernels is reported
            fields = {"failure": f"{type(error).__name__}: {error}"[:500]}
        lines.write(json.dumps(fields) + "\n")
        if "failure" in fields:
            break


if __name__ == "__main__":
    main()
