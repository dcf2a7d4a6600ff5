"""The recurrent layers of a `.keras` file.

Its configuration has the layers of the model and their options. Keras names their groups of weights
by the classes of the layers, counted within each model: `layers/lstm_1/cell/vars/0` is the first
matrix of the second LSTM.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.deploy.incoming.activations import SIGMOID, TANH, Activation
from gatewright.deploy.incoming.cells import ImportedCell, ImportedGRU, ImportedLSTM, ImportedRNN
from gatewright.deploy.incoming.file_layers import (
    DirectionWeights,
    FileLayers,
    GateWeights,
    build_layer,
)
from gatewright.deploy.incoming.keras_archive import KerasWeights, open_keras
from gatewright.deploy.incoming.reverse_layer import ReverseLayer
from gatewright.errors import ArgumentError, ModelError
from gatewright.layers.recurrent import Recurrent
from gatewright.schema import mismatch, shown, typed

Array = NDArray[Any]

#: The deepest nesting of models in models that is followed.
MAX_DEPTH = 32

#: Our gates in the order of Keras, by the class of the cell.
GATE_ORDER = {"LSTM": "ifgo", "GRU": "zrn", "SimpleRNN": "h"}
#: Keras's activations in ours.
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "elu": Activation("Elu"),
        "exponential": Activation("Exp"),
        "gelu": Activation("Gelu"),
        "hard_sigmoid": Activation("HardSigmoid", (1 / 6, 0.5)),
        "hard_tanh": Activation("HardTanh"),
        "leaky_relu": Activation("LeakyRelu", (0.2,)),
        "linear": Activation("Affine", (1.0, 0.0)),
        "log_sigmoid": Activation("LogSigmoid"),
        "relu": Activation("Relu"),
        "sigmoid": SIGMOID,
        "silu": Activation("Swish"),
        "softplus": Activation("Softplus"),
        "softsign": Activation("Softsign"),
        "swish": Activation("Swish"),
        "tanh": TANH,
    }
)
#: Keras's layers of one direction, and what `RNN` runs, by the class of the cell.
RECURRENT = {kind: kind for kind in GATE_ORDER} | {f"{kind}Cell": kind for kind in GATE_ORDER}
#: The method of a tensor that joins the directions of a Bidirectional; our layers have "concat".
MERGES: Mapping[str | None, str] = MappingProxyType(
    {"sum": "sum", "ave": "mean", "mul": "prod", None: "unbind"}
)
MASKED = (
    "the file masks steps: pass lengths= for padding after a sequence; where Keras repeats the "
    "last output there, the layer returns 0"
)


def read_keras(path: Path) -> FileLayers:
    """The recurrent layers of a `.keras` file, by their names.

    Raises:
        ArgumentError: if the file cannot be read, holds no recurrent layer, or one that computes
            what our layers cannot.
        ModelError: if it is damaged.
    """
    config, weights = open_keras(path)
    return _layers(list(_entries(config, str(path))), weights, path)


# The configuration.
@dataclass(frozen=True)
class _Entry:
    """A layer of the configuration.

    Attributes:
        kind: The name of its class.
        name: Its name, behind those of the models that it is in.
        group: Its group of weights.
        config: Its options.
        title: The file and the layer, for messages.
    """

    kind: str
    name: str
    group: str
    config: Mapping[str, Any]
    title: str

    def option(self, name: str, hint: Any, default: Any = None) -> Any:
        """An option, of the type of a hint."""
        return typed(self.config.get(name, default), hint, f"{self.title}: {name}")

    def inner(self, option: str, group: str) -> _Entry:
        """The layer or cell that an option holds."""
        kind, config = _class_and_config(self.config.get(option), f"{self.title}: {option}")
        return _Entry(kind, self.name, f"{self.group}/{group}", config, self.title)


def _entries(
    model: Any, title: str, prefix: str = "", group: str = "", depth: int = 0
) -> Iterator[_Entry]:
    """The layers of a model and of the models in it."""
    kind, config = _class_and_config(model, title)
    if not isinstance(config.get("layers"), list):
        raise ArgumentError(
            f"{title} is a {kind}, whose layers are not in the file; build "
            "the model of keras.Sequential or keras.Model(inputs, outputs), and save that"
        )
    if depth > MAX_DEPTH:
        raise ModelError(f"{title} has models in models, more than {MAX_DEPTH} deep")
    counts: Counter[str] = Counter()
    for index, stored in enumerate(config["layers"]):
        kind, own = _class_and_config(stored, f"{title}: layers[{index}]")
        name = typed(own.get("name"), str, f"{title}: layers[{index}].name")
        stem = _snake_case(kind.split(">")[-1])
        number = f"_{counts[stem]}" if counts[stem] else ""
        counts[stem] += 1
        inside = f"{group}layers/{stem}{number}"
        if isinstance(own.get("layers"), list):
            place = f"{title}: {name}"
            yield from _entries(stored, place, f"{prefix}{name}/", f"{inside}/", depth + 1)
        else:
            yield _Entry(kind, prefix + name, inside, own, f"{title}: {name} ({kind})")


def _class_and_config(stored: Any, title: str) -> tuple[str, dict[str, Any]]:
    """The class of a stored object and its options; `LSTM` is Keras's, `custom>LSTM` is not."""
    entry = typed(stored, dict[str, Any], title)
    kind = typed(entry.get("class_name"), str, f"{title}: class_name")
    module = typed(entry.get("module"), str | None, f"{title}: module") or ""
    config = typed(entry.get("config"), dict[str, Any], f"{title}: config")
    if module.split(".")[0] == "keras":
        return kind, config
    return f"{module or 'custom'}>{kind}", config


def _snake_case(name: str) -> str:
    """A class's name as Keras names a group of weights.

    >>> _snake_case("SimpleRNN"), _snake_case("LSTM"), _snake_case("RNN")
    ('simple_rnn', 'lstm', 'rnn')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


# The layers.
def _layers(entries: Sequence[_Entry], weights: KerasWeights, path: Path) -> FileLayers:
    masked = any(
        entry.kind == "Masking" or entry.config.get("mask_zero") is True for entry in entries
    )
    layers: dict[str, Recurrent | ReverseLayer] = {}
    notes: dict[str, list[str]] = {}
    left_out = []
    for entry in entries:
        if entry.kind in RECURRENT or entry.kind in ("RNN", "Bidirectional"):
            read = _both_directions if entry.kind == "Bidirectional" else _one_direction
            layers[entry.name], notes[entry.name] = read(entry, weights)
            notes[entry.name] += [MASKED] if masked else []
        elif entry.kind != "InputLayer":
            left_out.append(f"{entry.name} ({entry.kind})")
    if not layers:
        raise ArgumentError(
            f"{path} holds no LSTM, GRU or SimpleRNN, also in a Bidirectional or an RNN; nothing "
            "else of a file is converted"
        )
    return FileLayers(layers, notes, left_out)


def _one_direction(
    entry: _Entry, weights: KerasWeights
) -> tuple[Recurrent | ReverseLayer, list[str]]:
    cell, direction = _network(entry, weights)
    layer = build_layer(cell, [direction], batch_first=True)
    notes = _notes(entry)
    every = entry.option("return_sequences", bool, False)
    if not every:
        notes.append("passes on the last output only: h[-1]")
    if not entry.option("go_backwards", bool, False):
        return layer, notes
    if every:
        notes.append("passes on its outputs from the last step to the first: output.flip(1)")
    return ReverseLayer(layer), notes


def _both_directions(entry: _Entry, weights: KerasWeights) -> tuple[Recurrent, list[str]]:
    forward, backward = (
        entry.inner("layer", "forward_layer"),
        entry.inner("backward_layer", "backward_layer"),
    )
    (cell, first), (other, second) = (_network(inner, weights) for inner in (forward, backward))
    sizes = [next(iter(d.gates.values())).x.shape for d in (first, second)]
    reverses = [inner.option("go_backwards", bool, False) for inner in (forward, backward)]
    if repr(cell) != repr(other) or sizes[0] != sizes[1] or reverses != [False, True]:
        raise ArgumentError(
            f"{entry.title} has two directions that differ in more than their weights; a layer has "
            "one cell for both: take two layers in the place of the Bidirectional, one of which "
            "goes backwards, and convert that model"
        )
    notes = _notes(forward)
    every = forward.option("return_sequences", bool, False)
    merge = entry.option("merge_mode", str | None)
    if merge != "concat":
        if merge not in MERGES:
            raise mismatch(f"{entry.title}: merge_mode", merge, f"concat, {_listed(MERGES)}")
        parts = "output.unflatten(-1, (2, -1))" if every else "h"
        axis = -2 if every else 0
        notes.append(f"has merge_mode={merge!r}: {parts}.{MERGES[merge]}({axis})")
    elif not every:
        notes.append("passes on the last output of each direction only: torch.cat(list(h), -1)")
    return build_layer(cell, [first, second], batch_first=True), notes


def _notes(entry: _Entry) -> list[str]:
    """Notes on the options that concern training, or several calls."""
    notes = []
    if entry.option("stateful", bool, False):
        notes.append("carries its state from batch to batch: pass the states of a call on as hx")
    options = _cell_entry(entry)
    drops = {name: options.option(name, float, 0.0) for name in ("dropout", "recurrent_dropout")}
    for name, share in drops.items():
        if share:
            notes.append(f"has {name}={share:g} in training, which the layer does not")
    return notes


def _cell_entry(entry: _Entry) -> _Entry:
    """The entry with the options of the cell: that of the layer, or of the cell in an `RNN`."""
    if entry.kind != "RNN":
        return entry
    inner = entry.inner("cell", "")
    if inner.kind not in RECURRENT:
        raise ArgumentError(
            f"{entry.title} runs a {inner.kind}, which is not converted; expected "
            f"{_listed(RECURRENT)}. Write that cell as a gw.Cell, or stacked cells as layers"
        )
    return inner


def _network(entry: _Entry, weights: KerasWeights) -> tuple[ImportedCell, DirectionWeights]:
    """The cell of a layer of one direction, and its weights."""
    options = _cell_entry(entry)
    kind = RECURRENT.get(options.kind)
    if kind is None:
        raise ArgumentError(
            f"{entry.title} runs a {options.kind}, which is not converted; expected RNN or "
            f"{_listed(GATE_ORDER)}"
        )
    cell = _cell(options, kind)
    weights.check_name(entry.group, entry.option("name", str))
    units, bias = options.option("units", int), options.option("use_bias", bool, True)
    two_biases = isinstance(cell, ImportedGRU) and cell.reset == "after"
    gates = GATE_ORDER[kind]
    count, rows, place = len(gates), len(gates) * units, f"{entry.group}/cell/vars"
    # Keras multiplies from the left: its matrices are (inputs, rows).
    x = np.split(weights.array(f"{place}/0", (None, rows)).T, count)
    h = np.split(weights.array(f"{place}/1", (units, rows)).T, count)
    biases: list[Array | None] = [None] * (2 * count)
    if bias:
        stored = weights.array(f"{place}/2", (2, rows) if two_biases else (rows,))
        both = stored if two_biases else np.stack([stored, np.zeros_like(stored)])
        biases = [*both.reshape(2 * count, units)]
    return cell, DirectionWeights(
        {
            gate: GateWeights(x[index], h[index], biases[index], biases[count + index])
            for index, gate in enumerate(gates)
        }
    )


def _cell(options: _Entry, kind: str) -> ImportedCell:
    new = _activation(options, "activation")
    if kind == "SimpleRNN":
        return ImportedRNN(new=new)
    gate = _activation(options, "recurrent_activation")
    if kind == "LSTM":
        return ImportedLSTM(gate=gate, new=new, used=new)
    after = options.option("reset_after", bool, True)
    return ImportedGRU(gate=gate, new=new, reset="after" if after else "before")


def _activation(entry: _Entry, option: str) -> Activation:
    stored = entry.config.get(option)
    if not isinstance(stored, str) or stored not in ACTIVATIONS:
        raise ArgumentError(
            f"{entry.title} has {option}={shown(stored)}, which is not converted; expected "
            f"{_listed(ACTIVATIONS)}. Write that cell as a gw.Cell"
        )
    return ACTIVATIONS[stored]


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
