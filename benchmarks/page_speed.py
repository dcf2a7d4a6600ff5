"""Time the page's engine in Node: a run, a resumed run, a gradient and the analyses.

    npm ci --prefix view
    python benchmarks/page_speed.py
    python benchmarks/page_speed.py --cell gru --units 64 --steps 500

The measurements go in turns, each with the median and the quartiles of its milliseconds. A page
has to run 256 units over 2,000 steps in about two seconds, in slices of 10 ms between which it
draws. `python: trace` is `layer.trace` here, on one thread, for comparison.

The figures are stored in `benchmarks/results/page-speed-DATE.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

import gatewright as gw
from gatewright.bench.machine import machine
from gatewright.deploy.page import document_of
from gatewright.page.document import to_text

VIEW = Path(__file__).parent.parent / "view"
RESULTS = Path(__file__).parent / "results"
PROGRAM = """
const fs = require("fs"), vm = require("vm");
const [engineFile, documentFile, repeats] = process.argv.slice(1);
vm.runInThisContext(fs.readFileSync(engineFile, "utf8"));
const text = fs.readFileSync(documentFile, "utf8");
const page = readDocument(text);
const model = engine.loadModel(page, 0);
const sequence = engine.exampleSequence(page, page.data[0]);
const first = engine.run(model, sequence);
const from = Math.floor(sequence.steps / 2);
const states = Object.entries(model.layers[0].document.states);
const [state] = states.find(([, { carry }]) => carry.length > 0) ?? states[0];
const work = {
  "read and load": () => engine.loadModel(readDocument(text), 0),
  "run": () => engine.run(model, sequence),
  "run from the middle on": () => engine.run(model, sequence, { earlier: first, from }),
  "gradient": () => engine.gradient(model, first, { output: 0 }),
  "time constants": () => analysis.timeConstants([first], "l0", state),
  "order by similarity": () => analysis.orderBySimilarity([first], `l0.${state}`),
};
const times = Object.fromEntries(Object.keys(work).map((name) => [name, []]));
for (let turn = -1; turn < repeats; turn++) {
  for (const [name, act] of Object.entries(work)) {
    const begin = performance.now();
    act();
    if (turn >= 0) times[name].push(performance.now() - begin); // the first turn compiles
  }
}
console.log(JSON.stringify(times));
"""


def main() -> None:
    """Measure, and print one line for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--inputs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    layer = gw.Recurrent(options.cell, options.inputs, options.units)
    x = torch.randn(options.steps, options.inputs)
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "document.json"
        document.write_text(to_text(document_of({options.cell: layer}, x)))
        build = ["node", "build.mjs", "--tests", folder]
        subprocess.run(build, cwd=VIEW, check=True)
        command = ["node", "-e", PROGRAM, f"{folder}/answers.js", str(document)]
        done = subprocess.run(
            [*command, str(options.repeats)], check=True, capture_output=True, text=True
        )
    times = json.loads(done.stdout)
    times["python: trace"] = [_traced(layer, x) for _ in range(options.repeats)]
    path = RESULTS / f"page-speed-{date.today()}.json"
    settings = vars(options) | {"machine": machine(), "milliseconds": times}
    path.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    print(f"{options.cell}, {options.units} units, {options.steps} steps; milliseconds")
    for name, own in times.items():
        low, median, high = statistics.quantiles(own, n=4)
        print(f"{name:<24}{median:9.1f}   quartiles {low:.1f} to {high:.1f}")


def _traced(layer: gw.Recurrent, x: torch.Tensor) -> float:
    """Milliseconds of one trace."""
    begin = time.perf_counter()
    layer.trace(x[:, None])
    return 1000 * (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
