"""Model directories that are damaged at random load unchanged, or are refused.

The environment variable GATEWRIGHT_EXAMPLES raises the number of examples.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from example_count import example_count
from gatewright.data import Recordings, Series, Text
from gatewright.designs.design import PLAIN
from gatewright.layers.saving import sealed
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS

EXAMPLES = example_count(60)
#: Values that replace a random value of the JSON.
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    2.5,
    10**9,
    1e308,
    "",
    "x",
    "\x1b[2J",
    "a" * 9999,
    [],
    [0] * 999,
    ["a"],
    [1],
    {},
    {"a": 1},
)


def layer() -> nn.Module:
    return gw.Recurrent("peephole_lstm", 3, 4, 2, bidirectional=True)


def drop_in() -> nn.Module:
    gru = gw.GRU(3, 4)
    gru.freeze("r")
    return gru


def classifier() -> nn.Module:
    sequences = tuple(np.random.default_rng(1).normal(size=(6, 3)) for _ in range(4))
    task = Classify.of(Recordings(sequences, np.arange(4) % 2, ("calm", "gale")))
    return Model(task, "lstm", NETWORKS["lstm"].build(task, 4, PLAIN))


def forecaster() -> nn.Module:
    values = np.random.default_rng(1).normal(size=(60, 2))
    series = Series(("a",), (np.arange(60),), (values,), ("y", "z"), period=1.0, steps_a_season=4)
    task = Forecast.of(series, horizon=2, window=5)
    return Model(task, "window", NETWORKS["window"].build(task, 4, PLAIN))


def writer() -> nn.Module:
    task = NextSymbol.of(Text.from_string("abracadabra"))
    return Model(task, "gru", NETWORKS["gru"].build(task, 4, PLAIN))


MODELS = {make.__name__: make for make in (layer, drop_in, classifier, forecaster, writer)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directory of each kind of model."""
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    return {name: gw.save(make(), folder / name) for name, make in MODELS.items()}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a value of JSON."""
    paths = [path]
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            paths += places(value[key], (*path, key))
    return paths


def change_config(folder: Path, draw: random.Random) -> None:
    """Replace, remove or add a value of the configuration, and make the checksum match."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    *parents, last = draw.choice([path for path in places(config) if path])
    inside = config
    for key in parents:
        inside = inside[key]
    how = draw.random()
    if how < 0.7:
        inside[last] = draw.choice(VALUES)
    elif how < 0.85:
        del inside[last]
    elif isinstance(inside, dict):
        inside[draw.choice(["evil", "", "__class__", "h"])] = draw.choice(VALUES)
    else:
        inside.insert(draw.randrange(len(inside) + 1), draw.choice(VALUES))
    file.write_text(json.dumps(sealed(config)))


def change_bytes(folder: Path, draw: random.Random) -> None:
    """Change, cut out or repeat some bytes of a file."""
    file = draw.choice(sorted(folder.iterdir()))
    content = file.read_bytes()
    begin = draw.randrange(len(content))
    end = min(begin + draw.choice([1, 1, 4, 50]), len(content))
    part = draw.choice([b"", draw.randbytes(end - begin), content[begin:end] * 2])
    file.write_bytes(content[:begin] + part + content[end:])


def change_weights(folder: Path, draw: random.Random) -> None:
    """Change a byte of the file of weights, mostly in its header, and make the checksum match."""
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(draw.choice([1, 1, 3])):
        end = header if draw.random() < 0.8 else len(content)
        content[draw.randrange(end)] = draw.randrange(256)
    file.write_bytes(bytes(content))
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = hashlib.sha256(bytes(content)).hexdigest()
    (folder / "config.json").write_text(json.dumps(sealed(config)))


def remove_or_empty(folder: Path, draw: random.Random) -> None:
    file = draw.choice(sorted(folder.iterdir()))
    file.unlink()
    if draw.random() < 0.5:
        file.write_bytes(b"") if draw.random() < 0.5 else file.mkdir()


CHANGES: dict[Callable[[Path, random.Random], None], int] = {
    change_config: 6,
    change_weights: 2,
    change_bytes: 2,
    remove_or_empty: 1,
}


def answers(model: Any) -> list[Tensor]:
    """The outputs of a model on fixed data."""
    torch.manual_seed(0)
    if isinstance(model, Model):
        data: Any = {
            "classify": lambda: [np.ones((4, 3), np.float32)],
            "forecast": lambda: Series(
                ("a",), (np.arange(9),), (np.ones((9, 2)),), ("y", "z"), period=1.0
            ),
            "next symbol": lambda: "cab",
        }[model.task.kind]()
        if model.task.kind == "forecast":
            ready, _ = model.task.adapt(data)
            table = model.task.table(model, ready)
            return [torch.tensor(row) for row in table.values() if isinstance(row[0], float)]
        return [torch.as_tensor(np.asarray(model.predict(data)))]
    return [model.eval()(torch.ones(4, 2, 3))[0].detach()]


def holds_true(folder: Path, original: Any, sealed_again: bool) -> str:
    """Load a damaged directory; the outcome, "refused", "equal" or "other"."""
    try:
        model = gw.load(folder)
    except gw.ModelError as error:
        assert len(str(error)) < 2000 and "\x1b" not in str(error), error
        return "refused"
    state, expected = model.state_dict(), original.state_dict()
    if set(state) == set(expected) and all(torch.equal(state[k], expected[k]) for k in state):
        same = type(model) is type(original)
    else:
        same = False
    # A change with a matching checksum may describe another valid model, which has to work.
    assert same or sealed_again
    try:
        answers(model)
    except gw.GatewrightError:
        return "refused"
    return "equal" if same else "other"


@pytest.mark.parametrize("kind", MODELS)
def test_a_damaged_directory_loads_equal_or_is_refused(
    kind: str, saved: dict[str, Path], tmp_path: Path
):
    original = gw.load(saved[kind])
    answers(original)
    outcomes: dict[str, int] = {}
    for seed in range(EXAMPLES):
        draw = random.Random(f"{kind} {seed}")
        folder = tmp_path / "damaged"
        shutil.copytree(saved[kind], folder)
        change = draw.choices(list(CHANGES), list(CHANGES.values()))[0]
        change(folder, draw)
        try:
            outcome = holds_true(folder, original, change in (change_config, change_weights))
        except BaseException as error:
            error.add_note(f"{change.__name__} of {kind}, seed {seed}")
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        shutil.rmtree(folder)
    assert outcomes["refused"] > EXAMPLES / 3, outcomes
    print(kind, outcomes)
