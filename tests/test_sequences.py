"""Laws of every cell over sequences: splits, batch rows, padding, starts, stacked layers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import gatewright as gw
from gatewright.graph.sizes import number
from odd_cells import CELLS, make, random_states, run, sequences
from tolerances import SAME, close, gradients, tensors

F64 = torch.float64
LENGTHS = [4, 7, 0, 1, 7]

every_cell = pytest.mark.parametrize("name", CELLS)
both_ways = pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])


def leaves(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy the inputs as leaves that require gradients."""
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in inputs.items()}


def cut(inputs: dict[str, Tensor], steps: slice, rows: slice = slice(None)) -> dict[str, Tensor]:
    """Some steps and rows of every input."""
    return {name: tensor[steps, rows] for name, tensor in inputs.items()}


def rows_of(states, rows):
    """Some rows of every state."""
    if isinstance(states, Tensor):
        return states[:, rows]
    return type(states)(rows_of(state, rows) for state in states)


def one_direction(layer: gw.Recurrent, index: int, reverse: bool) -> gw.Recurrent:
    """Copy one direction of one stacked layer into a layer of its own."""
    sizes = layer.sizes(index)
    with warnings.catch_warnings():  # a state of the input's size needs no hidden size
        warnings.simplefilter("ignore", UserWarning)
        single = gw.Recurrent(layer.cell, sizes["input"], sizes["hidden"], dtype=F64).eval()
    prefix = f"layers.{index}_{'reverse' if reverse else 'forward'}."
    own = {
        f"layers.0_forward.{key.removeprefix(prefix)}": value
        for key, value in layer.state_dict().items()
        if key.startswith(prefix)
    }
    single.load_state_dict(own)
    return single


@every_cell
def test_a_split_sequence_gives_the_same_as_the_whole(name: str):
    layer = make(name, num_layers=2)
    inputs, hx = leaves(sequences(layer, 7, 2)), random_states(layer, 2)
    whole, after = run(layer, inputs, hx)
    first, between = run(layer, cut(inputs, slice(3)), hx)
    second, last = run(layer, cut(inputs, slice(3, None)), between)
    split = torch.cat([first, second])
    close(split, whole, table=SAME)
    close(last, after, table=SAME)
    sources = [*inputs.values(), *layer.parameters()]
    close(gradients((split, last), sources), gradients((whole, after), sources))


@both_ways
@every_cell
def test_rows_of_a_batch_are_independent(name: str, bidirectional: bool):
    layer = make(name, bidirectional=bidirectional)
    inputs, hx = leaves(sequences(layer, 5, 3)), random_states(layer, 3)
    output, _ = run(layer, inputs, hx)
    for row in range(3):
        only = slice(row, row + 1)
        # A product with one row may be summed in another order than one with three.
        close(run(layer, cut(inputs, slice(None), only), rows_of(hx, only))[0], output[:, only])
        for grad in gradients(output[:, row], [*inputs.values()]):
            others = [other for other in range(3) if other != row]
            assert not grad[:, others].any()
            assert grad[:, row].any()


@both_ways
@every_cell
def test_padding_is_never_read(name: str, bidirectional: bool):
    """NaN in the padding changes neither results nor gradients."""
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    clean, hx = leaves(sequences(layer, 7, 5)), random_states(layer, 5)
    running = torch.arange(7).unsqueeze(1) < torch.tensor(LENGTHS)
    dirty = leaves({k: v.masked_fill(~running.unsqueeze(-1), torch.nan) for k, v in clean.items()})
    results = []
    for inputs in (clean, dirty):
        result = run(layer, inputs, hx, lengths=LENGTHS)
        results.append((result, gradients(result, [*inputs.values(), *layer.parameters()])))
    close(results[1], results[0], table={F64: 0.0})
    (output, _), grads = results[0]
    assert not output[~running].any()
    for grad in grads[: len(clean)]:
        assert not grad[~running].any() and grad[running].any()


@both_ways
@every_cell
def test_each_row_gives_the_same_in_a_batch_of_its_own(name: str, bidirectional: bool):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    inputs, hx = sequences(layer, 7, 5), random_states(layer, 5)
    output, after = run(layer, inputs, hx, lengths=torch.tensor(LENGTHS))
    for row, length in enumerate(LENGTHS):
        only = slice(row, row + 1)
        own, own_after = run(layer, cut(inputs, slice(length), only), rows_of(hx, only))
        close(output[:length, only], own)
        close(rows_of(after, only), own_after)
        if length == 0:
            close(rows_of(after, only), rows_of(hx, only), table={F64: 0.0})


@pytest.mark.parametrize("batch_first", [False, True])
@every_cell
def test_padded_and_packed_agree(name: str, batch_first: bool):
    lengths = [4, 7, 1, 7]
    layer = make(name, num_layers=2, bidirectional=True, batch_first=batch_first)
    inputs = sequences(layer, 7, 4)
    if batch_first:
        inputs = {key: tensor.transpose(0, 1) for key, tensor in inputs.items()}
    hx = random_states(layer, 4) if not batch_first else None
    inputs = leaves(inputs)
    padded, after = run(layer, inputs, hx, lengths=lengths)

    def pack(tensor: Tensor):
        return pack_padded_sequence(tensor, lengths, batch_first, enforce_sorted=False)

    packed, packed_after = run(layer, {k: pack(tensor) for k, tensor in inputs.items()}, hx)
    close(packed.data, pack(padded).data, table=SAME)
    close(packed_after, after, table=SAME)
    sources = [*inputs.values(), *layer.parameters()]
    for padded_grad, packed_grad in zip(
        gradients((pack(padded), after), sources),
        gradients((packed, packed_after), sources),
        strict=True,
    ):
        close(padded_grad, packed_grad)


@every_cell
def test_unbatched_is_a_batch_of_one(name: str):
    layer = make(name, num_layers=2, bidirectional=True, batch_first=True)
    inputs = {key: x.transpose(0, 1) for key, x in sequences(layer, 5, 1).items()}
    hx = random_states(layer, 1)

    def squeezed(states):
        if isinstance(states, Tensor):
            return states[:, 0]
        return type(states)(squeezed(state) for state in states)

    output, after = run(layer, inputs, hx)
    own, own_after = run(layer, {k: x[0] for k, x in inputs.items()}, squeezed(hx))
    close(own, output[0], table=SAME)
    close(own_after, squeezed(after), table=SAME)


@every_cell
def test_a_start_splits_the_sequence(name: str):
    """Forwards, each episode begins with the initial state, and no gradient crosses the border."""
    layer = make(name)
    inputs, hx = leaves(sequences(layer, 7, 1)), random_states(layer, 1)
    starts = torch.zeros(7, 1, dtype=torch.bool)
    starts[3] = True
    whole, after = run(layer, inputs, hx, starts=starts)
    first, _ = run(layer, cut(inputs, slice(3)), hx)
    second, last = run(layer, cut(inputs, slice(3, None)))
    split = torch.cat([first, second])
    close(whole, split, table=SAME)
    close(after, last, table=SAME)
    sources = [*inputs.values(), *layer.parameters()]
    close(gradients((whole, after), sources), gradients((split, last), sources))
    for grad in gradients(whole[3:], [*inputs.values()]):
        assert not grad[:3].any()
    for grad in gradients(whole[:3], [*inputs.values()]):
        assert not grad[3:].any()


@every_cell
def test_a_start_splits_the_sequence_backwards_too(name: str):
    """Backwards, the passed state enters at the last step, and an episode ends at its first."""
    layer = make(name, bidirectional=True)
    inputs, hx = leaves(sequences(layer, 7, 1)), random_states(layer, 1)
    starts = torch.zeros(7, 1, dtype=torch.bool)
    starts[3] = True
    whole, _ = run(layer, inputs, hx, starts=starts)
    first, _ = run(layer, cut(inputs, slice(3)), hx)
    second, _ = run(layer, cut(inputs, slice(3, None)), hx)
    size = whole.shape[-1] // 2
    fresh_first, _ = run(layer, cut(inputs, slice(3)))
    fresh_second, _ = run(layer, cut(inputs, slice(3, None)))
    close(whole[:3, :, :size], first[..., :size], table=SAME)
    close(whole[3:, :, :size], fresh_second[..., :size], table=SAME)
    close(whole[:3, :, size:], fresh_first[..., size:], table=SAME)
    close(whole[3:, :, size:], second[..., size:], table=SAME)
    for grad in gradients(whole[3:], [*inputs.values()]):
        assert not grad[:3].any()
    for grad in gradients(whole[:3], [*inputs.values()]):
        assert not grad[3:].any()


@every_cell
def test_a_start_at_step_0_ignores_the_passed_state(name: str):
    layer = make(name, num_layers=2)
    inputs = sequences(layer, 4, 3)
    starts = torch.zeros(4, 3, dtype=torch.bool)
    starts[0, 1] = True
    hx = random_states(layer, 3)
    for state in tensors(hx):
        # NaN times 0 would be NaN, so this fails if the state is multiplied away, not replaced.
        state[:, 1] = torch.nan
        state.requires_grad_()
    output, after = run(layer, inputs, hx, starts=starts)
    close(output[:, 1:2], run(layer, cut(inputs, slice(None), slice(1, 2)))[0])
    assert output.isfinite().all()
    for grad in gradients((output, after), tensors(hx)):
        assert not grad[:, 1].any() and grad[:, 0].any()


@both_ways
def test_starts_with_lengths_and_in_every_form(bidirectional: bool):
    """Rows of several episodes and lengths give the same as each episode in a run of its own."""
    layer = make("peak", bidirectional=bidirectional)
    inputs, lengths = sequences(layer, 7, 3), [7, 4, 0]
    starts = torch.zeros(7, 3, dtype=torch.bool)
    for step, row in ((0, 0), (2, 0), (3, 0), (1, 1), (5, 1), (2, 2)):  # two of them in the padding
        starts[step, row] = True
    output, _ = run(layer, inputs, lengths=lengths, starts=starts)
    episodes = {0: [(0, 2), (2, 3), (3, 7)], 1: [(0, 1), (1, 4)], 2: []}
    for row, parts in episodes.items():
        for begin, end in parts:
            own, _ = run(layer, cut(inputs, slice(begin, end), slice(row, row + 1)))
            close(output[begin:end, row : row + 1], own)
        assert not output[lengths[row] :, row].any()
    event = inputs["x"]
    turned = make("peak", bidirectional=bidirectional, batch_first=True)
    close(
        turned(event.transpose(0, 1), lengths=lengths, starts=starts.T)[0],
        output.transpose(0, 1),
        table=SAME,
    )
    packed = pack_padded_sequence(event[:, :2], lengths[:2])
    marks = pack_padded_sequence(starts[:, :2], lengths[:2])
    expected = pack_padded_sequence(output[:, :2], lengths[:2])
    close(layer(packed, starts=marks)[0].data, expected.data, table=SAME)
    close(layer(packed, starts=marks.data)[0].data, expected.data, table=SAME)
    close(layer(event[:, 0], starts=starts[:, 0])[0], output[:, 0])


@every_cell
def test_a_bidirectional_layer_gives_the_same_as_two_runs(name: str):
    layer = make(name, bidirectional=True)
    inputs, hx = sequences(layer, 6, 2), random_states(layer, 2)
    output, after = run(layer, inputs, hx)
    size = output.shape[-1] // 2
    for reverse in (False, True):
        single = one_direction(layer, 0, reverse)
        turned = {k: x.flip(0) if reverse else x for k, x in inputs.items()}
        place = slice(int(reverse), int(reverse) + 1)
        own_hx = hx[place] if isinstance(hx, Tensor) else tuple(state[place] for state in hx)
        own, own_after = run(single, turned, own_hx)
        close(output.split(size, -1)[int(reverse)], own.flip(0) if reverse else own, table=SAME)
        close([state[place] for state in tensors(after)], tensors(own_after), table=SAME)


@both_ways
@every_cell
def test_stacked_layers_give_the_same_as_single_layers_in_turn(name: str, bidirectional: bool):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    inputs = sequences(layer, 6, 2)
    event, *further = inputs
    output, _ = run(layer, inputs)
    output_below = inputs[event]
    for index in range(2):
        outputs = []
        for reverse in (False, True)[: layer.directions]:
            single = one_direction(layer, index, reverse)
            feed = {event: output_below, **{k: inputs[k] for k in further}}
            feed = {k: x.flip(0) if reverse else x for k, x in feed.items()}
            own, _ = run(single, feed)
            outputs.append(own.flip(0) if reverse else own)
        output_below = torch.cat(outputs, -1)
    close(output, output_below, table=SAME)
    assert layer.output_size == output.shape[-1]


def test_a_state_whose_size_differs_by_layer_has_one_tensor_per_layer():
    layer = make("echo", num_layers=2, bidirectional=True)
    h, m = random_states(layer, 4)
    assert h.shape == (4, 4, 5)
    assert [tuple(state.shape) for state in m] == [(2, 4, 3), (2, 4, 10)]
    single = make("echo")
    _, (h, m) = run(single, sequences(single, 2, 4))
    assert m.shape == (1, 4, 3)


@pytest.mark.parametrize("name", sorted(set(CELLS) - {"heads", "leak"}))
def test_permuting_the_units_permutes_the_output(name: str):
    layer, permuted_layer = make(name), make(name)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        for weight in layer.graph.weights.values():
            path = f"layers.0_forward.{weight.path}"
            tensor = dict(layer.named_parameters())[path]
            for axis, size in enumerate(weight.shape):
                if size == "hidden":
                    tensor = tensor.index_select(axis, order)
            dict(permuted_layer.named_parameters())[path].copy_(tensor)
    inputs, hx = sequences(layer, 6, 2), random_states(layer, 2)

    def permuted(tensor: Tensor, size) -> Tensor:
        return tensor.index_select(-1, order) if size == "hidden" else tensor

    states = (hx,) if isinstance(hx, Tensor) else hx
    sizes = [layer.graph.states[key].size for key in layer.graph.states]
    swapped = tuple(permuted(state, size) for state, size in zip(states, sizes, strict=True))
    output, _ = run(layer, inputs, hx)
    inputs = {k: permuted(x, layer.graph.inputs[k].size) for k, x in inputs.items()}
    result, _ = run(permuted_layer, inputs, swapped[0] if isinstance(hx, Tensor) else swapped)
    close(result, permuted(output, layer.graph.output_size))
    if layer.graph.output_size == "hidden":
        assert (result - output).abs().max() > 1e-3
    assert number("hidden", layer.sizes(0)) == len(order)


@pytest.mark.parametrize("how", ["hold", "weights"])
@pytest.mark.parametrize("name", ["lstm", "lesson_lstm", "peephole_lstm", "projected"])
def test_with_f_at_1_and_i_at_0_the_memory_never_changes(name: str, how: str):
    layer = make(name)
    inputs, hx = sequences(layer, 300, 2), random_states(layer, 2)
    hold = {}
    if how == "hold":
        hold = {"f": 1.0, "i": 0.0}
    else:
        for gate, bias in (("f", 1e4), ("i", -1e4)):
            weights = layer.weights(gate)
            weights["x"] = (weights["x"][0], torch.full((5,), bias))
    memory = layer.trace(inputs["x"], hx, hold=hold)["c"]
    assert torch.equal(memory, hx[1].expand(300, 2, 5))


def test_a_gru_with_z_at_1_keeps_its_memory():
    layer = make("gru")
    hx = random_states(layer, 2)
    memory = layer.trace(torch.randn(300, 2, 3, dtype=F64), hx, hold={"z": 1.0})["h"]
    assert torch.equal(memory, hx.expand(300, 2, 5))


def test_the_learned_start_is_used_and_learns():
    layer = gw.Recurrent(CELLS["learned"][0], 3, 5, dtype=F64)
    named = dict(layer.named_parameters())
    start = named["layers.0_forward.initial.h"]
    assert torch.equal(start, torch.full((5,), 0.3, dtype=F64))
    assert torch.equal(named["layers.0_forward.half"], torch.full((5,), 0.5, dtype=F64))
    x = torch.randn(4, 2, 3, dtype=F64)
    output, _ = layer(x)
    close(layer(x, start.expand(1, 2, 5))[0], output, table=SAME)
    assert (layer(x, torch.zeros(1, 2, 5, dtype=F64))[0] - output).abs().max() > 1e-3
    assert gradients(output, [start])[0].abs().min() > 0
    # An episode that starts later begins with it too.
    starts = torch.zeros(4, 2, dtype=torch.bool)
    starts[2] = True
    close(layer(x, starts=starts)[0][2:], layer(x[2:])[0], table=SAME)


@both_ways
@every_cell
def test_no_steps_and_no_rows(name: str, bidirectional: bool):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    size = layer.output_size
    for steps, batch in ((0, 3), (4, 0), (0, 0)):
        inputs, hx = leaves(sequences(layer, steps, batch)), random_states(layer, batch)
        for options in ({}, {"lengths": [0] * batch}, {"starts": torch.zeros(steps, batch).bool()}):
            output, after = run(layer, inputs, hx, **options)
            assert output.shape == (steps, batch, size)
            if steps == 0:
                close(after, hx, table={F64: 0.0})
            gradients((output, after), [*inputs.values(), *layer.parameters()])


@pytest.mark.parametrize("kind", [torch.int32, torch.uint16, torch.int64, list, tuple])
def test_lengths_may_have_any_integer_type(kind):
    layer = make("gru")
    x = torch.randn(5, 3, 3, dtype=F64)
    expected = layer(x, lengths=torch.tensor([5, 0, 2]))[0]
    lengths = kind([5, 0, 2]) if isinstance(kind, type) else torch.tensor([5, 0, 2], dtype=kind)
    assert torch.equal(layer(x, lengths=lengths)[0], expected)
    assert torch.equal(layer(x[:, 0], lengths=3)[0][:3], layer(x[:3, 0])[0])


def test_long_sequences_with_small_length_types():
    """The lengths are uint8, but the sequence has more than 255 steps."""
    layer = make("elman_rnn")
    x = torch.randn(300, 2, 3, dtype=F64)
    lengths = torch.tensor([200, 3], dtype=torch.uint8)
    assert torch.equal(layer(x, lengths=lengths)[0], layer(x, lengths=[200, 3])[0])
