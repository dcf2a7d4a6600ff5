"""The example sequences of a page, chosen by a rule that `docs/page-format.md` describes."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Reading, Recordings, Series, Text
from gatewright.data.containers.tagged import Tagged
from gatewright.errors import ArgumentError, DataError
from gatewright.layers.recurrent import Recurrent
from gatewright.page.blob import floats
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.future import time_labels
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.forecast.windows import stretch
from gatewright.tasks.labelled import relabelled
from gatewright.tasks.tag import Tag
from gatewright.tasks.text.streams import tail
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.predict import read_like

#: Examples where nobody says how many.
COUNT = 12
#: Steps of an example at most: the page runs them in about two seconds at 256 units.
MAX_STEPS = 2000
#: Symbols of an example of a text: some lines.
PASSAGE = 240
#: Sequences whose answers are computed, to find right and wrong ones.
MAX_JUDGED = 400
#: Steps of the made-up inputs of a bare layer.
MADE_UP = 60


def examples(model: Any, data: Any, count: int = COUNT) -> list[dict[str, Any]]:
    """The examples of a layer or of a trained model.

    Args:
        model: A layer, or a model of `train`.
        data: For a model, a file, a bundled data set, an object of a data type or anything else
            that `read` takes. For a layer, sequences (T, I), with names if they are in a mapping;
            no file, since nothing tells its inputs from each other. None makes some up.
        count: The number of examples, at most.

    Raises:
        ArgumentError: if a layer gets a file, or anything else that holds no sequences.
        DataError: if the data do not fit the model.
    """
    if isinstance(model, Recurrent):
        return _of_layer(model, made_up(model.input_size) if data is None else data, count)
    if data is None:
        return _invented(model, count)
    return of_part(model, test_part(model, data), count)


def sequence_of(model: Any, example: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """The events of an example, (T, I) or (T,) symbols, and the further inputs of its steps."""
    if "symbols" in example:
        return torch.tensor(example["symbols"]), {}
    steps = example["steps"]

    def rows(encoded: str) -> Tensor:
        return torch.from_numpy(np.frombuffer(base64.b64decode(encoded), "<f4").copy()).view(
            steps, -1
        )

    further = example.get("further", {}) if isinstance(model, Recurrent) else {}
    return rows(example["values"]), {name: rows(text) for name, text in further.items()}


def test_part(model: Model, data: Any) -> Any:
    """The test part of data that are read as the model's own were.

    It is the part that was published with them, else the part that a training would split off.
    Data without labels, and an object of a data type, are taken whole.

    Raises:
        DataError: if they are for another task, or do not fit the model.
    """
    task = model.task
    if isinstance(data, Recordings | Tagged | Series | Text):
        own, is_part = data, True
    else:
        reading = data if isinstance(data, Reading) else read_like(model, data)
        if reading.task != task.kind:
            raise DataError(
                f"{reading.source} is for the task {reading.task}; the model does {task.kind}: "
                "give data like those of its training"
            )
        own = reading.data if reading.test is None else reading.test
        is_part = reading.test is not None
    task.check_type(own)
    ready, _ = task.adapt(own)
    if isinstance(task, Classify | Tag):
        if not ready.classes:
            return ready
        ready = relabelled(ready, task.classes)
    return ready if is_part else task.split(ready)[1]


def of_part(model: Model, part: Any, count: int) -> list[dict[str, Any]]:
    """The examples of a part of the data that the model's task takes."""
    match model.task:
        case Classify():
            return _of_classes(model, part, count)
        case Tag():
            return _of_tags(part, count)
        case Forecast():
            return _of_forecast(model, part, count)
        case NextSymbol():
            return _of_text(model, part, count)
    raise ArgumentError(f"a page cannot show the task {model.task.kind}")


def _example(id: str, values: NDArray[Any], truth: Any = None, **more: Any) -> dict[str, Any]:
    """An example of values (T, I); steps after the first `MAX_STEPS` are left out."""
    values = np.asarray(values)[:MAX_STEPS]
    return {"id": id, "steps": len(values), "values": floats(values), "truth": truth, **more}


def _evenly(length: int, count: int) -> list[int]:
    """At most `count` of `length` positions, evenly spaced from the first to the last."""
    picked: list[int] = np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()
    return picked


def _of_classes(model: Model, part: Any, count: int) -> list[dict[str, Any]]:
    """Class by class in turn, an answer that is right and one that is wrong in turn."""
    judged = part.take(range(min(len(part), MAX_JUDGED)))
    ids = judged.ids or tuple(map(str, range(len(judged))))
    if not judged.classes:
        return [_example(ids[k], judged.sequences[k]) for k in _evenly(len(judged), count)]
    answers = model.predict(judged).argmax(-1)
    labels = judged.labels
    queues = {
        (label, right): [
            k
            for k in range(len(judged))
            if labels[k] == label and (answers[k] == labels[k]) == right
        ]
        for right in (True, False)
        for label in range(len(judged.classes))
    }
    chosen: list[int] = []
    while len(chosen) < count and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < count:
                chosen.append(queue.pop(0))
    return [_example(ids[k], judged.sequences[k], int(labels[k])) for k in chosen]


def _of_tags(part: Tagged, count: int) -> list[dict[str, Any]]:
    ids = part.ids or tuple(map(str, range(len(part))))
    chosen = []
    for k in _evenly(len(part), count):
        truth = part.labels[k][:MAX_STEPS].tolist() if part.classes else None
        chosen.append(_example(ids[k], part.sequences[k], truth))
    return chosen


def _of_forecast(model: Model, part: Any, count: int) -> list[dict[str, Any]]:
    windows: Any = model.task.batches(part)
    series = stretch(part).series
    times = np.concatenate(series.times)
    chosen = []
    for row in _evenly(len(windows), count):
        window = windows.take(np.array([row]))
        origin = int(window.origins[0])
        span = list(time_labels(times[origin - windows.window : origin + windows.horizon]))
        id = series.ids[window.series[0]] if len(series) > 1 else span[windows.window]
        further = {"known": floats(window.ahead(windows.known)[0])} if windows.known else {}
        chosen.append(
            _example(id, window.past[0], floats(window.truth[0]), further=further, step_names=span)
        )
    return chosen


def _of_text(model: Model, part: Any, count: int) -> list[dict[str, Any]]:
    task = model.task
    assert isinstance(task, NextSymbol)
    whole = tail(part)
    first = whole.start if whole.start > 1 else 0
    codes = whole.text.codes[first:]
    starts = _evenly(max(len(codes) - PASSAGE, 1), count)
    chosen = []
    for start in starts:
        symbols = task.pairs.encode(codes[start : start + PASSAGE])
        chosen.append(
            {
                "id": f"from {first + start:,}",
                "steps": len(symbols),
                "symbols": symbols.tolist(),
                "truth": None,
            }
        )
    return chosen


def _of_layer(layer: Recurrent, data: Any, count: int) -> list[dict[str, Any]]:
    """The examples of a bare layer, with further inputs at one where its cell reads some."""
    if isinstance(data, str | os.PathLike):
        raise ArgumentError(
            f"data is {os.fspath(data)!r}, and {layer.graph.equations.name} is a layer by itself, "
            "whose inputs have no meaning: leave the data out, or give the directory of a trained "
            "model"
        )
    named = dict(data) if isinstance(data, Mapping) else _named(data)
    if not named:
        raise ArgumentError(
            f"data has no sequences; expected at least one (steps, {layer.input_size}), or no data"
        )
    further = layer.graph.inputs
    chosen = []
    for id, values in list(named.items())[:count]:
        rows = _rows(layer, str(id), values)
        sizes = layer.sizes(0)
        ones = {
            name: floats(np.ones((len(rows[:MAX_STEPS]), _size(layer, name, sizes))))
            for name in further
            if name != layer.graph.equations.event
        }
        chosen.append(_example(str(id), rows, **({"further": ones} if ones else {})))
    return chosen


def _rows(layer: Recurrent, id: str, values: Any) -> NDArray[np.float32]:
    """A sequence of a user as the finite numbers (steps, input_size) of a layer."""
    expected = f"expected real numbers of shape (steps, {layer.input_size})"
    try:
        array = np.asarray(_on_cpu(values))
        with np.errstate(over="ignore", invalid="ignore"):  # a number too large becomes infinite
            rows = array.real.astype(np.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise DataError(f"the sequence {id} is no array of numbers ({error}); {expected}") from None
    if np.iscomplexobj(array):
        raise DataError(f"the sequence {id} has complex numbers; {expected}")
    if rows.ndim != 2 or rows.shape[1] != layer.input_size or not len(rows):
        raise DataError(
            f"the sequence {id} has shape {rows.shape}; expected (steps, {layer.input_size}), "
            "with at least one step"
        )
    finite = np.isfinite(rows).all(1)
    if not finite.all():
        step = int(finite.argmin())
        value = rows[step][~np.isfinite(rows[step])][0]
        raise DataError(
            f"the sequence {id} has {value} in step {step}; expected finite numbers of single "
            "precision"
        )
    return rows


def _on_cpu(values: Any) -> Any:
    """The numbers of a tensor as an array; anything else as it is."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _invented(model: Model, count: int) -> list[dict[str, Any]]:
    """Made-up inputs in the range of the training data; of a text, what the model writes."""
    task = model.task
    if isinstance(task, NextSymbol):
        text = Text(task.encode(task.sample(model, "", PASSAGE, 0.8, 0)), task.alphabet, task.unit)
        return [{**example, "id": "written by the model"} for example in _of_text(model, text, 1)]
    mean, scale = model.mean.numpy(), model.scale.numpy()
    steps = task.window if isinstance(task, Forecast) else MADE_UP
    further = {}
    if isinstance(task, Forecast) and task.known:
        usual = mean[task.positions(task.known)]
        further = {"further": {"known": floats(np.tile(usual, (task.horizon, 1)))}}
    return [
        _example(name, values * scale + mean, **further)
        for name, values in list(made_up(task.inputs, steps).items())[:count]
    ]


def _size(layer: Recurrent, name: str, sizes: dict[str, int]) -> int:
    size = layer.graph.inputs[name].size
    return sizes[size] if isinstance(size, str) else size


def _named(data: Any) -> dict[str, Any]:
    """Sequences with numbers as names: one (T, I), several (B, T, I), or a list of them."""
    values = _on_cpu(data)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        values = [values]
    if not isinstance(values, Sequence | np.ndarray):
        raise ArgumentError(
            f"data has the type {type(data).__name__}; expected sequences (steps, input_size) of "
            "numbers"
        )
    return {str(k): sequence for k, sequence in enumerate(values)}


def made_up(channels: int, length: int = MADE_UP) -> dict[str, NDArray[np.float32]]:
    """Inputs on which a memory can be seen at work, each (length, channels).

    >>> {name: values.shape for name, values in made_up(2).items()}["one pulse"]
    (60, 2)
    """
    steps = np.arange(length)[:, None]
    phases = np.arange(channels) * 5
    pulses = steps == length // 8 + phases % max(length // 3, 1)
    waves = np.sin(2 * np.pi * (steps + phases) / 20)
    generator = np.random.Generator(np.random.PCG64(0))
    noise = generator.standard_normal((length, channels))
    inputs = {
        "one pulse": 2.0 * pulses,
        "on, then off": ((steps >= length // 6) & (steps < length // 2)) * np.ones(channels),
        "a wave": waves,
        "noise": noise,
        "a slow drift": noise.cumsum(0) / 4.0,
    }
    return {name: values.astype(np.float32) for name, values in inputs.items()}
