"""Measure each pointwise function in the kernels against torch's, and in a cell with one gate.

    python benchmarks/functions.py                       # prints, and stores under "now"
    python benchmarks/functions.py --label before        # with another version on the path
    python benchmarks/functions.py --dtype float64 --only sin erf

The figures are in benchmarks/results/functions.json, by label and number type.

Values: a cell that computes nothing else, against torch's function on the same tensor.
Gate: `h = function(linear(x, h))`, forward and training, against the reference, which is a Python
loop of torch's operations. Both on one thread, in turns; a ratio is the median of the other's time
divided by ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import gatewright as gw
from gatewright.bench.machine import machine, stay_on
from gatewright.bench.timing import in_turns, ratio

RESULTS = Path(__file__).parent / "results" / "functions.json"
#: (time, batch, units) of the values, 3 MB in float32, and of the cell with one gate.
VALUES, GATE = (100, 32, 256), (100, 32, 64)
#: Each function for cells, and for tensors.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "tanh": (gw.tanh, torch.tanh),
    "sigmoid": (gw.sigmoid, torch.sigmoid),
    "exp": (gw.exp, torch.exp),
    "log": (lambda a: gw.log(abs(a)), lambda a: torch.log(torch.abs(a))),
    "sin": (gw.sin, torch.sin),
    "cos": (gw.cos, torch.cos),
    "erf": (gw.erf, torch.erf),
    "gelu": (gw.gelu, torch.nn.functional.gelu),
    "power 2": (lambda a: a**2.0, lambda a: a**2.0),
    "power 1.7": (lambda a: abs(a) ** 1.7, lambda a: torch.abs(a) ** 1.7),
    "power a": (lambda a: abs(a) ** a, lambda a: torch.abs(a) ** a),
}
Figures = dict[str, Any]


class Values(gw.Cell):
    """The function of the events, and a state that is never used."""

    function: str

    def step(self, x, h):  # type: ignore[no-untyped-def]
        return gw.state(h=h, output=FUNCTIONS[self.function][0](x))


class Gate(gw.Cell):
    """One gate, with the function as its activation."""

    function: str

    def step(self, x, h):  # type: ignore[no-untyped-def]
        return gw.state(h=FUNCTIONS[self.function][0](gw.linear(x, h)))


def values(name: str, dtype: torch.dtype, seconds: float) -> Figures:
    """The time of a value, and torch's time divided by ours."""
    layer = gw.Recurrent(Values(function=name), VALUES[-1], VALUES[-1], backend="llvm", dtype=dtype)
    x = 3.0 * torch.randn(VALUES, dtype=dtype)
    plain = FUNCTIONS[name][1]
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], plain(x))
        pairs = in_turns(lambda: layer(x), lambda: plain(x), seconds)
    each = 1e9 * statistics.median(ours for ours, _ in pairs) / x.numel()
    return {"ns": round(each, 3), "torch": str(ratio(pairs))}


def gate(name: str, dtype: torch.dtype, seconds: float) -> Figures:
    """The time of a forward pass and of a training step, and the reference's divided by ours."""
    steps, batch, units = GATE
    layer = gw.Recurrent(Gate(function=name), units, units, dtype=dtype)
    x = torch.randn(steps, batch, units, dtype=dtype, requires_grad=True)
    ones = torch.ones(steps, batch, units, dtype=dtype)

    def on(backend: str, run: Callable[[], Any]) -> Callable[[], Any]:
        def timed() -> Any:
            layer.backend = backend
            return run()

        return timed

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def training() -> None:
        torch.autograd.grad(layer(x)[0], [x, *layer.parameters()], ones)

    figures: Figures = {}
    for kind, run in (("forward", forward), ("training", training)):
        ours, reference = on("llvm", run), on("reference", run)
        ours()
        reference()
        pairs = in_turns(ours, reference, seconds)
        figures[kind] = {
            "ms": round(1e3 * statistics.median(pair[0] for pair in pairs), 3),
            "reference": str(ratio(pairs)),
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--label", default="now", help="the name of the figures (now)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--only", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    parser.add_argument("--seconds", type=float, default=0.4, help="of each timed pair (0.4)")
    options = parser.parse_args(arguments)
    stay_on(1)
    dtype = getattr(torch, options.dtype)
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    rows = stored.setdefault(options.label, {}).setdefault(options.dtype, {})
    for name in options.only:
        row = values(name, dtype, options.seconds)
        row |= gate(name, dtype, options.seconds)
        rows[name] = row
        print(f"{name:10} {row}", flush=True)
    stored["machine"] = machine()
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
