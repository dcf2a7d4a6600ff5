"""A trained model as a directory: it loads anywhere, and is refused when damaged."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Recordings
from gatewright.designs.design import PLAIN
from gatewright.errors import ArgumentError, GatewrightError, ModelError, SizeError
from gatewright.layers.saving import sealed
from gatewright.tasks.classify import Classify
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS

CLASSES = ("calm", "gale", "storm", "ünruhig")

# A program that imports only gatewright, loads models and prints the predictions of each.
STRANGER = """
import json, sys
import numpy as np
import gatewright as gw
sequences = [np.array(values, np.float32) for values in json.load(sys.stdin)]
for path in sys.argv[1:]:
    model = gw.load(path)
    answer = {"classes": model.task.classes, "probabilities": model.predict(sequences).tolist()}
    print(json.dumps(answer))
"""


def recordings(*steps: int) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [generator.normal(3.0, 2.0, (count, 3)).astype(np.float32) for count in steps]


def trained(network: str) -> Model:
    """A model whose every number differs from its initial value."""
    torch.manual_seed(1)
    data = Recordings(tuple(recordings(40, 30, 20, 10)), np.arange(4), CLASSES)
    task = Classify.of(data)
    model = Model(task, network, NETWORKS[network].build(task, 5, PLAIN), dropout=0.3)
    model.fit_scaling(data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return gw.save(trained("lstm"), tmp_path / "model")


@pytest.mark.parametrize("network", NETWORKS)
def test_a_saved_model_loads_equal(network: str, tmp_path: Path) -> None:
    model = trained(network)
    again = gw.load(gw.save(model, tmp_path / "model"))
    assert isinstance(again, Model)
    assert (again.network, again.task) == (network, model.task)
    assert again.dropout.p == 0.3
    sequences = recordings(4, 9, 1)
    assert np.array_equal(again.predict(sequences), model.predict(sequences))
    assert not torch.equal(again.mean, torch.zeros(3))


@pytest.mark.slow(instead="test_saving.py::test_a_users_cell_loads_where_its_class_is_not")
@pytest.mark.usefixtures("forked_python")
def test_another_process_loads_it_from_another_place(tmp_path: Path) -> None:
    models = [trained(network) for network in ("window", "peephole_lstm")]
    places = []
    for model in models:
        places.append(tmp_path / "elsewhere" / model.network)
        gw.save(model, tmp_path / "here" / model.network)
    os.rename(tmp_path / "here", tmp_path / "elsewhere")
    sequences = recordings(4, 9)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *map(str, places)],
        input=json.dumps([values.tolist() for values in sequences]),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    for model, line in zip(models, done.stdout.splitlines(), strict=True):
        answer = json.loads(line)
        assert tuple(answer["classes"]) == CLASSES
        np.testing.assert_allclose(answer["probabilities"], model.predict(sequences), rtol=1e-5)


def test_it_holds_no_pickle_and_the_checksum_of_its_weights(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    weights = (saved / "model.safetensors").read_bytes()
    assert config["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert config["model"]["kind"] == "model"


def test_predictions_are_probabilities_and_leave_the_model_as_it_was() -> None:
    model = trained("gru").train()
    sequences = recordings(4, 9, 1)
    first = model.predict(sequences)
    assert model.training and np.array_equal(first, model.predict(sequences))  # no dropout
    np.testing.assert_allclose(first.sum(-1), 1.0, rtol=1e-6)
    assert model.predict([]).shape == (0, 4)


@pytest.mark.parametrize("shape", [(4, 2), (4,), (0, 3), (2, 4, 3)])
def test_a_sequence_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SizeError, match=r"sequence 1 has shape .*expected \(time, 3\)"):
        trained("rnn").predict([*recordings(4), np.zeros(shape, np.float32)])


def damage(path: Path, how: str) -> None:
    config, weights = path / "config.json", path / "model.safetensors"
    if how == "no config":
        config.unlink()
    elif how == "no weights":
        weights.unlink()
    elif how == "half the weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "one bit":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(bytes(content))
    elif how == "half the config":
        config.write_text(config.read_text(encoding="utf-8")[:100], encoding="utf-8")
    elif how == "not a config":
        config.write_text("[1, 2]", encoding="utf-8")
    else:
        values = json.loads(config.read_text(encoding="utf-8"))
        model = values["model"]
        if how == "unknown kind":
            model["kind"] = "os.system"
        elif how == "unknown task":
            model["task"]["kind"] = "guess"
        elif how == "field gone":
            del model["task"]["classes"]
        elif how == "other size":
            sizes = model["body"].get("arguments", model["body"])
            sizes["hidden_size"] = 6
        elif how == "wrong type":
            model["task"]["seen"] = "three"
        config.write_text(json.dumps(sealed(values)), encoding="utf-8")


@pytest.mark.parametrize(
    "how",
    [
        "no config",
        "no weights",
        "half the weights",
        "one bit",
        "half the config",
        "not a config",
        "unknown kind",
        "unknown task",
        "field gone",
        "other size",
        "wrong type",
    ],
)
@pytest.mark.parametrize("network", ["lstm", "window"])
def test_a_damaged_directory_is_refused_with_its_name(
    how: str, network: str, tmp_path: Path
) -> None:
    path = gw.save(trained(network), tmp_path / "model")
    damage(path, how)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(ModelError) as caught:
        gw.load(path)
    assert str(caught.value) and isinstance(caught.value, GatewrightError)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_an_existing_directory_is_not_replaced(saved: Path) -> None:
    before = (saved / "config.json").read_bytes()
    with pytest.raises(ArgumentError, match="not empty"):
        gw.save(trained("gru"), saved)
    assert (saved / "config.json").read_bytes() == before
