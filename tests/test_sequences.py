"""What holds for every cell over a sequence: splits, rows, padding, restarts, stacking."""

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


def leaves(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values, asking for gradients."""
    return {name: one.detach().clone().requires_grad_() for name, one in given.items()}


def at(given: dict[str, Tensor], times: slice, rows: slice = slice(None)) -> dict[str, Tensor]:
    return {name: one[times, rows] for name, one in given.items()}


def rows_of(states, rows):
    """Some rows of every state."""
    if isinstance(states, Tensor):
        return states[:, rows]
    return type(states)(rows_of(one, rows) for one in states)


def one_direction(layer: gw.Recurrent, index: int, reverse: bool) -> gw.Recurrent:
    """One of a layer's networks as a layer of its own."""
    sizes = layer.sizes(index)
    with warnings.catch_warnings():  # a state of the input's size needs no hidden size
        warnings.simplefilter("ignore", UserWarning)
        alone = gw.Recurrent(layer.cell, sizes["input"], sizes["hidden"], dtype=F64).eval()
    prefix = f"layers.{index}_{'reverse' if reverse else 'forward'}."
    own = {
        f"layers.0_forward.{key.removeprefix(prefix)}": value
        for key, value in layer.state_dict().items()
        if key.startswith(prefix)
    }
    alone.load_state_dict(own)
    return alone


@every_cell
def test_a_split_sequence_is_the_whole_one(name: str):
    layer = make(name, num_layers=2)
    given, hx = leaves(sequences(layer, 7, 2)), random_states(layer, 2)
    whole, after = run(layer, given, hx)
    first, between = run(layer, at(given, slice(3)), hx)
    second, last = run(layer, at(given, slice(3, None)), between)
    split = torch.cat([first, second])
    close(split, whole, table=SAME)
    close(last, after, table=SAME)
    wanted = [*given.values(), *layer.parameters()]
    close(gradients((split, last), wanted), gradients((whole, after), wanted))


@both_ways
@every_cell
def test_rows_of_a_batch_do_not_touch(name: str, bidirectional: bool):
    layer = make(name, bidirectional=bidirectional)
    given, hx = leaves(sequences(layer, 5, 3)), random_states(layer, 3)
    output, _ = run(layer, given, hx)
    for row in range(3):
        alone = slice(row, row + 1)
        # A product of one row may add up in another order than one of three.
        close(run(layer, at(given, slice(None), alone), rows_of(hx, alone))[0], output[:, alone])
        for grad in gradients(output[:, row], [*given.values()]):
            others = [one for one in range(3) if one != row]
            assert not grad[:, others].any()
            assert grad[:, row].any()


@both_ways
@every_cell
def test_padding_is_never_read(name: str, bidirectional: bool):
    """NaN in the padding changes nothing, not even a gradient."""
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    clean, hx = leaves(sequences(layer, 7, 5)), random_states(layer, 5)
    running = torch.arange(7).unsqueeze(1) < torch.tensor(LENGTHS)
    dirty = leaves({k: v.masked_fill(~running.unsqueeze(-1), torch.nan) for k, v in clean.items()})
    found = []
    for given in (clean, dirty):
        result = run(layer, given, hx, lengths=LENGTHS)
        found.append((result, gradients(result, [*given.values(), *layer.parameters()])))
    close(found[1], found[0], table={F64: 0.0})
    assert not found[0][0][0][~running].any()
    for grad in found[0][1][: len(clean)]:
        assert not grad[~running].any() and grad[running].any()


@both_ways
@every_cell
def test_each_row_is_what_it_is_alone(name: str, bidirectional: bool):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    given, hx = sequences(layer, 7, 5), random_states(layer, 5)
    output, after = run(layer, given, hx, lengths=torch.tensor(LENGTHS))
    for row, length in enumerate(LENGTHS):
        alone = slice(row, row + 1)
        own, own_after = run(layer, at(given, slice(length), alone), rows_of(hx, alone))
        close(output[:length, alone], own)
        close(rows_of(after, alone), own_after)
        if length == 0:
            close(rows_of(after, alone), rows_of(hx, alone), table={F64: 0.0})


@pytest.mark.parametrize("batch_first", [False, True])
@every_cell
def test_padded_and_packed_agree(name: str, batch_first: bool):
    lengths = [4, 7, 1, 7]
    layer = make(name, num_layers=2, bidirectional=True, batch_first=batch_first)
    given = sequences(layer, 7, 4)
    if batch_first:
        given = {key: one.transpose(0, 1) for key, one in given.items()}
    hx = random_states(layer, 4) if not batch_first else None
    given = leaves(given)
    padded, after = run(layer, given, hx, lengths=lengths)

    def pack(one: Tensor):
        return pack_padded_sequence(one, lengths, batch_first, enforce_sorted=False)

    packed, packed_after = run(layer, {k: pack(one) for k, one in given.items()}, hx)
    close(packed.data, pack(padded).data, table=SAME)
    close(packed_after, after, table=SAME)
    wanted = [*given.values(), *layer.parameters()]
    for one, other in zip(
        gradients((pack(padded), after), wanted),
        gradients((packed, packed_after), wanted),
        strict=True,
    ):
        close(one, other)


@every_cell
def test_unbatched_is_a_batch_of_one(name: str):
    layer = make(name, num_layers=2, bidirectional=True, batch_first=True)
    given = {key: one.transpose(0, 1) for key, one in sequences(layer, 5, 1).items()}
    hx = random_states(layer, 1)

    def squeezed(states):
        if isinstance(states, Tensor):
            return states[:, 0]
        return type(states)(squeezed(one) for one in states)

    output, after = run(layer, given, hx)
    own, own_after = run(layer, {k: one[0] for k, one in given.items()}, squeezed(hx))
    close(own, output[0], table=SAME)
    close(own_after, squeezed(after), table=SAME)


@every_cell
def test_a_start_is_a_split(name: str):
    """Forwards: each episode begins at the cell's start, and nothing crosses."""
    layer = make(name)
    given, hx = leaves(sequences(layer, 7, 1)), random_states(layer, 1)
    starts = torch.zeros(7, 1, dtype=torch.bool)
    starts[3] = True
    whole, after = run(layer, given, hx, starts=starts)
    first, _ = run(layer, at(given, slice(3)), hx)
    second, last = run(layer, at(given, slice(3, None)))
    split = torch.cat([first, second])
    close(whole, split, table=SAME)
    close(after, last, table=SAME)
    wanted = [*given.values(), *layer.parameters()]
    close(gradients((whole, after), wanted), gradients((split, last), wanted))
    for grad in gradients(whole[3:], [*given.values()]):
        assert not grad[:3].any()
    for grad in gradients(whole[:3], [*given.values()]):
        assert not grad[3:].any()


@every_cell
def test_a_start_is_a_split_backwards_too(name: str):
    """Backwards the passed state enters at the last step, and an episode ends at its first."""
    layer = make(name, bidirectional=True)
    given, hx = leaves(sequences(layer, 7, 1)), random_states(layer, 1)
    starts = torch.zeros(7, 1, dtype=torch.bool)
    starts[3] = True
    whole, _ = run(layer, given, hx, starts=starts)
    first, _ = run(layer, at(given, slice(3)), hx)
    second, _ = run(layer, at(given, slice(3, None)), hx)
    size = whole.shape[-1] // 2
    fresh_first, _ = run(layer, at(given, slice(3)))
    fresh_second, _ = run(layer, at(given, slice(3, None)))
    close(whole[:3, :, :size], first[..., :size], table=SAME)
    close(whole[3:, :, :size], fresh_second[..., :size], table=SAME)
    close(whole[:3, :, size:], fresh_first[..., size:], table=SAME)
    close(whole[3:, :, size:], second[..., size:], table=SAME)
    for grad in gradients(whole[3:], [*given.values()]):
        assert not grad[:3].any()
    for grad in gradients(whole[:3], [*given.values()]):
        assert not grad[3:].any()


@every_cell
def test_a_start_at_step_0_ignores_the_passed_state(name: str):
    layer = make(name, num_layers=2)
    given = sequences(layer, 4, 3)
    starts = torch.zeros(4, 3, dtype=torch.bool)
    starts[0, 1] = True
    hx = random_states(layer, 3)
    for one in tensors(hx):
        one[:, 1] = torch.nan  # selection, not multiplication
        one.requires_grad_()
    output, after = run(layer, given, hx, starts=starts)
    close(output[:, 1:2], run(layer, at(given, slice(None), slice(1, 2)))[0])
    assert output.isfinite().all()
    for grad in gradients((output, after), tensors(hx)):
        assert not grad[:, 1].any() and grad[:, 0].any()


@both_ways
def test_starts_with_lengths_and_in_every_form(bidirectional: bool):
    """Rows of several episodes and several lengths, against each episode run alone."""
    layer = make("peak", bidirectional=bidirectional)
    given, lengths = sequences(layer, 7, 3), [7, 4, 0]
    starts = torch.zeros(7, 3, dtype=torch.bool)
    for step, row in ((0, 0), (2, 0), (3, 0), (1, 1), (5, 1), (2, 2)):  # some in the padding
        starts[step, row] = True
    output, _ = run(layer, given, lengths=lengths, starts=starts)
    episodes = {0: [(0, 2), (2, 3), (3, 7)], 1: [(0, 1), (1, 4)], 2: []}
    for row, parts in episodes.items():
        for begin, end in parts:
            own, _ = run(layer, at(given, slice(begin, end), slice(row, row + 1)))
            close(output[begin:end, row : row + 1], own)
        assert not output[lengths[row] :, row].any()
    event = given["x"]
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
def test_a_bidirectional_layer_is_two_runs(name: str):
    layer = make(name, bidirectional=True)
    given, hx = sequences(layer, 6, 2), random_states(layer, 2)
    output, after = run(layer, given, hx)
    size = output.shape[-1] // 2
    for reverse in (False, True):
        alone = one_direction(layer, 0, reverse)
        turned = {k: one.flip(0) if reverse else one for k, one in given.items()}
        place = slice(int(reverse), int(reverse) + 1)
        own_hx = hx[place] if isinstance(hx, Tensor) else tuple(one[place] for one in hx)
        own, own_after = run(alone, turned, own_hx)
        close(output.split(size, -1)[int(reverse)], own.flip(0) if reverse else own, table=SAME)
        close([one[place] for one in tensors(after)], tensors(own_after), table=SAME)


@both_ways
@every_cell
def test_stacked_layers_are_layers_by_hand(name: str, bidirectional: bool):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    given = sequences(layer, 6, 2)
    event, *further = given
    output, _ = run(layer, given)
    flow = given[event]
    for index in range(2):
        outputs = []
        for reverse in (False, True)[: layer.directions]:
            alone = one_direction(layer, index, reverse)
            feed = {event: flow, **{k: given[k] for k in further}}
            feed = {k: one.flip(0) if reverse else one for k, one in feed.items()}
            own, _ = run(alone, feed)
            outputs.append(own.flip(0) if reverse else own)
        flow = torch.cat(outputs, -1)
    close(output, flow, table=SAME)
    assert layer.output_size == output.shape[-1]


def test_a_state_whose_size_differs_by_layer_is_one_tensor_a_layer():
    layer = make("echo", num_layers=2, bidirectional=True)
    h, m = random_states(layer, 4)
    assert h.shape == (4, 4, 5)
    assert [tuple(one.shape) for one in m] == [(2, 4, 3), (2, 4, 10)]
    single = make("echo")
    _, (h, m) = run(single, sequences(single, 2, 4))
    assert m.shape == (1, 4, 3)


@pytest.mark.parametrize("name", sorted(set(CELLS) - {"heads", "leak"}))
def test_units_that_change_places_change_the_output_alike(name: str):
    layer, other = make(name), make(name)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        for weight in layer.graph.weights.values():
            path = f"layers.0_forward.{weight.path}"
            tensor = dict(layer.named_parameters())[path]
            for axis, size in enumerate(weight.shape):
                if size == "hidden":
                    tensor = tensor.index_select(axis, order)
            dict(other.named_parameters())[path].copy_(tensor)
    given, hx = sequences(layer, 6, 2), random_states(layer, 2)

    def moved(one: Tensor, size) -> Tensor:
        return one.index_select(-1, order) if size == "hidden" else one

    states = (hx,) if isinstance(hx, Tensor) else hx
    sizes = [layer.graph.states[key].size for key in layer.graph.states]
    swapped = tuple(moved(one, size) for one, size in zip(states, sizes, strict=True))
    output, _ = run(layer, given, hx)
    given = {k: moved(one, layer.graph.inputs[k].size) for k, one in given.items()}
    found, _ = run(other, given, swapped[0] if isinstance(hx, Tensor) else swapped)
    close(found, moved(output, layer.graph.output_size))
    if layer.graph.output_size == "hidden":
        assert (found - output).abs().max() > 1e-3
    assert number("hidden", layer.sizes(0)) == len(order)


@pytest.mark.parametrize("how", ["hold", "weights"])
@pytest.mark.parametrize("name", ["lstm", "lesson_lstm", "peephole_lstm", "projected"])
def test_with_f_at_1_and_i_at_0_the_memory_lasts_for_ever(name: str, how: str):
    layer = make(name)
    given, hx = sequences(layer, 300, 2), random_states(layer, 2)
    hold = {}
    if how == "hold":
        hold = {"f": 1.0, "i": 0.0}
    else:
        for gate, bias in (("f", 1e4), ("i", -1e4)):
            weights = layer.weights(gate)
            weights["x"] = (weights["x"][0], torch.full((5,), bias))
    memory = layer.trace(given["x"], hx, hold=hold)["c"]
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
    # A restart begins there too.
    starts = torch.zeros(4, 2, dtype=torch.bool)
    starts[2] = True
    close(layer(x, starts=starts)[0][2:], layer(x[2:])[0], table=SAME)


@both_ways
@every_cell
def test_no_steps_and_no_rows(name: str, bidirectional: bool):
    layer = make(name, num_layers=2, bidirectional=bidirectional)
    size = layer.output_size
    for steps, batch in ((0, 3), (4, 0), (0, 0)):
        given, hx = leaves(sequences(layer, steps, batch)), random_states(layer, batch)
        for more in ({}, {"lengths": [0] * batch}, {"starts": torch.zeros(steps, batch).bool()}):
            output, after = run(layer, given, hx, **more)
            assert output.shape == (steps, batch, size)
            if steps == 0:
                close(after, hx, table={F64: 0.0})
            gradients((output, after), [*given.values(), *layer.parameters()])


@pytest.mark.parametrize("kind", [torch.int32, torch.uint16, torch.int64, list, tuple])
def test_lengths_may_be_any_whole_numbers(kind):
    layer = make("gru")
    x = torch.randn(5, 3, 3, dtype=F64)
    expected = layer(x, lengths=torch.tensor([5, 0, 2]))[0]
    given = kind([5, 0, 2]) if isinstance(kind, type) else torch.tensor([5, 0, 2], dtype=kind)
    assert torch.equal(layer(x, lengths=given)[0], expected)
    assert torch.equal(layer(x[:, 0], lengths=3)[0][:3], layer(x[:3, 0])[0])


def test_long_sequences_with_small_length_types():
    """uint8 lengths, more steps than uint8 has numbers."""
    layer = make("elman_rnn")
    x = torch.randn(300, 2, 3, dtype=F64)
    lengths = torch.tensor([200, 3], dtype=torch.uint8)
    assert torch.equal(layer(x, lengths=lengths)[0], layer(x, lengths=[200, 3])[0])
