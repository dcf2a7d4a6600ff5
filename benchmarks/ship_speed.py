"""Time one step of exported C beside the streamed step in Python and a call of ONNX Runtime.

    python benchmarks/ship_speed.py
    python benchmarks/ship_speed.py --cells gru --units 64 --seconds 1 --no-store

The C is compiled as a shared library with each set of flags and called for 50 steps at once, so
that Python's own time is no part of it: it is the time that a program in C has. The streamed step
and ONNX Runtime are called from Python, as they are used. Each is first checked to give the same
outputs, then timed in alternation with the C; a ratio is the other's time divided by that of the
C, with its 95 % interval. The figures are stored in `benchmarks/results/ship-speed-DATE.json`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gatewright as gw
from gatewright.bench.machine import machine, stay_on
from gatewright.bench.stream import STEPS, apart, repeated
from gatewright.bench.timing import in_turns, ratio

RESULTS = Path(__file__).parent / "results"
CELLS = ("lstm", "gru")
UNITS = (64, 256)
#: The sets of flags: for the machine it is compiled on, for any of its kind, and the default.
FLAGS = ("-O3 -march=native", "-O3", "-O2")
#: Largest difference of outputs, relative by norm.
TOLERANCE = 1e-5
#: Runs STEPS steps on the same event, as the contenders in Python do.
DRIVER = """
#include "model.h"
static model_state state;
void start(void) { model_reset(&state); }
void step(const float *x, float *y) { model_step(&state, x, y); }
void steps(const float *x, float *y, int count)
{
    for (int n = 0; n < count; n++) {
        model_step(&state, x, y);
    }
}
"""

Step = Callable[[Any], Any]


class CompiledStep:
    """Exported C as a shared library.

    Args:
        layer: A layer with I = H units.
        flags: Those of the compiler.
        folder: A folder for its files.
    """

    def __init__(self, layer: Any, compiler: str, flags: str, folder: Path) -> None:
        gw.export(layer, folder / "model.c", overwrite=True)
        (folder / "driver.c").write_text(DRIVER)
        library = folder / f"{compiler}{flags.replace(' ', '')}.so"
        command = [compiler, "-std=c99", *flags.split(), "-shared", "-fPIC", "model.c", "driver.c"]
        subprocess.run([*command, "-lm", "-o", str(library)], cwd=folder, check=True)
        self.library = ctypes.CDLL(str(library))
        self.library.start()
        self.y = np.zeros(layer.hidden_size, np.float32)

    def step(self, x: Any) -> Any:
        """One step, for the check."""
        self.library.step(*self._pointers(x))
        return self.y

    def repeated(self, x: Any) -> Callable[[], None]:
        """A run of `STEPS` steps."""
        pointers = self._pointers(x)
        return lambda: self.library.steps(*pointers, STEPS)

    def _pointers(self, x: Any) -> list[ctypes.c_void_p]:
        return [ctypes.c_void_p(array.ctypes.data) for array in (x, self.y)]


def onnx_step(layer: Any) -> Step:
    """A call of ONNX Runtime for each step, with the states in and out."""
    from gatewright.bench.peers import onnx_session
    from gatewright.exports.onnx import layer_model

    session = onnx_session(layer_model(layer))
    names = [f"{name}_in" for name in layer.graph.states]
    states = [np.zeros((1, 1, layer.hidden_size), np.float32) for _ in names]

    def step(x: Any) -> Any:
        nonlocal states
        feeds = {"x": x.reshape(1, 1, -1), **dict(zip(names, states, strict=True))}
        output, *states = session.run(None, feeds)
        return output

    return step


def measure(
    cell: str, units: int, compilers: Sequence[str], seconds: float
) -> list[dict[str, Any]]:
    """The rows of one layer: every compiler and its flags against each contender."""
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, units, units)
    contenders: dict[str, Callable[[], Step]] = {"streamed step": lambda: layer.stepper().step}
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        print("ONNX Runtime is not installed: not measured")
    else:
        contenders["ONNX Runtime"] = lambda: onnx_step(layer)
    x = np.random.default_rng(0).standard_normal(units).astype(np.float32)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for compiler in compilers:
            for flags in FLAGS:
                for name, make in contenders.items():
                    compiled = CompiledStep(layer, compiler, flags, Path(folder))
                    error = apart(make(), compiled.step, units)
                    if not error < TOLERANCE:
                        raise SystemExit(f"{compiler} {flags}, {cell}: {error:.2g} from {name}")
                    pairs = in_turns(compiled.repeated(x), repeated(make(), x), seconds)
                    rows.append(
                        {
                            "cell": cell,
                            "units": units,
                            "compiler": f"{compiler} {flags}",
                            "against": name,
                            "c": statistics.median(own for own, _ in pairs) / STEPS,
                            "other": statistics.median(other for _, other in pairs) / STEPS,
                            "seconds": pairs,
                        }
                    )
                    print(line(rows[-1]), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"| {row['cell']} | {row['units']} | {row['compiler']} | {1e6 * row['c']:.2f} | "
        f"{row['against']} | {1e6 * row['other']:.2f} | {ratio(row['seconds'])} |"
    )


def main() -> None:
    """Check and time each step, print a table, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", default=",".join(CELLS), help="comma-separated")
    parser.add_argument("--units", default=",".join(map(str, UNITS)), help="comma-separated")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds for each pair")
    parser.add_argument("--no-store", action="store_true", help="only print the figures")
    options = parser.parse_args()
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not compilers:
        raise SystemExit("no C compiler was found; expected gcc or clang on the PATH")
    stay_on(1)
    print("| cell | units | compiler | C, us | against | us | its time / that of C (95 %) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for cell in options.cells.split(","):
        for units in map(int, options.units.split(",")):
            rows += measure(cell, units, compilers, options.seconds)
    if not options.no_store:
        path = RESULTS / f"ship-speed-{date.today()}.json"
        path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
