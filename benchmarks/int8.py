"""Measure what int8 costs and gains: accuracy, drift over long streams, bytes, time per step.

    python benchmarks/int8.py                      # all parts, into benchmarks/results/int8.json
    python benchmarks/int8.py --parts speed        # only the time per step, on an idle machine

A part replaces its own figures in the file and leaves the others as they are. `python
docs/make_figures.py` writes them into docs/int8.md.

Accuracy: every network is trained once from each seed and measured on the test part twice, in
float32 and with the products of its recurrent layers in int8. Drift: the network of the first seed
streams its test data over and over, in both precisions at once, and the outputs are compared.
Speed: a step of a layer, batch 1, on one thread, both precisions in turns.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gatewright as gw
from gatewright.bench.machine import machine, stay_on
from gatewright.bench.stream import STEPS, repeated
from gatewright.bench.timing import in_turns, ratio
from gatewright.exports.network import network_of_layer
from gatewright.layers.precision import layers_in
from gatewright.tasks.task import run_all
from gatewright.training.experiment import Trained, train_networks
from gatewright.training.plan import ExperimentPlan, make_plan
from gatewright.training.session import Session

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "int8.json"
#: Data, and the cells that are trained on them.
NETWORKS = [(data, cell) for data in ("vowels", "weather", "prose") for cell in ("lstm", "gru")]
#: The streamed steps after which the outputs are compared, and those that a comparison averages.
DRIFT_STEPS, AVERAGED = (10**2, 10**3, 10**4, 10**5, 10**6), 100
#: Different events of a stream, at most.
EVENTS = 20_000
SIZES = (64, 256, 512)
Figures = dict[str, Any]


def trained_networks(
    data: str, cell: str, seeds: int, epochs: int | None
) -> tuple[ExperimentPlan, list[Trained]]:
    """Train a network from each seed, in the plain design, which answers step by step."""
    plan = make_plan(
        data, [cell], seeds=seeds, epochs=epochs, design="plain", say=print, reading={}
    )
    (variant, *_), task = plan.variants, plan.task
    if getattr(task, "base", None) is not None:
        # With a linear forecast inside, which stays in float32, the cell learns next to nothing on
        # these data: all seeds have the same error to ten digits.
        variant = replace(variant, task=replace(task, base=None, per_window=True))  # type: ignore[call-arg]
    plan = replace(plan, variants=[variant])
    return plan, train_networks(plan, Session(progress=False))


def scores(plan: ExperimentPlan, trained: Sequence[Trained]) -> list[Figures]:
    """The task's first metric on the test part, of each seed, in both precisions.

    Where that counts right answers, also the loss, which changes before any answer does.
    """
    metric = plan.task.metrics[0]
    exact = [score(plan, run.model) for run in trained]
    rounded = []
    for run in trained:
        with layers_in(run.model, int8=True), torch.no_grad():
            rounded.append(score(plan, run.model))
    names = {metric.title: metric.higher, **({"loss": False} if metric.percent else {})}
    return [
        {
            "metric": name,
            "higher": higher,
            "float32": [values[position] for values in exact],
            "int8": [values[position] for values in rounded],
        }
        for position, (name, higher) in enumerate(names.items())
    ]


def score(plan: ExperimentPlan, model: Any) -> tuple[float, float]:
    """The first metric of a model on the test part, and its loss."""
    task = plan.task
    pairs = run_all(model, task.batches(plan.test))
    losses = [(float(task.loss(outputs, batch, model)), batch.items) for outputs, batch in pairs]
    loss = sum(value * items for value, items in losses) / sum(items for _, items in losses)
    return float(task.score(task.predictions(pairs, model), plan.test)[task.metrics[0].name]), loss


def drift(plan: ExperimentPlan, model: Any) -> Figures:
    """The error of int8 after more and more steps of one stream, relative by norm."""
    events = stream_events(plan, model)
    layer = model.recurrent
    exact, rounded = layer.stepper(), layer.stepper(precision="int8")
    errors = []
    off = norm = 0.0
    for step in range(1, DRIFT_STEPS[-1] + 1):
        event = events[step % len(events)]
        y, rounded_y = exact.step(event), rounded.step(event)
        # The comparison averages the steps that lead up to each number of steps.
        if any(end - AVERAGED < step <= end for end in DRIFT_STEPS):
            off += float(np.square(rounded_y - y).sum())
            norm += float(np.square(y).sum())
        if step in DRIFT_STEPS:
            errors.append((off / norm) ** 0.5)
            off = norm = 0.0
    return {"steps": list(DRIFT_STEPS), "errors": errors}


@torch.no_grad()
def stream_events(plan: ExperimentPlan, model: Any) -> Any:
    """The events of the test part as the layers read them, one after the other: (T, I)."""
    rows: list[torch.Tensor] = []
    for batch in plan.task.batches(plan.test).ordered(64):
        events = model.events(batch)
        rows += [events[:n, b] for b, n in enumerate(lengths_of(batch, events))]
        if sum(map(len, rows)) >= EVENTS:
            break
    return np.ascontiguousarray(torch.cat(rows)[:EVENTS].float().numpy())


def lengths_of(batch: Any, events: torch.Tensor) -> list[int]:
    """The steps of each sequence of a batch."""
    if batch.lengths is None:
        return [len(events)] * events.shape[1]
    return [int(length) for length in batch.lengths]


def size(model: Any) -> Figures:
    """Bytes of the recurrent layers' constants in an exported program."""
    network = network_of_layer(model.recurrent, "model")
    return {"float32": network.weight_bytes, "int8": network.in_int8().weight_bytes}


def speed(seconds: float) -> Iterator[Figures]:
    """Time a step in float32 and in int8, in turns: one thread, batch 1, input size = units."""
    stay_on(1)
    for cell in ("lstm", "gru"):
        for units in SIZES:
            torch.manual_seed(0)
            layer = gw.Recurrent(cell, units, units).eval()
            x = np.random.default_rng(0).standard_normal(units).astype(np.float32)
            rounded, exact = layer.stepper(precision="int8"), layer.stepper()
            pairs = in_turns(repeated(rounded.step, x), repeated(exact.step, x), seconds)
            per_step = [(ours / STEPS, other / STEPS) for ours, other in pairs]
            print(f"{cell}, {units} units: {ratio(pairs)}", flush=True)
            yield {"cell": cell, "units": units, "seconds": per_step}


def measure(parts: Sequence[str], options: argparse.Namespace, figures: Figures) -> None:
    """Run parts, and store the figures of each as soon as they are complete."""
    if "networks" in parts:
        chosen = options.data.split(",") if options.data else [data for data, _ in NETWORKS]
        for data, cell in NETWORKS:
            if data not in chosen:
                continue
            plan, trained = trained_networks(data, cell, options.seeds, options.epochs)
            first = trained[0].model
            row: Figures = {
                "data": data,
                "cell": cell,
                "units": first.hidden_size,
                "epochs": plan.recipe.epochs,
                "scores": scores(plan, trained),
                "drift": drift(plan, first),
                "size": size(first),
            }
            rows = {(old["data"], old["cell"]): old for old in figures.get("networks", [])}
            rows[data, cell] = row
            figures["networks"] = [rows[key] for key in NETWORKS if key in rows]
            store(figures, "networks")
            print(data, cell, row["scores"], row["drift"]["errors"], flush=True)
    if "speed" in parts:
        figures["speed"] = list(speed(options.seconds))
        store(figures, "speed")


def store(figures: Figures, part: str) -> None:
    """Write the figures, with the machine that a part was measured on."""
    figures.setdefault("machines", {})[part] = machine()
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, store the figures, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["networks", "speed"])
    parser.add_argument("--data", help="comma-separated, of the networks (all)")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each network (5)")
    parser.add_argument("--epochs", type=int, help="of each training (those of the recipe)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each timed pair (3)")
    options = parser.parse_args(arguments)
    figures = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    measure(options.parts, options, figures)


if __name__ == "__main__":
    main()
