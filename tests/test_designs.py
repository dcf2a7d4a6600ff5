"""Networks around a cell: padding is never read, each part is what it says, models come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.designs import DESIGNS, Design, SequenceNetwork
from gatewright.designs.preparation import in_segments, scaled_by_itself, with_differences
from gatewright.designs.readout import Attention, Readout
from gatewright.errors import ArgumentError, ModelError

LENGTHS = torch.tensor([9, 4, 1, 7])
EVERY_PART = Design(
    differences=True,
    scaling="sequence",
    front="convolution",
    segment=2,
    layers=2,
    bidirectional=True,
    readout=("last", "mean", "max", "attention"),
    dropout=0.1,
)
EVERY_DESIGN = {**DESIGNS, "every part": EVERY_PART, "segments": Design(segment=3)}


def sequences(seed: int = 0) -> Tensor:
    """(9, 4, 3), of which `LENGTHS` are valid."""
    return torch.randn(9, 4, 3, generator=torch.Generator().manual_seed(seed))


def network_of(design: Design, cell: Any = "gru") -> SequenceNetwork:
    torch.manual_seed(0)
    network = SequenceNetwork(cell, 3, 5, design)
    network(sequences(1), LENGTHS)  # the norms have seen a batch
    return network.eval()


@pytest.mark.parametrize("design", EVERY_DESIGN.values(), ids=EVERY_DESIGN)
def test_padding_is_never_read(design: Design):
    network, x = network_of(design), sequences()
    spoilt = x.clone()
    for row, length in enumerate(LENGTHS):
        spoilt[length:, row] = torch.nan
    torch.testing.assert_close(network(spoilt, LENGTHS), network(x, LENGTHS), rtol=0, atol=0)


@pytest.mark.parametrize("design", EVERY_DESIGN.values(), ids=EVERY_DESIGN)
def test_a_sequence_is_read_as_if_it_were_alone(design: Design):
    network, x = network_of(design), sequences()
    together = network(x, LENGTHS)
    for row, length in enumerate(LENGTHS):
        single = network(x[:length, row : row + 1])
        torch.testing.assert_close(single[0], together[row])


@pytest.mark.parametrize("design", EVERY_DESIGN.values(), ids=EVERY_DESIGN)
def test_gradients_reach_every_weight_and_stay_finite(design: Design):
    network, x = network_of(design).train(), sequences()
    spoilt = x.clone()
    for row, length in enumerate(LENGTHS):
        spoilt[length:, row] = torch.nan
    network(spoilt, LENGTHS).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


@pytest.mark.parametrize("design", EVERY_DESIGN.values(), ids=EVERY_DESIGN)
@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm"])
def test_a_saved_network_comes_back(design: Design, cell: str, tmp_path: Path):
    network = network_of(design, cell)
    gw.save(network, tmp_path / "network")
    loaded = gw.load(tmp_path / "network")
    assert loaded.design == design
    torch.testing.assert_close(
        loaded.eval()(sequences(), LENGTHS), network(sequences(), LENGTHS), rtol=0, atol=0
    )


def test_a_plain_network_is_its_layer_read_at_the_last_step():
    network, x = network_of(Design()), sequences()
    output, _ = network.recurrent(x, lengths=LENGTHS)
    expected = torch.stack([output[length - 1, row] for row, length in enumerate(LENGTHS)])
    torch.testing.assert_close(network(x, LENGTHS), expected)


def test_both_directions_end_at_both_ends():
    network, x = network_of(Design(bidirectional=True)), sequences()
    _, state = network.recurrent(x, lengths=LENGTHS)
    torch.testing.assert_close(network(x, LENGTHS), torch.cat([state[0], state[1]], -1))


def test_differences_are_changes_since_the_step_before():
    x = torch.tensor([1.0, 4.0, 2.0]).view(3, 1, 1)
    assert with_differences(x, torch.tensor([3]))[..., 1].flatten().tolist() == [0.0, 3.0, -2.0]


def test_a_scaled_sequence_has_mean_zero_and_spread_one():
    x = sequences()
    scaled = scaled_by_itself(5.0 + 3.0 * x, LENGTHS)
    for row, length in enumerate(LENGTHS):
        own = scaled[:length, row]
        torch.testing.assert_close(own.mean(0), torch.zeros(3), rtol=0, atol=1e-5)
        if length > 1:
            torch.testing.assert_close(own.std(0, correction=0), torch.ones(3))


def test_the_last_segment_ends_at_the_last_step():
    x = torch.arange(1.0, 6.0).view(5, 1, 1).repeat(1, 2, 1)
    segments, counts = in_segments(x, torch.tensor([5, 3]), 2)
    assert counts.tolist() == [3, 2]
    assert segments[:, 0].tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert segments[:, 1].tolist() == [[0.0, 1.0], [2.0, 3.0], [0.0, 0.0]]


def test_attention_is_a_weighted_mean():
    attention, x = Attention(3), sequences()
    weights = attention.weights(x, LENGTHS)
    torch.testing.assert_close(weights.sum(0), torch.ones(4, 1))
    assert (weights[LENGTHS[1] :, 1] == 0).all()
    torch.testing.assert_close(attention(x, LENGTHS), (weights * x).sum(0))


def test_a_sequence_without_steps_reads_as_zero():
    readout = Readout(("last", "mean", "max", "attention"), 3)
    assert not readout(sequences(), torch.tensor([0, 4, 1, 0]))[[0, 3]].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"readout": ("middle",)}, "expected some of last, mean, max, share, attention"),
        ({"readout": ()}, "expected some of"),
        ({"readout": ("last", "last")}, "expected each summary once"),
        ({"front": "transformer"}, "expected none or convolution"),
        ({"scaling": "window"}, "expected none or sequence"),
        ({"layers": 0}, "expected a whole number from 1"),
        ({"segment": 1.5}, "expected a whole number from 1"),
        ({"dropout": 1.0}, "expected a number from 0 to below 1"),
    ],
)
def test_a_design_that_cannot_be_is_refused(fields: dict[str, Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        Design(**fields)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ArgumentError, match="did you mean convolutional"):
        SequenceNetwork("gru", 3, 4, "convolution")


def test_a_damaged_design_is_refused():
    config = SequenceNetwork("gru", 3, 4).to_config()
    config["design"]["layers"] = 0
    with pytest.raises(ModelError, match="layers is 0"):
        SequenceNetwork.from_config(config)
    config["design"]["layers"] = 2
    with pytest.raises(ModelError, match=r"is not the layer that network\.design asks for"):
        SequenceNetwork.from_config(config)
