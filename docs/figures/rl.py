"""The tables of `docs/reinforcement-learning.md`, of what `benchmarks/rl.py` measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from figures.raw import RESULTS, content, plain_table
from gatewright.bench.timing import ratio


def tables() -> str:
    """Return the policies, and the modules in a rollout and in one step."""
    figures = content(RESULTS / "rl.json")
    part = figures["policies"]
    names = list(part["seeds"][0])  # the peer is the first
    policies = [
        "policy", "return", "over seeds", "collects, frames/s", "trains, frames/s", "both",
        "times the peer's rate in training",
    ]  # fmt: skip
    modules = ["cell", "rows, steps, input, units", "TorchRL, ms", "Gatewright, ms", "times faster"]
    rollout, step = (
        plain_table(modules, [_module(row) for row in figures["modules"] if row["mode"] == mode])
        for mode in ("rollout", "step")
    )
    return "\n".join(
        [
            plain_table(policies, [_policy(part, name, names[0]) for name in names]),
            f"{part['frames']:,} frames from each of {len(part['seeds'])} seeds, {part['units']} "
            f"units. {_machine(figures, 'policies')}\n",
            "A rollout, forwards and backwards:\n",
            rollout,
            "One step of a collector:\n",
            step,
            _machine(figures, "modules"),
        ]
    )


def _machine(figures: dict[str, Any], part: str) -> str:
    return f"Timed on one thread of {figures['machines'][part]['cpu']}."


def _policy(part: dict[str, Any], name: str, peer: str) -> list[str]:
    own = [seed[name] for seed in part["seeds"]]
    returns = [run["return"] for run in own]
    collect = [seconds for run in own for seconds in run["collect"]]
    train = [seconds for run in own for seconds in run["train"]]
    both = [sum(pair) for pair in zip(collect, train, strict=True)]
    peers = [seconds for seed in part["seeds"] for seconds in seed[peer]["train"]]
    gain = "1" if name == peer else str(ratio(list(zip(train, peers, strict=True))))
    frames = part["frames"] / len(own[0]["train"])  # of a rollout
    rates = [_rate(frames, seconds) for seconds in (collect, train, both)]
    seeds = f"{min(returns):.0f} to {max(returns):.0f}"
    return [name, f"{statistics.mean(returns):.0f}", seeds, *rates, gain]


def _rate(frames: float, seconds: Sequence[float]) -> str:
    """The median of frames per second, with its quartiles."""
    low, middle, high = np.quantile(frames / np.array(seconds), [0.25, 0.5, 0.75])
    return f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"


def _module(row: dict[str, Any]) -> list[str]:
    own, peer = (
        f"{1e3 * statistics.median(times):.2f}" for times in zip(*row["seconds"], strict=True)
    )
    sizes = ", ".join(str(row[size]) for size in ("batch", "steps", "inputs", "units"))
    return [row["cell"], sizes, peer, own, str(ratio(row["seconds"]))]


FIGURES = {"rl": tables}
