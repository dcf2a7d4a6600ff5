"""Weights that a cell fixes: they have its values, and nothing that learns or starts moves them."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright import diagonal, linear, tanh
from gatewright.graph import build_graph
from gatewright.language.cell import StoredCell, stored_form
from gatewright.tasks.text import presentation
from papers import F64, ROWS, STEPS, States, Weights, held_to_paper, read
from test_cli import gatewright, refused
from test_examples import EXAMPLES, errors, load
from tolerances import close

SMALL = ((0.1, 0.2), (0.3, 0.4))
LMU: Any = load("legendre_memory").LMU


def matrix(*shape: int) -> Tensor:
    """Distinct numbers in any shape."""
    return torch.arange(1, torch.Size(shape).numel() + 1, dtype=F64).view(shape) / 100


class Reservoir(gw.Cell):
    """Two learned matrices, of the event and of a bias, and a recurrent one of any size."""

    fixed: ClassVar[Mapping[str, Any]] = {"h": {"h": matrix}}

    def step(self, x, h):
        return gw.state(h=tanh(linear(x, h)))


class Small(gw.Cell):
    """A memory of two numbers, with values that the class is made with."""

    values: Any = SMALL

    @property
    def fixed(self) -> Mapping[str, Any]:
        return {"A": {"m": self.values}}

    sizes: ClassVar = {"m": 2}

    def step(self, x, h, m):
        m = linear(m, size=2, bias=False, name="A") + linear(x, size=2, name="in_")
        return gw.state(h=tanh(linear(x, h, m)), m=m)


class Vectors(gw.Cell):
    """A parameter, a diagonal and a matrix with heads."""

    fixed: ClassVar[Mapping[str, Any]] = {
        "level": matrix,
        "d": {"h*": matrix},
        "n": {"h": matrix},
    }

    def step(self, x, h):
        d = diagonal(h)
        n = tanh(linear(h, heads=2) + linear(x, name="in_"))
        return gw.state(h=n + d + gw.parameter(name="level"))


class Outer(gw.Cell):
    """A cell with two others as its fields, each with values of its own."""

    inner: Small = Small()
    more: tuple[Any, ...] = (Small(values=((0.5, 0.6), (0.7, 0.8))),)

    sizes: ClassVar = {"m": 2, "k": 2}

    def step(self, x, h, m, k):
        h, m = self.inner(x, h, m)
        h, k = self.more[0](x, h, k)
        return gw.state(h=h, m=m, k=k)


CELLS: dict[str, Callable[[], gw.Cell]] = {
    "lmu": lambda: LMU(order=5, window=7.0),
    "reservoir": Reservoir,
    "small": Small,
    "vectors": Vectors,
    "outer": Outer,
}


def layer_of(kind: str, **options: Any) -> gw.Recurrent:
    torch.manual_seed(0)
    return gw.Recurrent(CELLS[kind](), 3, 4, **options)


def frozen(layer: torch.nn.Module) -> dict[str, Tensor]:
    """The weights that are not learned, as they are now."""
    return {n: p.detach().clone() for n, p in layer.named_parameters() if not p.requires_grad}


def lmu_step(w: Weights, x: Tensor, h: Tensor, m: Tensor) -> States:
    """Voelker et al. 2019, eqs. 4, 6 and 7, with the matrices of eqs. 1 and 2 held over a step."""
    order, window = 5, 7.0
    rows = [
        [(2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1)) for j in range(order)]
        for i in range(order)
    ]
    a = torch.tensor(rows, dtype=F64) / window
    b = torch.tensor([[(2 * i + 1) * (-1.0) ** i] for i in range(order)], dtype=F64) / window
    discrete_a = torch.linalg.matrix_exp(a)
    discrete_b = torch.linalg.solve(a, (discrete_a - torch.eye(order, dtype=F64)) @ b)
    u = read(w, "u", x=x, h=h, m=m)
    m = m @ discrete_a.T + u @ discrete_b.T
    return torch.tanh(read(w, "h", x=x, h=h, m=m)), m


def test_the_legendre_memory_unit_is_the_papers():
    layer = gw.Recurrent(LMU(order=5, window=7.0), 3, 4, dtype=F64)
    assert set(frozen(layer)) == {"layers.0_forward.A.m.weight", "layers.0_forward.B.u.weight"}
    x = torch.randn(STEPS, ROWS, 3, dtype=F64)
    start = [torch.randn(1, ROWS, size, dtype=F64) for size in (4, 5)]
    held_to_paper(layer, lmu_step, {"x": x}, start)


def test_the_memory_holds_its_window():
    """Eq. 3: the Legendre polynomials at the window's end give back what was written there."""
    order, window, steps = 16, 40.0, 200
    cell = LMU(order=order, window=window)
    a, b = cell.fixed["A"]["m"], cell.fixed["B"]["u"]
    u = torch.sin(torch.arange(steps, dtype=F64) / 9.0)
    m = torch.zeros(order, dtype=F64)
    for value in u:
        m = a @ m + b[:, 0] * value
    delayed = u[-41:-39].mean()  # the window ends between two steps
    assert abs(float(m.sum() - delayed)) < 0.01  # P_i(1) = 1 for every i


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_with_fixed_weights_keeps_the_laws(kind: str):
    gw.check_cell(CELLS[kind](), input_size=3, hidden_size=4)


@pytest.mark.parametrize("kind", CELLS)
def test_they_are_copied_pickled_saved_and_started_with_their_values(kind: str, tmp_path: Path):
    layer = layer_of(kind, num_layers=2, bidirectional=True)
    fixed = frozen(layer)
    assert len(fixed) == 4 * len(layer.cell.constants) > 0
    copies = {
        "copy": copy.deepcopy(layer),
        "pickle": pickle.loads(pickle.dumps(layer)),
        "load": gw.load(gw.save(layer, tmp_path / "model")),
        "state_dict": layer_of(kind, num_layers=2, bidirectional=True),
    }
    copies["load, copy"] = copy.deepcopy(copies["load"])
    copies["load, save"] = gw.load(gw.save(copies["load"], tmp_path / "again"))
    copies["state_dict"].load_state_dict(layer.state_dict())
    for way, other in copies.items():
        close(frozen(other), fixed, way)
        learned = {n: p.clone() for n, p in other.named_parameters() if p.requires_grad}
        other.reset_parameters()
        gw.init.orthogonal_(other)
        gw.init.identity_(other)
        close(frozen(other), fixed, f"{way}, started again")
        named = dict(other.named_parameters())
        assert not all(torch.equal(named[name], one) for name, one in learned.items()), way


def test_a_matrix_is_fixed_by_itself():
    """The other source of its product, and the bias, are learned."""
    layer = layer_of("reservoir")
    product = layer.weights("h")
    assert not product.frozen and product.frozen_sources == {"h"}
    before = {name: one.detach().clone() for name, one in layer.named_parameters()}
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(5, 2, 3))[0].square().sum().backward()
        optimizer.step()
    moved = {n for n, one in layer.named_parameters() if not torch.equal(one, before[n])}
    prefix = "layers.0_forward.h"
    assert moved == {f"{prefix}.x.weight", f"{prefix}.x.bias"}
    close(product["h"][0], matrix(4, 4).float())


def test_a_layer_on_the_meta_device_gets_them_when_it_is_started():
    layer = layer_of("reservoir", device="meta").to_empty(device="cpu")
    layer.reset_parameters()
    close(frozen(layer), frozen(layer_of("reservoir")))


def test_what_was_let_go_is_learned_and_starts_at_the_cells_values():
    layer = layer_of("small")
    layer.freeze("A", False)
    with torch.no_grad():
        layer.weights("A")["m"][0].zero_()
    layer.reset_parameters()
    assert not frozen(layer)
    close(layer.weights("A")["m"][0], torch.tensor(SMALL))


@pytest.mark.parametrize(
    "values",
    [
        [list(row) for row in SMALL],
        np.array(SMALL),
        np.array(SMALL, np.float32),
        torch.tensor(SMALL, dtype=F64, requires_grad=True),
        torch.tensor(SMALL, dtype=torch.bfloat16),
        lambda rows, columns: np.array(SMALL),
    ],
    ids=["lists", "float64", "float32", "tensor", "bfloat16", "function"],
)
def test_values_of_every_kind(values: Any):
    table = values if not callable(values) else values(2, 2)
    expected = torch.as_tensor(table, dtype=F64).detach()
    layer = gw.Recurrent(Small(values=values), 3, 4, dtype=F64)
    assert torch.equal(layer.weights("A")["m"][0], expected)
    stored = StoredCell.from_json(json.loads(json.dumps(stored_form(layer.cell, [layer.sizes(0)]))))
    again = gw.Recurrent(stored, 3, 4, dtype=F64)
    assert torch.equal(again.weights("A")["m"][0], expected)
    assert again.weights("A").frozen


def test_cells_that_differ_in_values_share_kernels_and_nothing_else():
    torch.manual_seed(0)
    small, other = Small(), Small(values=((-0.9, 0.0), (0.0, 0.9)))
    assert small.graph is other.graph is build_graph(small.equations)
    first, second = gw.Recurrent(small, 3, 4), gw.Recurrent(other, 3, 4)
    for name in ("in_", "h"):
        for source, pair in first.weights(name).items():
            second.weights(name)[source] = pair
    x = torch.randn(5, 2, 3)
    assert not torch.equal(first(x)[0], second(x)[0])
    reference = copy.deepcopy(second)
    reference.backend = "reference"
    close(second(x)[0], reference(x)[0], "the reference")


def test_a_stored_cell_has_the_values_of_its_layers_sizes_only(tmp_path: Path):
    cell = gw.load(gw.save(layer_of("reservoir"), tmp_path / "model")).cell
    close(frozen(gw.Recurrent(cell, 7, 4)), frozen(gw.Recurrent(Reservoir, 7, 4)))
    with pytest.raises(gw.SizeError, match=r"h\.h has shape \(4, 4\); expected \(5, 5\)"):
        gw.Recurrent(cell, 3, 5)


def refusal(fixed: Any) -> Callable[[], gw.Recurrent]:
    kind = type("Refused", (Small,), {"fixed": fixed, "__doc__": "Refused."})
    return lambda: gw.Recurrent(kind(), 3, 4)


def fails(*shape: int) -> Any:
    raise ZeroDivisionError("no such shape")


REFUSALS: dict[str, tuple[Any, type[Exception], str]] = {
    "no mapping": ([1.0], gw.CellError, r"fixed is a list.*fixed = \{'A': \{'m': values\}\}"),
    "no such product": (
        {"Q": {"m": SMALL}},
        gw.CellError,
        "'Q', which is not a product.*products and parameters are A, in_, h",
    ),
    "no such source": ({"A": {"h": SMALL}}, gw.CellError, "'h', which A does not read.*are m"),
    "no sources": ({"A": SMALL}, gw.CellError, r"fixed\['A'\] is a tuple"),
    "a number": ({"A": {"m": 1.0}}, gw.CellError, r"A\.m is a float \(1\.0\)"),
    "text": ({"A": {"m": [["a", "b"]]}}, gw.CellError, r"A\.m is a table with a str \('a'\)"),
    "None": ({"A": {"m": None}}, gw.CellError, r"A\.m is None"),
    "empty": ({"A": {"m": []}}, gw.CellError, r"A\.m is empty"),
    "ragged": ({"A": {"m": [[1, 2], [3]]}}, gw.CellError, "rows differ in length"),
    "complex": ({"A": {"m": torch.ones(2, 2) * 1j}}, gw.CellError, "a table with a complex"),
    "NaN": ({"A": {"m": [[1, 2], [3, float("nan")]]}}, gw.CellError, "not finite"),
    "beyond float64": ({"A": {"m": [[1, 2], [3, 10**400]]}}, gw.CellError, "not finite"),
    "beyond float32": ({"A": {"m": [[1, 2], [3, 1e300]]}}, gw.ArgumentError, "torch.float32"),
    "another shape": (
        {"A": {"m": np.ones((3, 2))}},
        gw.SizeError,
        r"A\.m has shape \(3, 2\); expected \(2, 2\)",
    ),
    "a function of another shape": (
        {"A": {"m": lambda rows, columns: np.ones((rows, 5))}},
        gw.SizeError,
        r"shape \(2, 5\); expected \(2, 2\): return values of the shape",
    ),
    "a function that fails": (
        {"A": {"m": fails}},
        gw.ArgumentError,
        r"called with \(2, 2\), raised ZeroDivisionError: no such shape",
    ),
    "a function of NaN": (
        {"A": {"m": lambda *shape: np.full(shape, np.nan)}},
        gw.ArgumentError,
        r"A\.m, called with \(2, 2\), returned not finite",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_refusals(kind: str):
    fixed, error, words = REFUSALS[kind]
    with pytest.raises(error, match=f"(?s){words}"):
        refusal(fixed)()


def test_a_matrix_in_an_equation_is_sent_to_fixed():
    class Wrong(gw.Cell):
        def step(self, x, h):
            return gw.state(h=tanh(linear(x, h)) * np.ones(3))

    with pytest.raises(gw.CellError, match=r"fixed = \{'A': \{'m': matrix\}\}"):
        Wrong()


def test_check_cell_finds_values_that_change():
    class Drawn(Reservoir):
        fixed: ClassVar[Mapping[str, Any]] = {"h": {"h": np.random.rand}}

    with pytest.raises(gw.CellError, match="computed twice, a fixed weight has other values"):
        gw.check_cell(Drawn)


def entry(values: Any = "AAAAAAAAAAA=", shape: Any = (1, 1)) -> dict[str, Any]:
    return {"shape": list(shape), "values": values}


DAMAGED: dict[str, tuple[Any, str]] = {
    "no object": ([1], r"cell\.fixed is a list of 1"),
    "no such weight": ({"A.q.weight": [entry()]}, "path of a weight of the cell"),
    "a bias": ({"in_.x.bias": [entry()]}, "path of a weight of the cell"),
    "no list": ({"A.m.weight": entry()}, "expected a list"),
    "no fields": ({"A.m.weight": [{}]}, "shape is missing"),
    "no base64": ({"A.m.weight": [entry("?")]}, "not base64"),
    "half a number": ({"A.m.weight": [entry("AAAA")]}, "not base64 of float64"),
    "another shape": ({"A.m.weight": [entry(shape=(2, 2))]}, "1 values; its shape is"),
    "a huge shape": ({"A.m.weight": [entry(shape=(2**62, 2**62))]}, "1 values; its shape is"),
    "no axes": ({"A.m.weight": [entry(shape=())]}, "1 values; its shape is"),
    "infinite": ({"A.m.weight": [entry("AAAAAAAA8H8=")]}, "not finite"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_values_are_refused(kind: str):
    fixed, words = DAMAGED[kind]
    stored = Small().equations.to_json() | {"fixed": fixed}
    with pytest.raises(gw.ModelError, match=words):
        StoredCell.from_json(stored)


RESERVOIR = '''
import gatewright as gw
from gatewright import linear, tanh

class Reservoir(gw.Cell):
    """A random recurrent matrix that is never learned."""
    fixed = {"h": {"h": lambda rows, columns: [
        [((7 * i + 3 * j) % 11 - 5) / 40 for j in range(columns)] for i in range(rows)]}}
    def step(self, x, h):
        return gw.state(h=tanh(linear(x, h)))
'''


@pytest.mark.slow(instead="test_an_estimator_keeps_them")
@pytest.mark.parametrize("own", ["lmu", "reservoir"])
def test_the_command_line_trains_what_is_learned(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Trained in processes of their own, which have no class and no function."""
    monkeypatch.setattr(presentation, "SAMPLE", 40)  # for the report
    text = tmp_path / "fox.txt"  # which needs no variants and no boosting
    text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    file = tmp_path / "cell.py"
    file.write_text(RESERVOIR)
    cell = f"{EXAMPLES / 'legendre_memory.py'}:LMU" if own == "lmu" else f"{file}:Reservoir"
    out = tmp_path / "out"
    done = gatewright(
        *("train", text, "--cell", cell, "--hidden", "8", "--out", out),
        *("--epochs", "2", "--seeds", "1"),
    )
    assert done.returncode == 0, done.stderr
    file.unlink()
    model: Any = gw.load(out)
    if own == "lmu":
        expected = {
            f"{name}.{key}.weight": v for name, e in LMU().fixed.items() for key, v in e.items()
        }
    else:
        rows = [[((7 * i + 3 * j) % 11 - 5) / 40 for j in range(8)] for i in range(8)]
        expected = {"h.h.weight": torch.tensor(rows)}
    layers = model.recurrent
    weights = {
        f"layers.{layer}_forward.{name}": matrix.float()
        for layer in range(layers.num_layers)
        for name, matrix in expected.items()
    }
    assert frozen(layers).keys() == weights.keys()
    for name, weight in frozen(layers).items():
        assert torch.equal(weight, weights[name]), name
    layers.reset_parameters()
    for name, weight in frozen(layers).items():
        assert torch.equal(weight, weights[name]), name
    learned = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert f"{learned:,}" in (out / "README.md").read_text()
    assert gatewright("sample", out, "--symbols", "40").returncode == 0


def test_the_command_line_refuses_values_of_another_size(tmp_path: Path):
    file = tmp_path / "cell.py"
    file.write_text(
        RESERVOIR.replace("lambda rows, columns: [", "[")
        .replace("columns", "3")
        .replace("rows", "3")
    )
    done = gatewright(
        "train", "vowels", "--cell", f"{file}:Reservoir", "--hidden", "8", "--out", tmp_path / "out"
    )
    refused(done, "fixed weight h.h has shape (3, 3); expected (8, 8)", "a function of the shape")


def test_an_estimator_keeps_them(tmp_path: Path):
    pytest.importorskip("sklearn")
    from gatewright.estimators import SequenceClassifier

    draw = np.random.default_rng(0)
    sequences = [draw.normal(size=(6, 2)) + label for label in (0, 1) for _ in range(8)]
    labels = [label for label in (0, 1) for _ in range(8)]
    fitted = SequenceClassifier(Reservoir(), hidden_size=5, epochs=2, design="plain").fit(
        sequences, labels
    )
    fitted.save(tmp_path / "model")
    again = SequenceClassifier.load(tmp_path / "model")
    expected = matrix(5, 5).float()
    again.fit(sequences, labels)
    for classifier in (fitted, again):
        assert torch.equal(classifier.model_.body.weights("h")["h"][0], expected)
        assert classifier.model_.body.weights("h").frozen_sources == {"h"}


@pytest.mark.slow(instead="test_the_legendre_memory_unit_is_the_papers")
def test_the_example(capsys: pytest.CaptureFixture[str]):
    assert load("legendre_memory").main() == 0
    printed = capsys.readouterr().out
    falling = errors(re.sub(r" \(chance.*", "", printed))
    assert falling[-1] < 0.2 and falling[-1] < falling[0]


def test_the_page_on_layers():
    text = (EXAMPLES.parent / "docs" / "layers.md").read_text(encoding="utf-8")
    (block,) = [code for code in re.findall(r"(?s)```python\n(.*?)```", text) if "fixed = " in code]
    names: dict[str, Any] = {"gw": gw, "__name__": __name__}
    exec(block, names)
    assert names["layer"].weights("h").frozen_sources == {"h"}
