"""`gw.convert` of torch modules: the same numbers, gradients and state_dict, everywhere in them."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import pack_padded_sequence

import gatewright as gw
from gatewright.errors import ArgumentError
from tolerances import close, gradients

#: Constructors of torch's layers, each with its options; all have distinct sizes.
LAYERS = {
    "rnn": lambda: nn.RNN(3, 5),
    "relu": lambda: nn.RNN(3, 5, 2, "relu", bias=False, batch_first=True),
    "lstm": lambda: nn.LSTM(3, 5, num_layers=2, dropout=0.5, bidirectional=True),
    "projected": lambda: nn.LSTM(3, 5, 2, proj_size=2, batch_first=True, dtype=torch.float64),
    "gru": lambda: nn.GRU(3, 5, num_layers=3, bias=False, bidirectional=True),
}
CELLS = {
    "rnn cell": lambda: nn.RNNCell(3, 5, nonlinearity="relu"),
    "lstm cell": lambda: nn.LSTMCell(3, 5, bias=False),
    "gru cell": lambda: nn.GRUCell(3, 5),
}


class Tagger(nn.Module):
    """A network with recurrent layers in a list, shared, tied, and behind a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.ModuleList([nn.LSTM(3, 4), nn.GRU(4, 4)])
        self.again = self.front[0]
        self.tied = nn.LSTM(4, 4)
        self.tied.weight_hh_l0 = self.front[0].weight_hh_l0
        self.head = nn.Linear(4, 2)
        self.plain = [self.tied]  # not registered, but used in forward

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.front:
            x, _ = layer(x)
        return self.head(self.plain[0](x)[0])


def events(layer: nn.Module, steps: int = 6) -> Tensor:
    dtype = next(layer.parameters()).dtype
    return torch.randn(4, steps, 3, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("name", LAYERS)
def test_a_bare_layer_has_the_same_numbers_and_gradients(name: str):
    theirs = LAYERS[name]().eval()
    ours = gw.convert(theirs)
    assert type(ours) is getattr(gw, type(theirs).__name__) and not ours.training
    for option in ("num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"):
        assert getattr(ours, option) == getattr(theirs, option), option
    x = events(theirs)
    expected, actual = theirs(x), ours(x)
    close(actual, expected, name)
    own = gradients(actual, list(ours.parameters()))
    close(own, gradients(expected, list(theirs.parameters())), name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("name", CELLS)
def test_a_step_cell_has_the_same_numbers(name: str):
    theirs = CELLS[name]()
    ours = gw.convert(theirs)
    x = torch.randn(2, 3)
    close(ours(x), theirs(x), name)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_packed_sequences_are_taken():
    theirs = nn.GRU(3, 5, bidirectional=True)
    packed = pack_padded_sequence(events(theirs), [4, 3, 4, 1, 2, 3], enforce_sorted=False)
    close(gw.convert(theirs)(packed), theirs(packed), "packed")


@pytest.mark.parametrize("inplace", [False, True])
def test_a_module_is_converted_everywhere_and_stays_what_it_was(inplace: bool):
    torch.manual_seed(0)
    model = Tagger()
    x = torch.randn(5, 2, 3)
    expected = model(x)
    grads = gradients(expected, list(model.parameters()))
    names, before = list(model.state_dict()), list(model.modules())
    random = torch.get_rng_state()
    converted = gw.convert(model, inplace=inplace)
    assert torch.equal(torch.get_rng_state(), random)
    assert (converted is model) == inplace
    assert (list(model.modules()) == before) != inplace
    kinds = [type(module) for module in converted.modules() if type(module).__module__ != "torch"]
    assert kinds.count(gw.LSTM) == 2 and kinds.count(gw.GRU) == 1
    assert converted.again is converted.front[0]  # shared layers and parameters stay shared
    assert converted.tied.weight_hh_l0 is converted.front[0].weight_hh_l0
    assert list(converted.state_dict()) == names
    actual = converted(x)
    close(actual, expected, "values")
    close(gradients(actual, list(converted.parameters())), grads, "gradients")
    if inplace:  # the parameters of an optimizer that was made before
        assert {*map(id, converted.parameters())} == {id(p) for m in before for p in m.parameters()}
        return
    # A copy leads to its own layers everywhere, and shares no memory.
    assert converted.plain[0] is converted.tied
    with torch.no_grad():
        for parameter in converted.parameters():
            parameter.zero_()
    close(model(x), expected, "the model that was converted")


def test_what_was_attached_to_a_layer_goes_with_it():
    model = nn.Sequential(nn.LSTM(3, 4))
    layer, calls = model[0], []
    layer.weight_hh_l0.requires_grad_(False)
    layer.register_buffer("seen", torch.tensor(7.0))
    layer.scale = nn.Linear(1, 1)
    layer.tag = ["x"]
    layer.register_forward_hook(lambda module, *_: calls.append(module))
    layer.register_state_dict_pre_hook(lambda module, *_: calls.append("saved"))
    model.eval()
    ours = gw.convert(model)[0]
    assert not ours.training and not ours.weight_hh_l0.requires_grad and ours.seen == 7
    assert ours.tag == ["x"] and ours.tag is not layer.tag
    assert ours.scale is not layer.scale
    assert list(ours.state_dict()) == list(layer.state_dict())
    calls.clear()
    ours(torch.zeros(2, 1, 3))
    assert calls == [ours]
    ours.freeze("f")  # our own hooks stay too: they write frozen gates into the state_dict
    ours.weights("f")["x"] = (torch.ones(4, 3), None)
    assert ours.state_dict()["weight_ih_l0"][4:8].eq(1).all() and calls[1:] == ["saved"]


class Counting(nn.Module):
    """A module whose layer has a hook that leads back to the module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.calls = nn.GRU(3, 3), nn.GRU(3, 3), 0
        self.first.register_forward_hook(self.count)

    def count(self, *_: Any) -> None:
        self.calls += 1
        assert isinstance(self.second, gw.GRU)


def test_hooks_lead_into_the_copy():
    model = Counting()
    converted = gw.convert(model)
    converted.first(torch.zeros(2, 1, 3))
    assert (converted.calls, model.calls) == (1, 0)


def test_parametrizations_and_pruning_are_kept():
    layer = nn.LSTM(3, 4)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    prune.l1_unstructured(layer, "weight_ih_l0", 0.5)
    model = nn.Sequential(layer)
    x = torch.randn(5, 2, 3)
    expected = layer(x)
    grads = gradients(expected, list(model.parameters()))
    converted = gw.convert(model)
    ours = converted[0]
    assert isinstance(ours, gw.LSTM) and parametrize.is_parametrized(ours, "weight_hh_l0")
    assert list(converted.state_dict()) == list(model.state_dict())
    actual = ours(x)
    close(actual, expected, "values")
    close(gradients(actual, list(converted.parameters())), grads, "gradients")
    prune.remove(ours, "weight_ih_l0")  # torch copies no pruned layer that has been called
    close(copy.deepcopy(converted)[0](x), expected, "a copy of it")


def test_converting_again_changes_nothing():
    once = gw.convert(nn.Sequential(nn.GRU(3, 4)))
    assert repr(gw.convert(once)) == repr(once)


class Own(nn.LSTM):
    """A class that changes torch's layer."""


def monkeypatched() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer.forward = lambda x: x  # type: ignore[method-assign,assignment]
    return nn.Sequential(layer)


def uncopied() -> nn.Module:
    model = nn.Sequential(nn.GRU(3, 4))
    model.computed = model[0].weight_ih_l0 * 2  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(3, 4), "the Linear holds no nn.RNN, nn.LSTM or nn.GRU"),
        (lambda: nn.Sequential(Own(3, 4)), "0 is a Own, a class derived from torch's"),
        (monkeypatched, "0 has an attribute forward of its own"),
        (uncopied, "the Sequential cannot be copied: .*; give inplace=True"),
        (lambda: [nn.LSTM(3, 4)], "a list cannot be converted; expected a torch.nn.Module"),
    ],
    ids=["nothing", "derived", "patched", "no copy", "no module"],
)
def test_refusals_name_the_layer_and_the_way_out(make: Any, message: str):
    with pytest.raises(ArgumentError, match=message):
        gw.convert(make())


def test_a_module_that_cannot_be_copied_is_converted_in_place():
    model = gw.convert(uncopied(), inplace=True)
    assert isinstance(model[0], gw.GRU)


def test_a_program_of_torchscript_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit itself
        scripted = torch.jit.script(nn.Sequential(nn.GRU(3, 4)))
    with pytest.raises(ArgumentError, match="a program of TorchScript"):
        gw.convert(scripted)
