"""`gatewright train --config`: a file of settings, which options on the command line win over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gatewright as gw
from gatewright.cli import options
from gatewright.designs.design import DESIGNS, Design
from gatewright.training.config import read_config, with_config
from gatewright.training.recipe import Recipe

TOML = """
cell = "lstm"
hidden_size = 12
window = 6
target = "a"
ignore = ["b", "c"]

[design]
layers = 2
readout = ["mean", "max"]

[recipe]
learning_rate = 1
batch_size = 4
"""


def test_toml_and_json_are_the_same(tmp_path: Path):
    (tmp_path / "own.toml").write_text(TOML)
    config = read_config(tmp_path / "own.toml")
    assert config == {
        "cell": "lstm",
        "hidden_size": 12,
        "window": 6,
        "target": "a",
        "ignore": ["b", "c"],
        "design": Design(layers=2, readout=("mean", "max")),
        "recipe": {"learning_rate": 1.0, "batch_size": 4},
    }
    values = {**config, "design": {"layers": 2, "readout": ["mean", "max"]}}
    (tmp_path / "own.json").write_text(json.dumps(values))
    assert read_config(tmp_path / "own.json") == config
    assert read_config({"design": "both-ways"}) == {"design": DESIGNS["both-ways"]}


def test_arguments_that_are_passed_win():
    config = {"cell": "lstm", "epochs": 3, "streaming": True, "recipe": {"noise": 0.1}}
    passed = {"cell": "gru", "epochs": None, "seeds": None, "streaming": False, "recipe": None}
    merged = with_config(config, passed)
    assert merged == {
        "cell": "gru",
        "epochs": 3,
        "seeds": None,
        "streaming": True,
        "recipe": {"noise": 0.1},
    }
    design = options.design({"layers": 3}, Design(layers=2, dropout=0.5))
    assert design == Design(layers=3, dropout=0.5)
    named = options.design({"design": "plain", "layers": 3}, Design(layers=2, dropout=0.5))
    assert named == Design(layers=3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"cel": "gru"}, r"the key 'cel'; did you mean cell\?"),
        ({"learning_rate": 0.1}, "'learning_rate'; it belongs in the table recipe"),
        ({"layers": 2}, "'layers'; it belongs in the table design"),
        ({"recipe": {"lerning_rate": 0.1}}, r"recipe has the key 'lerning_rate'; did you mean"),
        ({"recipe": {"learning_rate": "fast"}}, "learning_rate is 'fast'; expected a number"),
        (
            {"recipe": {"learning_rate": 0}},
            "config: recipe.learning_rate is 0.0; expected",
        ),
        ({"recipe": {"dropout": 1.0}}, "dropout is 1.0; expected a number from 0 to 0.999"),
        ({"recipe": {"seconds": 3}}, "the key 'seconds'"),
        ({"recipe": 3}, "recipe is 3; expected an object"),
        ({"design": {"layer": 2}}, "design has the key 'layer'; did you mean layers"),
        ({"design": {"layers": 0}}, "layers is 0"),
        ({"design": "both"}, "no design is called 'both'; did you mean both-ways"),
        ({"design": 3}, "design is 3; expected an object"),
        ({"hidden_size": 1.5}, "config: hidden_size is 1.5; expected a whole number"),
        ({"recompute": "auto"}, "recompute is 'auto'; expected a whole number or true or false"),
    ],
)
def test_a_wrong_setting_is_named(config: dict[str, Any], message: str):
    with pytest.raises(gw.ArgumentError, match=message):
        read_config(config)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.toml", b"cell = ", "is not TOML"),
        ("own.json", b"{", "is not JSON"),
        ("own.json", b"\xff", "is not JSON"),
        ("own.json", b"[1]", "holds no object"),
        ("missing.toml", None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(gw.ArgumentError, match=message):
        read_config(tmp_path / name)


def test_recipes_survive_the_file():
    recipe = Recipe(design=Design(layers=2), learning_rate=0.01, patience=4)
    from gatewright.training.config import to_config

    config = read_config(
        json.loads(json.dumps(to_config(cell="gru", hidden_size=8, recipe=recipe)))
    )
    assert config["design"] == recipe.design
    assert {**recipe.to_config(), **config["recipe"]} == recipe.to_config()
