"""Run exported programs on the sequences that a network was recorded with."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gatewright.exports import c, javascript, python
from gatewright.exports.network import ExportedNetwork, Recorded

#: The largest difference, as a share of 1 + the value.
LIMIT = 1e-5
NODE = shutil.which("node")
GCC = shutil.which("gcc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]

#: Runs the sequences of every module in turn: whole, and event by event after a first try and a
#: reset; prints the answers.
RUN_ALL = """
const answers = {};
for (const [name, records] of Object.entries(data)) {
  const module = await load(name);
  answers[name] = records.map(({ x, further, whole }) => {
    const answer = module.run(x, ...whole);
    const rows = Array.isArray(answer) ? answer.map((y) => Array.from(y)) : [Array.from(answer)];
    if (!module.create) return { whole: rows, steps: null };
    const stream = module.create();
    stream.step(x[0], ...further.map((rows) => rows[0]));
    stream.reset();
    return { whole: rows, steps: stream.run(x, ...further).map((y) => Array.from(y)) };
  });
}
"""


@dataclass(frozen=True)
class Answers:
    """The answers of a program to a recorded sequence."""

    whole: Any  # (1, O), or (T, O) where each step has an answer
    steps: Any  # (T, O) event by event; None where there are none


class LazyNetworks(Mapping[str, ExportedNetwork]):
    """Networks by name, each made when it is read first: most tests read only one of them."""

    def __init__(self, names: Iterable[str], make: Callable[[str], ExportedNetwork]) -> None:
        self.names, self.make = tuple(names), cache(make)

    def __getitem__(self, name: str) -> ExportedNetwork:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def events(network: ExportedNetwork, record: Recorded) -> Any:
    """The events as programs take them."""
    return record.events[:, 0].astype(int) if network.symbols else record.events


def whole_inputs(network: ExportedNetwork, record: Recorded) -> list[Any]:
    """The further inputs of a whole sequence: for a forecast, those after its last step."""
    rows = record.further.values()
    return [values[-1] if network.forecast else values for values in rows]


def worst(network: ExportedNetwork, answers: Sequence[Answers], steps: int | None = None) -> float:
    """The largest difference from the recorded answers.

    Args:
        steps: Compare only the first ones of each sequence.
    """
    return max(
        difference
        for record, answer in zip(network.records, answers, strict=True)
        for difference in _differences(network, record, answer, steps)
    )


def _differences(
    network: ExportedNetwork, record: Recorded, answers: Answers, steps: int | None
) -> list[float]:
    once = network.chains.answers_once
    pairs = [(answers.whole, record.outputs[-1:] if once else record.outputs)]
    if network.streams:
        pairs.append((answers.steps, record.outputs))
    return [off(answer, expected, steps) for answer, expected in pairs]


def off(answers: Any, expected: Any, steps: int | None = None) -> float:
    """The largest difference as a share of 1 + the value; NaN answers NaN."""
    answers = np.asarray(answers, np.float64)[:steps]
    expected = np.asarray(expected, np.float64)[:steps]
    assert answers.shape == expected.shape
    undefined = np.isnan(answers) & np.isnan(expected)
    difference = np.abs(answers - expected) / (1.0 + np.abs(expected))
    return float(np.where(undefined, 0.0, difference).max())


def python_scope(network: ExportedNetwork) -> dict[str, Any]:
    """The names of the exported Python."""
    scope: dict[str, Any] = {}
    exec(compile(python.source(network), "exported", "exec"), scope)
    return scope


def from_python(network: ExportedNetwork) -> list[Answers]:
    """The answers of the exported Python."""
    scope = python_scope(network)
    answers = []
    for record in network.records:
        x, further = events(network, record), list(record.further.values())
        whole = scope["run"](x, *whole_inputs(network, record))
        steps = None
        if network.streams:
            stream = scope["Stream"]()
            stream.step(x[0], *(rows[0] for rows in further))
            stream.reset()
            steps = stream.run(x, *further).reshape(len(x), -1)
        answers.append(Answers(whole.reshape(-1, network.output_size), steps))
    return answers


def javascript_inputs(networks: Sequence[ExportedNetwork], folder: Path) -> str:
    """Write the modules; the inputs of `RUN_ALL` as JSON."""
    data = {}
    for network in networks:
        (folder / f"{network.name}.js").write_text(javascript.module(network))
        data[network.name] = [
            {
                "x": events(network, record).tolist(),
                "further": [rows.tolist() for rows in record.further.values()],
                "whole": [rows.tolist() for rows in whole_inputs(network, record)],
            }
            for record in network.records
        ]
    return json.dumps(data)


def as_answers(printed: dict[str, Any]) -> dict[str, list[Answers]]:
    """The answers that `RUN_ALL` collected, whose NaN are null in JSON."""
    return {
        name: [Answers(_numbers(entry["whole"]), _numbers(entry["steps"])) for entry in entries]
        for name, entries in printed.items()
    }


def _numbers(rows: Any) -> Any:
    if rows is None:
        return None
    return [[np.nan if value is None else value for value in row] for row in rows]


def from_javascript(networks: Sequence[ExportedNetwork], folder: Path) -> dict[str, list[Answers]]:
    """The answers of exported modules, all in one process."""
    (folder / "records.json").write_text(javascript_inputs(networks, folder))
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run_all.js").write_text(
        'import fs from "fs";\n'
        'const data = JSON.parse(fs.readFileSync("records.json"));\n'
        "const load = (name) => import(`./${name}.js`);\n"
        f"{RUN_ALL}console.log(JSON.stringify(answers));\n"
    )
    run = subprocess.run([str(NODE), "run_all.js"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return as_answers(json.loads(run.stdout))


def write_c(network: ExportedNetwork, folder: Path) -> str:
    """Write the header and the source; the name of the source."""
    for ending, text in c.source_files(network).items():
        (folder / f"{network.name}{ending}").write_text(text)
    return f"{network.name}.c"


def run_replay(
    network: ExportedNetwork,
    folder: Path,
    *flags: str,
    compiler: str | None = GCC,
    limit: float = LIMIT,
) -> None:
    """Compile the replay test of exported C, and run it."""
    source = write_c(network, folder)
    program = folder / f"{network.name}.test"
    define = f"-D{network.name.upper()}_TEST"
    command = [str(compiler), *STRICT, *flags, define, source, "-o", str(program), "-lm"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    check_replay([str(program)], limit)


def check_replay(command: Sequence[str], limit: float = LIMIT) -> None:
    """Run a replay test, and check the difference that it prints."""
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert float(run.stdout.rsplit(" ", 1)[1]) < limit
