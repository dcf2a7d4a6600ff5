"""Untrained models in directories, and the rows that they read, for the tests of the server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gatewright as gw
from gatewright.data import Text
from gatewright.designs.design import PLAIN, Design
from gatewright.layers.saving import save
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.tag import Tag
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS

PROSE = "a quick brown fox jumps over the lazy dog and the quick cat; " * 12


def rows(kind: str, seed: int = 0) -> str:
    """A table in CSV for a task: three sequences of two channels, or a series."""
    draw = np.random.default_rng(seed)
    if kind == "forecast":
        lines = ["step,sold,price"]
        for step in range(90):
            sold = 20 + 5 * np.sin(step) + draw.normal()
            lines.append(f"{step},{sold:.3f},{draw.random():.3f}")
        return "\n".join(lines) + "\n"
    lines = ["id,time,force,angle,label"]
    for name in range(3):
        for step in range(6 + name):
            label = "ab"[(step // 3 if kind == "tag" else name) % 2]
            lines.append(f"s{name},{step},{draw.normal():.3f},{draw.normal() * 9:.3f},{label}")
    return "\n".join(lines) + "\n"


def model_of(kind: str, folder: Path, design: Design = PLAIN, network: str = "gru") -> Model:
    """An untrained model with its scaling, for the rows above or for the prose."""
    task: Any
    reading: dict[str, Any]
    if "text" in kind:
        data: Any = Text.from_bytes(PROSE.encode()) if "bytes" in kind else Text.from_string(PROSE)
        task = replace(NextSymbol.of(data), counted=kind == "counted text")
        reading = {"task": "next symbol", "text": task.unit}
    else:
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / f"{kind}.csv"
        table.write_text(rows(kind), encoding="utf-8")
        if kind == "forecast":
            reading = {"task": "forecast", "time": "step"}
        else:
            reading = {"task": kind, "time": "time", "id": "id", "label": "label"}
        data = gw.read(table, **reading).data
        if kind == "forecast":
            task = Forecast.of(data, horizon=3, window=8)
        else:
            task = {"tag": Tag, "classify": Classify}[kind].of(data)
    torch.manual_seed(1)
    model = Model(task, network, NETWORKS[network].build(task, 5, design)).eval()
    model.fit_scaling(data)
    if model.completion is not None:
        model.completion.count(data.codes.astype(np.int64))
    model.reading = reading
    return model


def saved(kind: str, folder: Path, **options: Any) -> Path:
    """The directory of such a model, or of the mean of two of them ("ensemble tag")."""
    if kind.startswith("ensemble "):
        members = []
        for seed in range(2):
            member = model_of(kind.removeprefix("ensemble "), folder, **options)
            torch.manual_seed(seed)
            torch.nn.init.normal_(member.readout.weight)
            members.append(member)
        model: Model = Ensemble(members)
    else:
        model = model_of(kind, folder, **options)
    return save(model, folder / kind.replace(" ", "_"))
