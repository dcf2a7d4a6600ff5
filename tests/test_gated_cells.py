"""Variants of the LSTM and the GRU, and networks with fewer gates: each compared with plain torch,
written from its paper with explicit matrices and a Python loop."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

import gatewright as gw
from gatewright.graph.sizes import number
from papers import F64, ROWS, STEPS, States, Step, Weights, held_to_paper, randomised, read
from test_kernels import held_to_reference, task_of
from tolerances import EXACT, close

F32 = torch.float32
sigmoid, tanh = torch.sigmoid, torch.tanh


# One step of each, from its paper.
def greff(w: Weights, x: Tensor, h: Tensor, c: Tensor, *gates: Tensor, but: str = "") -> States:
    """The vanilla LSTM of Greff et al., with one change."""
    before = dict(zip("ifo", gates, strict=False))  # only for FGR

    def gate(name: str, memory: Tensor) -> Tensor:
        seen = 0.0 if but == "NP" else w[f"{name}.c*.weight"] * memory
        return sigmoid(read(w, name, x=x, h=h, **before) + seen)

    z = read(w, "g", x=x, h=h)
    z = z if but == "NIAF" else tanh(z)
    i = torch.ones_like(c) if but == "NIG" else gate("i", c)
    f = torch.ones_like(c) if but == "NFG" else 1 - i if but == "CIFG" else gate("f", c)
    c = z * i + c * f
    o = torch.ones_like(c) if but == "NOG" else gate("o", c)
    return ((c if but == "NOAF" else tanh(c)) * o, c, *((i, f, o) if gates else ()))


def lstm(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> States:
    g, i, f, o = (read(w, name, x=x, h=h) for name in "gifo")
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def projected(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> States:
    m, c = lstm(w, x, h, c)
    return m @ w["h.use.weight"].T, c


def normalised(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> States:
    def norm(a: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        return layer_norm(a, a.shape[-1:], gain, bias)

    def gate(name: str) -> Tensor:
        from_x = norm(x @ w[f"{name}.x.weight"].T, w[f"{name}_x_gain"], w[f"{name}_bias"])
        from_h = norm(h @ w[f"{name}.h.weight"].T, w[f"{name}_h_gain"], torch.zeros_like(c[0]))
        return from_x + from_h

    c = sigmoid(gate("f")) * c + sigmoid(gate("i")) * tanh(gate("g"))
    return sigmoid(gate("o")) * tanh(norm(c, w["c_gain"], w["c_bias"])), c


def zoneout(
    w: Weights, x: Tensor, h: Tensor, c: Tensor, *, zone_h: Tensor, zone_c: Tensor
) -> States:
    new_h, new_c = lstm(w, x, h, c)
    return zone_h * h + (1 - zone_h) * new_h, zone_c * c + (1 - zone_c) * new_c


def dropped(w: Weights, x: Tensor, h: Tensor, c: Tensor, **noises: Tensor) -> States:
    g, i, f, o = (read(w, name, x=x, h=h) for name in "gifo")
    c = sigmoid(f) * c + sigmoid(i) * (tanh(g) * noises["kept"])
    return sigmoid(o) * tanh(c), c


def multiplicative(w: Weights, x: Tensor, h: Tensor, c: Tensor) -> States:
    m = (x @ w["m.x.weight"].T) * (h @ w["m.h.weight"].T)
    i, o, f = (sigmoid(read(w, name, x=x, m=m)) for name in "iof")
    c = f * c + i * tanh(read(w, "g", x=x, m=m))
    return tanh(c) * o, c


def mut(w: Weights, x: Tensor, h: Tensor, *, unit: int) -> States:
    sources = ({"x": x}, {"x": x, "h": h}, {"x": x, "h": tanh(h)})[unit - 1]
    z = 1 - sigmoid(read(w, "z", **sources))  # the paper's z is the share of the new value
    r = sigmoid(x + read(w, "r", h=h) if unit == 2 else read(w, "r", x=x, h=h))
    new = tanh(read(w, "n", h=r * h) + tanh(x) if unit == 1 else read(w, "n", x=x, h=r * h))
    return (new * z + h * (1 - z),)


def mgu(w: Weights, x: Tensor, h: Tensor) -> States:
    f = 1 - sigmoid(read(w, "f", x=x, h=h))  # the paper's f is the share of the new value
    return ((1 - f) * h + f * tanh(read(w, "n", x=x, h=f * h)),)


def janet(w: Weights, x: Tensor, h: Tensor, *, beta: float = 1.0) -> States:
    s = read(w, "f", x=x, h=h)
    return (sigmoid(s) * h + (1 - sigmoid(s - beta)) * tanh(read(w, "g", x=x, h=h)),)


def fast_grnn(w: Weights, x: Tensor, h: Tensor) -> States:
    both = x @ w["a.x.weight"].T + h @ w["a.h.weight"].T
    z, new = sigmoid(both + w["z"]), tanh(both + w["n"])
    return ((sigmoid(w["zeta"]) * (1 - z) + sigmoid(w["nu"])) * new + z * h,)


def ind_rnn(w: Weights, x: Tensor, h: Tensor) -> States:
    return (torch.relu(read(w, "h", x=x) + w["h.h*.weight"] * h),)


def scrn(w: Weights, x: Tensor, h: Tensor, s: Tensor) -> States:
    s = 0.05 * x @ w["s.x.weight"].T + 0.95 * s
    seen = s @ w["h.s.weight"].T + x @ w["h.x.weight"].T + h @ w["h.h.weight"].T
    h = sigmoid(seen)
    return h @ w["y.h.weight"].T + s @ w["y.s.weight"].T, h, s


PLAIN: dict[str, Step] = {
    **{
        f"lstm_{name.lower()}": partial(greff, but=name)
        for name in ("NIG", "NFG", "NOG", "NIAF", "NOAF", "NP", "CIFG", "FGR")
    },
    "projected_lstm": projected,
    "layer_norm_lstm": normalised,
    "zoneout_lstm": zoneout,
    "recurrent_dropout_lstm": dropped,
    "multiplicative_lstm": multiplicative,
    **{f"mut{unit}": partial(mut, unit=unit) for unit in (1, 2, 3)},
    "mgu": mgu,
    "janet": janet,
    "fast_grnn": fast_grnn,
    "ind_rnn": ind_rnn,
    "scrn": scrn,
}
#: Cells that add the event to their units as it is, so that the sizes are equal.
EQUAL = ("mut1", "mut2")
#: NP has the kernels of the LSTM.
COMPILED = [name for name in PLAIN if name != "lstm_np"]
NOISE = {"zoneout_lstm": {"zone_c": 0.5, "zone_h": 0.05}, "recurrent_dropout_lstm": {"kept": 0.75}}


def make(name: str, hidden: int = 5, **options) -> gw.Recurrent:
    """A layer, by the name of its cell, in eval mode."""
    size = hidden if name in EQUAL else 4
    options = {"dtype": F64, "backend": "reference", **options}
    return randomised(gw.Recurrent(name, size, hidden, **options)).eval()


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def given_to(layer: gw.Recurrent, rows: int = ROWS) -> tuple[Tensor, list[Tensor]]:
    """An event and states to start from."""
    sizes = layer.sizes(0)
    states = [
        normal(1, rows, number(term.size, sizes), seed=2 + k)
        for k, term in enumerate(layer.graph.states.values())
    ]
    return normal(STEPS, rows, sizes["input"]), states


@pytest.mark.parametrize("name", PLAIN)
def test_a_cell_is_what_its_paper_says(name: str):
    layer = make(name)
    x, start = given_to(layer)
    drawn = {
        key: torch.full((STEPS, ROWS, 5), p, dtype=F64) for key, p in NOISE.get(name, {}).items()
    }
    held_to_paper(layer, PLAIN[name], {"x": x}, start, drawn)


@pytest.mark.parametrize("name", NOISE)
def test_what_is_drawn_in_training_is_what_the_paper_does_with_it(name: str):
    layer = make(name, 25).train()
    x, start = given_to(layer)
    torch.manual_seed(7)
    values = layer.trace(x, tuple(start))
    drawn = {key: values[key] for key in NOISE[name]}
    assert all(set(one.unique().tolist()) == {0.0, 1.0} for one in drawn.values())
    held_to_paper(layer, PLAIN[name], {"x": x}, start, drawn, seed=7)


@pytest.mark.parametrize("name", NOISE)
def test_the_mean_over_draws_is_the_value_in_eval_mode(name: str):
    """The mean over many rows of one step: the long-term memory is linear in the noise."""
    layer, rows = make(name), 20_000
    x, start = (normal(1, 1, 4), [normal(1, 1, 5, seed=k) for k in (2, 3)])
    mean = layer.trace(x, tuple(start))
    torch.manual_seed(0)
    states = tuple(one.expand(1, rows, 5).contiguous() for one in start)
    drawn = layer.train().trace(x.expand(1, rows, 4).contiguous(), states)
    for key in ("h", "c") if name == "zoneout_lstm" else ("learn", "c"):
        error = drawn[key].std(1) / rows**0.5
        assert (error > 0).all()
        assert ((drawn[key].mean(1) - mean[key][:, 0]).abs() < 5 * error).all(), key
    # Each unit takes either the old value or the new one, never a mixture.
    if name == "zoneout_lstm":
        for key, old, new in (("h", start[0], "use"), ("c", start[1], "remember")):
            is_old, taken = drawn[key] == old, drawn[key] == drawn[new]
            assert (is_old ^ taken).all()
            p = {"h": 0.05, "c": 0.5}[key]
            assert abs(is_old.double().mean() - p) < 5 * (p * (1 - p) / (5 * rows)) ** 0.5
    else:
        assert ((drawn["learn"] == 0) ^ (drawn["learn"] == drawn["i"] * drawn["g"])).all()


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", COMPILED)
def test_the_kernels_compute_what_the_reference_does(name: str, dtype: torch.dtype):
    graph = gw.CELLS[name]().graph
    for size, hidden, layout, restart in [
        (3, 5, (3, (3, 3, 2, 1)), True),
        (17, 33, (7, (7, 5, 0)), False),
    ]:
        sizes = {"input": hidden if name in EQUAL else size, "hidden": hidden}
        held_to_reference(task_of(graph, sizes, dtype, layout, restart=restart, names=False))


# Further statements of the papers.
@pytest.mark.parametrize("name", EQUAL)
def test_an_event_that_is_added_as_it_is_has_the_hidden_size(name: str):
    with pytest.raises(gw.SizeError, match="must be equal"):
        gw.Recurrent(name, 4, 5)


def test_no_peepholes_and_no_gate_recurrence_are_the_cells_that_they_change():
    plain, lstm_ = make("lstm_np"), make("lstm")
    lstm_.load_state_dict(plain.state_dict())
    x, start = given_to(plain)
    close(plain(x, tuple(start)), lstm_(x, tuple(start)), table={F64: 0.0})
    full, peephole = make("lstm_fgr"), make("peephole_lstm")
    weights = full.state_dict()
    own = {key: one for key, one in weights.items() if key in peephole.state_dict()}
    peephole.load_state_dict(own)
    full.load_state_dict(own | {k: torch.zeros_like(v) for k, v in weights.items() if k not in own})
    close(full(x)[0], peephole(x)[0], table=EXACT)


@pytest.mark.parametrize("name", ["gru", "mut1", "mut2", "mut3", "mgu", "janet"])
def test_the_gate_called_f_or_z_keeps_the_memory_when_it_is_open(name: str):
    """As `gw.init` assumes."""
    layer = gw.init.forget_bias_(make(name), 60.0)
    x, [start] = given_to(layer)
    close(layer(x, start)[1], start)
    with pytest.raises(AssertionError):
        close(gw.init.forget_bias_(layer, 0.0)(x, start)[1], start)


def test_janet_starts_by_the_chrono_rule():
    layer = gw.init.chrono_(make("janet", 200), t_max=50)
    bias = layer.weights("f")["x"][1]
    assert bias is not None and bias.min() >= 0.0 and bias.exp().max() <= 49.0 + 1e-4
    assert bias.std() > 0.1


def test_janet_without_beta_shares_out_one_whole():
    cell = gw.CELLS["janet"](beta=0.0)
    layer = randomised(gw.Recurrent(cell, 4, 5, dtype=F64, backend="reference"))
    x, start = given_to(layer)
    held_to_paper(layer, partial(janet, beta=0.0), {"x": x}, start)
    values = layer.trace(x)
    close(values["f"] + values["i"], torch.ones_like(values["f"]))
