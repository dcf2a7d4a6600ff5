"""Models of every task and design, with weights that matter, for the tests of the exports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import gatewright as gw
from gatewright.data import Recordings, Series, Tagged, Text
from gatewright.designs.design import DESIGNS, PLAIN, Design
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.base.base import Member
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.tag import Tag
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS


def built(
    task: Any, data: Any, network: str = "gru", design: Design = PLAIN, seed: int = 0
) -> Model:
    """A model of a task, scaled by its data, whose other numbers are random."""
    torch.manual_seed(seed)
    model = Model(task, network, NETWORKS[network].build(task, 5, design)).eval()
    model.fit_scaling(data)
    with torch.no_grad():
        for name, numbers in (*model.named_parameters(), *model.named_buffers()):
            if "running" in name or "thresholds" in name or "widening" in name:
                numbers.copy_(0.1 + 0.5 * torch.rand_like(numbers))
            elif "readout" in name or "ahead" in name or "base_" in name:
                numbers.add_(0.2 * torch.randn_like(numbers))
    return model


def model_of(kind: str, design: Design = PLAIN, network: str = "lstm", seed: int = 0) -> Model:
    """A model of two channels: "tag", "classify", "text", "tied text" or "counted text"."""
    draw = np.random.Generator(np.random.PCG64(0))
    sequences = tuple(3.0 + draw.normal(size=(9, 2)).astype(np.float32) for _ in range(6))
    task: Any
    if kind == "tag":
        labels = tuple(draw.integers(0, 3, size=9) for _ in range(6))
        data: Any = Tagged(sequences, labels, ("a", 'quote"\\', "ü"))
        task = Tag.of(data)
    elif kind == "classify":
        data = Recordings(sequences, np.arange(6) % 2, ("no", "yes"))
        task = Classify.of(data)
    else:
        data = Text((np.arange(300) % 5).astype(np.uint8), tuple('ab"\n?'))
        pieces = ((0, 1), (5, 2)) if kind == "tied text" else ()
        task = replace(NextSymbol.of(data), counted=kind == "counted text", joined=pieces)
    return built(task, data, network, design, seed)


def series(channels: int = 2, *, kind: str = "plain", steps: int = 150) -> Series:
    """Two series: "plain", "positive", "counts" that are often 0, or "known" with future values.

    Known series also have a calendar and a static value each.
    """
    draw = np.random.default_rng(0)
    t = np.arange(steps)
    values = []
    for number in range(2):
        wave = 5.0 + np.sin(2 * np.pi * t / 12) + 0.3 * draw.normal(size=steps) + number
        if kind == "positive":
            wave = np.exp(0.02 * t) * wave
        elif kind == "counts":
            wave = np.maximum(wave - 5.5, 0.0)
        columns = [wave, draw.normal(size=steps).cumsum(), (t % 7 == 0) * 1.0]
        values.append(np.stack(columns[: 3 if kind == "known" else channels], 1))
    days = np.datetime64("2024-01-01", "ns") + t.astype("timedelta64[D]")
    fields: dict[str, Any] = {}
    if kind == "known":
        fields = {
            "known": ("holiday",),
            "future": tuple(np.ones((9, 1)) for _ in values),
            "static": np.array([[0.5], [2.0]]),
            "static_names": ("size",),
        }
    whole = Series(
        ("a", "b"),
        (days, days),
        tuple(values),
        ("sold", "price", "holiday")[: values[0].shape[1]],
        period=np.timedelta64(1, "D"),
        steps_a_season=12,
        **fields,
    )
    return whole.with_calendar() if kind == "known" else whole


def forecast_of(
    data: Series,
    *,
    base: bool = True,
    ridge: bool = False,
    transform: str = "none",
    per_window: bool = False,
    network: str = "gru",
    design: Design = PLAIN,
    seed: int = 0,
    horizon: int = 3,
) -> Model:
    """A forecast of 3 steps from 14, with or without a simple method inside."""
    task: Any = Forecast.of(data, window=14, horizon=horizon)
    others = ("none",) * (len(task.targets) - 1)
    task = replace(
        task,
        base=replace(task.base, transforms=(transform, *others)) if base else None,
        per_window=per_window,
    )
    if ridge:
        shares = np.linspace(0.9, 0.4, horizon)  # those of a step are its own
        members = (
            Member("ridge", (6, 0.1, 1, 0), tuple(shares)),  # one that reads all channels
            Member("persistence", (0,), tuple(1.0 - shares)),
        )
        task = replace(task, base=replace(task.base, members=(members,) * len(task.targets)))
    return built(task, data, network, design, seed)


SUMMARIES = ("share", "last", "mean", "max", "attention")
CONVOLUTIONS = Design(
    front="convolution", layers=3, bidirectional=True, readout=("mean", "attention", "last")
)
SEGMENTS = Design(
    segment=3, scaling="sequence", readout=("share", "last"), bidirectional=True, layers=2
)

#: Models that answer after every event, by the name of their program.
STREAMS: Mapping[str, Callable[[], Any]] = {
    "tag": partial(model_of, "tag"),
    "tag_changes": partial(model_of, "tag", Design(differences=True, layers=2)),
    "classify": partial(model_of, "classify"),
    "pooled": lambda: model_of("classify", Design(layers=2, differences=True, readout=SUMMARIES)),
    "text": partial(model_of, "text"),
    "tied_text": partial(model_of, "tied text"),
    "window": partial(model_of, "tag", network="window"),
    "ensemble": lambda: Ensemble(
        [model_of("classify", Design(readout=("mean",))), model_of("classify", network="gru")]
    ),
}
#: Models that need a whole sequence.
WHOLE: Mapping[str, Callable[[], Any]] = {
    "untrained": partial(model_of, "classify", DESIGNS["untrained"], "gru"),
    "both_ways": partial(model_of, "classify", DESIGNS["both-ways"]),
    "convolutional": partial(model_of, "classify", CONVOLUTIONS, "gru"),
    "segments": partial(model_of, "classify", SEGMENTS),
    "tag_convolutional": partial(model_of, "tag", Design(front="convolution", bidirectional=True)),
    "centred_window": partial(model_of, "classify", network="window"),
    "whole_ensemble": lambda: Ensemble(
        [model_of("classify", DESIGNS["both-ways"]), model_of("classify", network="window")]
    ),
    "tag_ensemble": lambda: Ensemble(
        [model_of("tag", Design(bidirectional=True)), model_of("tag", seed=1)]
    ),
    "layer": lambda: gw.Recurrent("gru_d", 3, 4, bidirectional=True, backend="reference"),
}
#: Forecasts, which are streams that remember their window.
FORECASTS: Mapping[str, Callable[[], Any]] = {
    "forecast": lambda: forecast_of(series(1)),
    "per_window": lambda: forecast_of(series(), per_window=True, design=SEGMENTS),
    "no_base": lambda: forecast_of(series(), base=False, network="window"),
    "logarithm": lambda: forecast_of(series(kind="positive"), transform="log", per_window=True),
    "root": lambda: forecast_of(series(kind="counts"), transform="root"),
    "known": lambda: forecast_of(series(kind="known"), ridge=True, per_window=True),
    "forecasts": lambda: Ensemble(
        [forecast_of(series(), design=CONVOLUTIONS), forecast_of(series(), seed=1)]
    ),
}
MODELS = {**STREAMS, **WHOLE, **FORECASTS}
