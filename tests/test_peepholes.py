"""The peephole and the lesson's LSTM: against ONNX's reference evaluator and plain loops."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

import gatewright as gw
from tolerances import close, gradients

F64 = torch.float64
SUBSETS = [some for count in range(4) for some in combinations("ifo", count)]


def by_hand(layer: gw.Recurrent) -> dict[str, dict]:
    """Each product's live weights, by source."""
    return layer.pairs(0, False)


def product(pairs: dict, **sources: Tensor) -> Tensor:
    """One product on plain tensors: matrices, vectors (keyed `c*`) and the bias."""
    total = torch.zeros(())
    for key, source in sources.items():
        for name in (key, f"{key}*"):
            if name in pairs:
                weight, bias = pairs[name]
                total = total + (weight * source if name.endswith("*") else source @ weight.T)
                total = total if bias is None else total + bias
    return total


def loop_peephole(layer: gw.PeepholeLSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple:
    """Gers and Schmidhuber 2000, eqs. 3 to 8, step by step."""
    w, outputs = by_hand(layer), []
    for event in x:
        i = torch.sigmoid(product(w["i"], x=event, h=h, c=c))
        f = torch.sigmoid(product(w["f"], x=event, h=h, c=c))
        new = f * c + i * torch.tanh(product(w["g"], x=event, h=h))
        seen = new if layer.output_reads == "new" else c
        h, c = torch.sigmoid(product(w["o"], x=event, h=h, c=seen)) * torch.tanh(new), new
        outputs.append(h)
    return torch.stack(outputs), (h.unsqueeze(0), c.unsqueeze(0))


@pytest.mark.parametrize("output_reads", ["new", "old"])
@pytest.mark.parametrize("gates", SUBSETS, ids="".join)
@pytest.mark.parametrize("peephole", ["diagonal", "full"])
def test_every_peephole_is_what_a_plain_loop_computes(peephole, gates, output_reads):
    torch.manual_seed(1)
    layer = gw.PeepholeLSTM(
        3, 5, peephole=peephole, gates=gates, output_reads=output_reads, dtype=F64
    )
    key = "c*" if peephole == "diagonal" else "c"
    for gate in "ifo":  # it has exactly the weights that were asked for
        assert (key in layer.weights(gate)) == (gate in gates)
        assert set(layer.weights(gate)) <= {"x", "h", key}
    x = torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    h, c = (torch.randn(2, 5, dtype=F64, requires_grad=True) for _ in range(2))
    expected = loop_peephole(layer, x, h, c)
    actual = layer(x, (h.unsqueeze(0), c.unsqueeze(0)))
    close(actual, expected)
    leaves = [x, h, c, *layer.parameters()]
    actual_gradients, expected_gradients = gradients(actual, leaves), gradients(expected, leaves)
    close(actual_gradients, expected_gradients)
    assert all(one.abs().max() > 0 for one in actual_gradients)


def test_the_forms_differ_from_each_other():
    """The options change the output; else all comparisons above would be empty."""
    x = torch.randn(6, 2, 3)
    outputs = []
    for options in ({}, {"output_reads": "old"}, {"gates": ("i", "f")}, {"gates": ()}):
        torch.manual_seed(1)
        layer = gw.PeepholeLSTM(3, 5, **options)
        for gate in layer.gates:
            layer.weights(gate)["c*"] = torch.full((5,), 2.0)
        for place, value in enumerate("gifo"):
            for source in "xh":
                weight = layer.weights(value)[source][0]
                weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight) + place / 9)
        outputs.append(layer(x)[0])
    for a, b in combinations(outputs, 2):
        assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_diagonal_peepholes_against_onnx(reverse: bool, lengths: list | None):
    """ONNX stacks i, o, f, c and its peepholes i, o, f; its o reads the new memory."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    torch.manual_seed(7)
    layer = gw.PeepholeLSTM(3, 5, bidirectional=True)
    for product_name in layer.products:
        for place in layer.places:
            weights = layer.weights(product_name, *place)
            for source, (weight, bias) in weights.items():
                weights[source] = (
                    torch.randn_like(weight),
                    None if bias is None else torch.randn_like(bias),
                )
    order = {"i": "i", "o": "o", "f": "f", "c": "g"}
    w = [layer.weights(order[one], reverse=reverse) for one in "iofc"]
    zeros = torch.zeros(4 * 5)
    feeds = {
        "W": torch.cat([one["x"][0] for one in w]),
        "R": torch.cat([one["h"][0] for one in w]),
        "B": torch.cat([*(one["x"][1] for one in w), zeros]),
        "P": torch.cat([one["c*"][0] for one in w[:3]]),
    }
    x = torch.randn(6, 3, 3)
    h, c = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    output, states = layer(x, (h, c), lengths=lengths)

    node = onnx.helper.make_node(
        "LSTM", ["X", "W", "R", "B", "", "H", "C", "P"], ["Y", "Yh", "Yc"], hidden_size=5
    )
    evaluator = ReferenceEvaluator(node)
    for row in range(3):
        # The evaluator knows neither lengths nor reverse: rows one by one, reversed by hand.
        events = x[: 6 if lengths is None else lengths[row], row : row + 1]
        inputs = {name: one.unsqueeze(0) for name, one in feeds.items()}
        inputs |= {
            "X": events.flip(0) if reverse else events,
            "H": h[int(reverse), row].view(1, 1, 5),
            "C": c[int(reverse), row].view(1, 1, 5),
        }
        results = evaluator.run(None, {name: one.numpy() for name, one in inputs.items()})
        y, last_h, last_c = (torch.from_numpy(one) for one in results)
        y = y.view(-1, 5)
        close(
            output[: len(events), row].chunk(2, -1)[int(reverse)], y.flip(0) if reverse else y, "y"
        )
        close(states[0][int(reverse), row], last_h.view(5), "h")
        close(states[1][int(reverse), row], last_c.view(5), "c")


def loop_lesson(layer: gw.Recurrent, x: Tensor, h: Tensor, c: Tensor) -> tuple:
    """use = sigmoid(W_v [h, x] + b_v) * tanh(W_u forget + b_u)."""
    w, outputs = by_hand(layer), []
    for event in x:
        i, f, v = (torch.sigmoid(product(w[name], x=event, h=h)) for name in "ifv")
        learn = i * torch.tanh(product(w["g"], x=event, h=h))
        forget = f * c
        c = learn + forget
        h = v * torch.tanh(product(w["u"], forget=forget))
        outputs.append(h)
    return torch.stack(outputs), (h.unsqueeze(0), c.unsqueeze(0))


def test_the_lessons_lstm_is_what_a_plain_loop_computes():
    torch.manual_seed(1)
    layer = gw.Recurrent("lesson_lstm", 3, 5, dtype=F64)
    x = torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    h, c = (torch.randn(2, 5, dtype=F64, requires_grad=True) for _ in range(2))
    expected = loop_lesson(layer, x, h, c)
    actual = layer(x, (h.unsqueeze(0), c.unsqueeze(0)))
    close(actual, expected)
    leaves = [x, h, c, *layer.parameters()]
    actual_gradients = gradients(actual, leaves)
    close(actual_gradients, gradients(expected, leaves))
    assert all(one.abs().max() > 0 for one in actual_gradients)


@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm"])
def test_the_lessons_gates_have_the_lessons_names(cell: str):
    layer = gw.Recurrent(cell, 3, 5, dtype=F64)
    x = torch.randn(4, 2, 3, dtype=F64)
    output, (_, c) = layer(x)
    gates = layer.trace(x)
    close(gates["learn"], gates["i"] * gates["g"])
    before = torch.cat([torch.zeros(1, 2, 5, dtype=F64), gates["remember"][:-1]])
    close(gates["forget"], gates["f"] * before)
    close(gates["remember"], gates["learn"] + gates["forget"])
    close(gates["use"], gates["o"] * torch.tanh(gates["remember"]))
    close(gates["use"], output)
    close(gates["remember"][-1:], c)


def test_the_gates_of_the_learn_gate_lie_where_they_should():
    gates = gw.LSTM(3, 5).trace(torch.randn(4, 2, 3) * 3)
    for name in "ifo":
        assert gates[name].min() >= 0 and gates[name].max() <= 1
    assert gates["g"].min() < 0


@pytest.mark.parametrize("peephole", ["diagonal", "full"])
def test_the_peephole_step_cell_gives_what_the_layer_gives(peephole: str):
    layer = gw.PeepholeLSTM(3, 5, peephole=peephole, gates=("f", "o"), dtype=F64)
    cell = gw.PeepholeLSTMCell(3, 5, peephole=peephole, gates=("f", "o"), dtype=F64)
    cell.load_state_dict(
        {k.removeprefix("layers.0_forward."): v for k, v in layer.state_dict().items()}
    )
    x, states = torch.randn(4, 2, 3, dtype=F64), None
    trace = layer.trace(x)
    for t in range(4):
        states, values = cell(x[t], states, values=True)
        close(values["remember"], trace["remember"][t])
        close(states[1], trace["c"][t])


def test_one_step_by_hand_with_a_layers_weights():
    layer = gw.PeepholeLSTM(3, 5, dtype=F64)
    x, h, c = (torch.randn(2, size, dtype=F64) for size in (3, 5, 5))
    weights = {name: layer.weights(name) for name in layer.products}
    (new_h, new_c), values = layer.cell(x, h, c, weights=weights, values=True)
    output, states = layer(x.unsqueeze(0), (h.unsqueeze(0), c.unsqueeze(0)))
    close((new_h.unsqueeze(0), new_c.unsqueeze(0)), states)
    close(values["output"], output[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"peephole": "wide"}, "'wide'"),
        ({"gates": ("i", "g")}, "('i', 'g')"),
        ({"gates": "ifo"}, "'ifo'"),
        ({"output_reads": "none"}, "'none'"),
    ],
)
def test_wrong_options_are_refused(options: dict, words: str):
    for kind in (gw.PeepholeLSTM, gw.PeepholeLSTMCell):
        with pytest.raises(gw.ArgumentError) as caught:
            kind(3, 5, **options)
        assert words in str(caught.value)
