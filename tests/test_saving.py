"""`gw.save` and `gw.load`: completely or not at all, on any machine, without a user's code."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import nn
from torch.nn.utils import prune

import gatewright as gw
from gatewright.layers.saving import sealed
from odd_cells import CELLS, make, run, sequences
from tolerances import close, tensors

F64 = torch.float64
EXACTLY = {torch.float32: 0.0, F64: 0.0, torch.bfloat16: 0.0}

LAYERS = {
    "rnn": lambda: gw.RNN(3, 5, 2, nonlinearity="relu", bidirectional=True),
    "lstm": lambda: gw.LSTM(3, 5, 2, bias=False, batch_first=True, dropout=0.5, proj_size=2),
    "gru": lambda: gw.GRU(3, 5, reset="before"),
    "peephole": lambda: gw.PeepholeLSTM(
        3, 5, 2, peephole="full", gates=("f",), output_reads="old", bidirectional=True
    ),
    "recurrent": lambda: gw.Recurrent("lesson_lstm", 3, 5, 2, bias=False),
    "rnn_cell": lambda: gw.RNNCell(3, 5, nonlinearity="relu"),
    "lstm_cell": lambda: gw.LSTMCell(3, 5, bias=False),
    "gru_cell": lambda: gw.GRUCell(3, 5, reset="before"),
    "peephole_cell": lambda: gw.PeepholeLSTMCell(3, 5, gates=("i",)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_comes_back_as_it_was(kind: str, tmp_path: Path):
    layer = LAYERS[kind]().eval()
    path = gw.save(layer, tmp_path / "model")
    assert sorted(one.name for one in path.iterdir()) == ["config.json", "model.safetensors"]
    loaded = gw.load(path)
    assert type(loaded) is type(layer)
    assert loaded.extra_repr().split(">")[-1] == layer.extra_repr().split("()")[-1]
    close(dict(loaded.state_dict()), dict(layer.state_dict()), table=EXACTLY)
    x = torch.randn(2, 3) if "cell" in kind else torch.randn(4, 2, 3)
    close(loaded.eval()(x), layer(x), table=EXACTLY)
    assert all(one.requires_grad for one in loaded.parameters())
    again = gw.save(loaded, tmp_path / "again")
    for file in path.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_comes_back_as_it_was(name: str, tmp_path: Path):
    layer = make(name, num_layers=2, bidirectional=True)
    gw.save(layer, tmp_path / "model")
    loaded = gw.load(tmp_path / "model").eval()
    inputs = sequences(layer, 4, 2)
    close(run(loaded, inputs), run(layer, inputs), table=EXACTLY)
    assert str(loaded.cell) == str(layer.cell)
    assert list(loaded.trace(inputs["x"], **{k: v for k, v in inputs.items() if k != "x"})) == list(
        layer.trace(inputs["x"], **{k: v for k, v in inputs.items() if k != "x"})
    )


MODULE = '''
import sys
print("its code ran", file=sys.stderr)
import gatewright as gw
from gatewright import linear, sigmoid, tanh

class Mine(gw.Cell):
    """A cell of the user's own."""
    floor: float = 0.1
    def step(self, x, h):
        rate = self.floor + (1 - self.floor) * sigmoid(linear(x))
        h = (1 - rate) * h + rate * tanh(linear(x, h))
        return gw.state(h=h)
'''


@pytest.mark.usefixtures("forked_python")
def test_a_users_cell_loads_where_its_class_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("mine")
    del sys.modules["mine"]
    torch.manual_seed(3)
    layer = gw.Recurrent(mine.Mine(floor=0.3), 3, 5)
    gw.save(layer, tmp_path / "model")
    total = layer(torch.ones(4, 2, 3))[0].sum().item()
    load_it = (
        "import sys, torch, pickle\n"
        "pickle.Unpickler = pickle.load = pickle.loads = torch.load = None\n"
        "import gatewright as gw\n"
        "layer = gw.load(sys.argv[1] + '/model')\n"
        "assert 'mine' not in sys.modules\n"
        "assert 'floor' not in vars(layer.cell)\n"
        "print(layer(torch.ones(4, 2, 3))[0].sum().item())\n"
        "assert 'rate' in layer.trace(torch.ones(4, 2, 3))\n"
        "gw.save(layer, sys.argv[1] + '/again')\n"
    )
    # The module is on the path, so importing it would succeed, and it would print.
    process = subprocess.run(
        [sys.executable, "-c", load_it, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert process.returncode == 0, process.stderr
    assert "its code ran" not in process.stderr
    assert process.stdout == f"{total}\n"
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["model"]["cell"]["origin"] == "mine.Mine"  # for people
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["model"]["cell"] == config["model"]["cell"]


@pytest.mark.parametrize("dtype", [F64, torch.bfloat16, torch.float16])
def test_the_dtype_is_kept_or_asked_for(dtype: torch.dtype, tmp_path: Path):
    layer = gw.PeepholeLSTM(3, 5, dtype=dtype)
    gw.save(layer, tmp_path / "model")
    loaded = gw.load(tmp_path / "model")
    assert {one.dtype for one in loaded.parameters()} == {dtype}
    close(dict(loaded.float().state_dict()), dict(layer.float().state_dict()), table=EXACTLY)
    other = gw.load(tmp_path / "model", dtype=torch.float32, device="meta")
    assert {(one.dtype, one.device.type) for one in other.parameters()} == {(torch.float32, "meta")}


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path):
    gw.save(gw.LSTM(3, 5), tmp_path / "model")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    gw.load(tmp_path / "model")
    assert torch.equal(torch.rand(3), expected)


def test_tied_and_sliced_weights(tmp_path: Path):
    layer = gw.Recurrent("gru", 5, 5)
    layer.layers["0_forward"].r.h.weight = layer.layers["0_forward"].r.x.weight
    whole = nn.Parameter(torch.randn(9, 5))
    layer.layers["0_forward"].z.x._parameters["weight"] = nn.Parameter(whole.detach()[2:7])
    gw.save(layer, tmp_path / "model")
    x = torch.randn(4, 2, 5)
    close(gw.load(tmp_path / "model")(x), layer(x), table=EXACTLY)


FROZEN = {
    "a gate of a drop-in": lambda: gw.LSTM(3, 5, 2, bidirectional=True),
    "a product": lambda: gw.Recurrent("peephole_lstm", 3, 5, 2),
    "of the step cells": lambda: gw.LSTMCell(3, 5),
}


@pytest.mark.parametrize("kind", FROZEN)
def test_what_is_frozen_comes_back_frozen(kind: str, tmp_path: Path):
    layer = FROZEN[kind]()
    if isinstance(layer, gw.LSTMCell):
        layer.store().freeze("f", True)
        layer.bias_ih.requires_grad_(False)
    else:
        layer.freeze("f")
    loaded = gw.load(gw.save(layer, tmp_path / "model"))
    frozen = [name for name, one in layer.named_parameters() if not one.requires_grad]
    assert [name for name, one in loaded.named_parameters() if not one.requires_grad] == frozen
    assert loaded.weights("f").frozen and not loaded.weights("i").frozen
    assert set(dict(loaded.named_buffers())) == set(dict(layer.named_buffers()))
    again = gw.save(loaded, tmp_path / "again")
    for file in again.iterdir():
        assert file.read_bytes() == (tmp_path / "model" / file.name).read_bytes()


@pytest.mark.parametrize("build", [lambda: gw.GRU(3, 5), lambda: gw.Recurrent("gru", 3, 5)])
def test_a_pruned_layer_trains_and_comes_back_with_its_zeros(build, tmp_path: Path):
    layer = build()
    module, name = (layer, "weight_hh_l0")
    if isinstance(layer, gw.GRU) is False:
        module, name = layer.layers["0_forward"].n.h, "weight"
    prune.l1_unstructured(module, name, amount=0.5)
    x = torch.randn(4, 2, 3)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(2):
        layer(x)[0].square().sum().backward()
        optimizer.step()
    expected = layer(x)[0]
    loaded = gw.load(gw.save(layer, tmp_path / "model"))
    close(loaded(x)[0], expected)
    assert (dict(loaded.named_parameters())[loaded_name(loaded, module)] == 0).float().mean() >= 0.3


def loaded_name(layer: nn.Module, module: nn.Module) -> str:
    return "weight_hh_l0" if isinstance(module, gw.GRU) else "layers.0_forward.n.h.weight"


def test_what_could_not_be_loaded_is_refused_when_it_is_saved(tmp_path: Path):
    grown = gw.GRU(3, 5)
    grown.register_parameter("more", nn.Parameter(torch.zeros(2)))
    resized = gw.GRU(3, 5)
    resized.bias_ih_l0 = nn.Parameter(torch.zeros(7))
    spoilt = gw.Recurrent("gru", 3, 5)
    spoilt.weights("n")["x"][0][0, 0] = float("nan")
    for layer, message in (
        (grown, "more, which the model does not have"),
        (resized, r"bias_ih_l0 has shape \(7,\); expected \(15,\)"),
        (spoilt, "layers.0.forward.n.x.weight holds NaN"),
        (gw.GRU(3, 5, device="meta"), "on the meta device"),
    ):
        with pytest.raises(gw.ArgumentError, match=message):
            gw.save(layer, tmp_path / "model")
    assert not [*tmp_path.iterdir()]


def test_other_files_may_go_beside(tmp_path: Path):
    gw.save(gw.LSTM(3, 5), tmp_path / "model", files={"README.md": b"# Mine"})
    assert (tmp_path / "model" / "README.md").read_bytes() == b"# Mine"
    gw.load(tmp_path / "model")


def test_what_exists_is_refused_and_untouched(tmp_path: Path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(gw.ArgumentError, match="exists and is not empty"):
        gw.save(gw.LSTM(3, 5), target)
    assert [one.name for one in tmp_path.rglob("*")] == ["model", "notes.txt"]
    assert (target / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "model", [nn.LSTM(3, 5), nn.Sequential(gw.LSTM(3, 5)), type("Mine", (gw.LSTM,), {})(3, 5)]
)
def test_what_cannot_be_saved_is_refused_and_leaves_nothing(model: nn.Module, tmp_path: Path):
    with pytest.raises(gw.ArgumentError, match="cannot be saved; save takes"):
        gw.save(model, tmp_path / "model")
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return gw.save(gw.Recurrent("peephole_lstm", 3, 5, 2), tmp_path / "model")


def changed(path: Path, change) -> None:
    """Change the configuration and its checksum, as an attacker would."""
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(sealed(config)))


CONFIGS = {
    "no format": lambda c: c.pop("format"),
    "another format": lambda c: c.update(format="other"),
    "a later version": lambda c: c.update(version=99),
    "no model": lambda c: c.pop("model"),
    "the model is a list": lambda c: c.update(model=[]),
    "no kind": lambda c: c["model"].pop("kind"),
    "another kind": lambda c: c["model"].update(kind="os.system"),
    "the kind is a list": lambda c: c["model"].update(kind=["Recurrent"]),
    "the wrong kind": lambda c: c["model"].update(kind="LSTM"),
    "a kind of step": lambda c: c["model"].update(kind="GRUCell"),
    "no arguments": lambda c: c["model"].pop("arguments"),
    "arguments are a number": lambda c: c["model"].update(arguments=3),
    "an argument too many": lambda c: c["model"]["arguments"].update(hook="x"),
    "an argument missing": lambda c: c["model"]["arguments"].pop("input_size"),
    "a size of text": lambda c: c["model"]["arguments"].update(input_size="3"),
    "a size below 1": lambda c: c["model"]["arguments"].update(hidden_size=-5),
    "a size of astronomers": lambda c: c["model"]["arguments"].update(hidden_size=10**30),
    "a size that no memory has": lambda c: c["model"]["arguments"].update(hidden_size=10**9),
    "another size": lambda c: c["model"]["arguments"].update(hidden_size=6),
    "fewer layers": lambda c: c["model"]["arguments"].update(num_layers=1),
    "more layers": lambda c: c["model"]["arguments"].update(num_layers=3),
    "no cell": lambda c: c["model"].pop("cell"),
    "the cell is text": lambda c: c["model"].update(cell="lstm"),
    "a later cell": lambda c: c["model"]["cell"].update(version=99),
    "no nodes": lambda c: c["model"]["cell"].update(nodes=[]),
    "another operation": lambda c: c["model"]["cell"]["nodes"][-1].update(op="eval"),
    "a later operand": lambda c: c["model"]["cell"]["nodes"][5].update(operands=[40, 41]),
    "no checksum": lambda c: c.pop("weights_sha256"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_damaged_configuration_is_refused(case: str, saved: Path):
    changed(saved, CONFIGS[case])
    with pytest.raises(gw.ModelError) as caught:
        gw.load(saved)
    assert len(str(caught.value)) > 20


@pytest.mark.parametrize("word", ["differs", "is missing"])
def test_a_configuration_that_was_edited_is_refused(word: str, saved: Path):
    """Even if the change would load, as another dropout does; spaces make no difference."""
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config, indent=7))
    gw.load(saved)
    config["model"]["arguments"]["dropout"] = 0.7
    if word == "is missing":
        del config["config_sha256"]
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(gw.ModelError, match=rf"config.json is damaged: .* \(its checksum {word}"):
        gw.load(saved)


FILES = {
    "config: empty": ("config.json", lambda b: b""),
    "config: cut": ("config.json", lambda b: b[: len(b) // 2]),
    "config: bytes": ("config.json", lambda b: b"\xff\xfe\x00" + b),
    "config: a list": ("config.json", lambda b: b"[1, 2]"),
    "config: deep": ("config.json", lambda b: b"[" * 100_000),
    "tensors: empty": ("model.safetensors", lambda b: b""),
    "tensors: cut": ("model.safetensors", lambda b: b[:-7]),
    "tensors: a bit": ("model.safetensors", lambda b: b[:-1] + bytes([b[-1] ^ 1])),
    "tensors: a pickle": ("model.safetensors", lambda b: b"\x80\x04cos\nsystem\n."),
}


@pytest.mark.parametrize("case", FILES)
def test_a_damaged_file_is_refused(case: str, saved: Path):
    name, damage = FILES[case]
    (saved / name).write_bytes(damage((saved / name).read_bytes()))
    with pytest.raises(gw.ModelError, match=r"damaged|not written by gatewright"):
        gw.load(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_refused(name: str, saved: Path):
    (saved / name).unlink()
    message = {
        "config.json": "is no model: it has no config.json; give a directory that gatewright train",
        "model.safetensors": "cannot read .*model.safetensors: No such file",
    }[name]
    with pytest.raises(gw.ModelError, match=message):
        gw.load(saved)
    with pytest.raises(gw.ModelError, match="is no directory"):
        gw.load(saved / "deeper")
    with pytest.raises(gw.ModelError, match="is no directory"):
        gw.load(__file__)


def rewritten(path: Path, change) -> None:
    """Change the tensors and their checksum, as an attacker would."""
    tensors = read_tensors((path / "model.safetensors").read_bytes())
    change(tensors)
    weights = write_tensors(tensors)
    (path / "model.safetensors").write_bytes(weights)
    changed(path, lambda c: c.update(weights_sha256=hashlib.sha256(weights).hexdigest()))


TENSORS = {
    "one missing": lambda t: t.pop("layers.0.forward.f.x.weight"),
    "one too many": lambda t: t.update(more=torch.zeros(3)),
    "another shape": lambda t: t.update({"layers.0.forward.f.x.weight": torch.zeros(3, 5)}),
    "none": lambda t: t.clear(),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit_are_refused(case: str, saved: Path):
    rewritten(saved, TENSORS[case])
    with pytest.raises(gw.ModelError, match="weights and configuration do not agree"):
        gw.load(saved)


def test_equations_that_are_not_the_drop_ins_are_refused(tmp_path: Path):
    """A drop-in runs its own equations; one saved with other equations is another network."""
    path = gw.save(gw.GRU(3, 5), tmp_path / "model")
    other = gw.CELLS["gru"](reset="before").equations.to_json()
    changed(path, lambda c: c["model"].update(cell=other))
    with pytest.raises(gw.ModelError, match="other equations"):
        gw.load(path)


def test_weights_that_are_nan_are_refused(saved: Path):
    rewritten(saved, lambda t: t["layers.0.forward.f.x.weight"].fill_(float("nan")))
    with pytest.raises(gw.ModelError, match=r"f\.x\.weight holds NaN"):
        gw.load(saved)


LIES = {
    "layers": {"num_layers": 10_000},
    "layers in both directions": {"num_layers": 10_000, "bidirectional": True},
    "units": {"hidden_size": 20_000},
    "inputs": {"input_size": 10**8},
}


@pytest.mark.parametrize("case", LIES)
def test_sizes_that_are_claimed_are_refused_before_anything_is_built(case: str, saved: Path):
    changed(saved, lambda c: c["model"]["arguments"].update(LIES[case]))
    begun = time.perf_counter()
    with pytest.raises(gw.ModelError, match="weights and configuration do not agree"):
        gw.load(saved)
    assert time.perf_counter() - begun < 0.5


@pytest.mark.skipif(os.name == "nt", reason="devices and pipes are POSIX")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["/dev/zero", "fifo", "directory", "/dev/null"])
def test_what_is_no_regular_file_is_refused(kind: str, name: str, saved: Path):
    (saved / name).unlink()
    if kind == "fifo":
        os.mkfifo(saved / name)
    elif kind == "directory":
        (saved / name).mkdir()
    else:
        (saved / name).symlink_to(kind)
    with pytest.raises(gw.ModelError, match=r"cannot read .*(regular file|directory)"):
        gw.load(saved)


def test_a_link_to_a_regular_file_is_fine(saved: Path):
    """As in the caches of model hubs."""
    (saved / "model.safetensors").rename(saved.parent / "blob")
    (saved / "model.safetensors").symlink_to("../blob")
    gw.load(saved)


def test_a_file_longer_than_its_header_says_is_refused_unread(saved: Path):
    with open(saved / "model.safetensors", "r+b") as file:
        file.truncate(2**40)  # a file with a hole, which takes no space
    with pytest.raises(gw.ModelError, match="its header says"):
        gw.load(saved)


def test_another_order_of_keys_and_other_zeros_are_no_damage(saved: Path):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return [turned(one) for one in value] if isinstance(value, list) else value

    def with_points(value):
        if type(value) is int:
            return float(value)
        if isinstance(value, dict):
            return {key: with_points(one) for key, one in value.items()}
        return [with_points(one) for one in value] if isinstance(value, list) else value

    file = saved / "config.json"
    config = json.loads(file.read_text())
    before = gw.load(saved)
    for change in (turned, with_points):
        file.write_text(json.dumps({**change(config), "version": 1}))
        close(dict(gw.load(saved).state_dict()), dict(before.state_dict()), table=EXACTLY)
        assert gw.load(saved).cell.equations.same_as(before.cell.equations)


def test_the_checksum_of_older_directories_is_known(saved: Path):
    file = saved / "config.json"
    config = json.loads(file.read_text())
    del config["config_sha256"]
    text = json.dumps(config, separators=(",", ":"))
    config["config_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    file.write_text(json.dumps(config))
    gw.load(saved)


@pytest.mark.parametrize("path", ["", "\0x", "a" * 5000, 3, None, b"model"])
def test_what_is_no_path_is_refused(path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gw.save(gw.GRU(3, 5), tmp_path / "model")
    monkeypatch.chdir(tmp_path / "model")  # an empty path would mean this folder
    with pytest.raises((gw.ArgumentError, gw.ModelError)):
        gw.load(path)
    with pytest.raises(gw.ArgumentError):
        gw.save(gw.GRU(3, 5), path)


FIELDS = {
    "a size is an object": (
        lambda m: m["arguments"].update(hidden_size={}),
        r"model\.arguments\.hidden_size is an object; expected a whole number",
    ),
    "a switch is a number": (
        lambda m: m["arguments"].update(bias=1),
        r"model\.arguments\.bias is 1; expected true or false",
    ),
    "states are a text": (
        lambda m: m["cell"].update(states="hc"),
        r"model\.cell\.states is 'hc'; expected a list",
    ),
    "a state is a number": (
        lambda m: m["cell"].update(states=["h", 3]),
        r"model\.cell\.states\[1\] is 3; expected a text",
    ),
    "an operand is a text": (
        lambda m: m["cell"]["nodes"][5].update(operands=["x"]),
        r"model\.cell: ValueError: nodes\[5\]: operand 'x'",
    ),
    "a name with an escape": (
        lambda m: m["cell"]["names"].update({"\x1b[2J": 3}),
        r"model\.cell\.names is '\\x1b\[2J'",
    ),
    "a name of ten thousand letters": (
        lambda m: m["cell"]["names"].update({"a" * 10_000: 3}),
        r"model\.cell\.names is 'aaa",
    ),
    "another field": (
        lambda m: m["arguments"].update(hook="os.system"),
        r"model\.arguments has the field 'hook'",
    ),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_refusal_names_the_field(case: str, saved: Path):
    change, message = FIELDS[case]
    changed(saved, lambda c: change(c["model"]))
    with pytest.raises(gw.ModelError, match=message) as caught:
        gw.load(saved)
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 1000


def test_infinite_starts_survive_json(tmp_path: Path):
    layer = make("peak")
    path = gw.save(layer, tmp_path / "model")
    json.loads((path / "config.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    x = torch.randn(3, 2, 3, dtype=F64)
    close(tensors(gw.load(path)(x)), tensors(layer(x)), table=EXACTLY)
