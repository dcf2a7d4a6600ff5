"""The recurrent layers in a module of torch as ours, with the same parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, jit, nn
from torch.nn.utils import parametrize

from gatewright.errors import ArgumentError
from gatewright.layers import torch_cells, torch_layers
from gatewright.layers.cell_module import CellModule

_STEP = ("input_size", "hidden_size", "bias")
_LAYER = (*_STEP, "num_layers", "batch_first", "bidirectional")
#: By torch's class: ours, and the attributes that are arguments of both constructors.
DROP_INS: Mapping[type[nn.Module], tuple[type[CellModule], tuple[str, ...]]] = MappingProxyType(
    {
        nn.RNN: (torch_layers.RNN, (*_LAYER, "nonlinearity")),
        nn.LSTM: (torch_layers.LSTM, (*_LAYER, "proj_size")),
        nn.GRU: (torch_layers.GRU, _LAYER),
        nn.RNNCell: (torch_cells.RNNCell, (*_STEP, "nonlinearity")),
        nn.LSTMCell: (torch_cells.LSTMCell, _STEP),
        nn.GRUCell: (torch_cells.GRUCell, _STEP),
    }
)
#: Attributes that every module has: parameters, buffers, hooks, the mode.
_OF_MODULES = vars(nn.Module()).keys()


def convert_module(model: nn.Module, *, inplace: bool) -> nn.Module:
    """A module whose recurrent layers are ours; see `convert`."""
    theirs = {name: layer for name, layer in model.named_modules() if _is_theirs(name, layer)}
    if not theirs and not any(isinstance(module, CellModule) for module in model.modules()):
        raise ArgumentError(
            f"the {type(model).__name__} holds no nn.RNN, nn.LSTM or nn.GRU, and none of their "
            "step cells; there is nothing to convert"
        )
    twins = {id(layer): _twin(name, layer) for name, layer in theirs.items()}
    converted = _exchanged(model, twins) if inplace else _copied(model, twins)
    for layer in theirs.values():
        _parametrize(twins[id(layer)], layer)
    return converted


def _is_theirs(name: str, module: nn.Module) -> bool:
    """Tell if a module is a recurrent layer of torch; refuse what only derives from one."""
    kind = parametrize.type_before_parametrizations(module)
    title = f"{name or 'the module'} is a {kind.__name__}"
    if isinstance(module, jit.ScriptModule):
        raise ArgumentError(
            f"{title}, a program of TorchScript, whose layers cannot be exchanged; convert the "
            "module that it was made from"
        )
    if isinstance(module, nn.RNNBase | nn.RNNCellBase) and kind not in DROP_INS:
        raise ArgumentError(
            f"{title}, a class derived from torch's, which may compute something else; use torch's "
            "own class there, or convert the other parts by themselves: "
            "model.part = gw.convert(model.part)"
        )
    return kind in DROP_INS


def _twin(name: str, layer: nn.Module) -> CellModule:
    """Our layer with the parameters, buffers, hooks and further attributes of one of torch's."""
    kind = parametrize.type_before_parametrizations(layer)
    cls, arguments = DROP_INS[kind]
    # On the meta device no memory is filled, and torch's generator draws nothing.
    options: dict[str, Any] = {argument: getattr(layer, argument) for argument in arguments}
    twin = cls(**options, device="meta")
    attributes = vars(layer)
    further = attributes.keys() - _OF_MODULES - vars(kind(1, 1, device="meta")).keys()
    taken = further & {*dir(cls), *vars(twin)}
    if taken:
        raise ArgumentError(
            f"{name or 'the module'} has an attribute {min(taken)} of its own, a name that "
            f"gatewright's {cls.__name__} uses; delete it, or give it another name"
        )
    state = vars(twin)
    # A single layer with dropout makes both constructors warn, and the user has been warned.
    state |= {key: attributes[key] for key in ("dropout",) if key in attributes}
    for key in _OF_MODULES & attributes.keys():
        value = attributes[key]
        # Our layers have hooks of their own, which stay.
        merge = isinstance(value, dict) and key != "_parameters"
        state[key] = type(value)({**state[key], **value}) if merge else copy.copy(value)
    for key in further:
        value = attributes[key]
        # What a hook computes before each call, such as a pruned matrix, depends on parameters.
        state[key] = value.detach().clone() if isinstance(value, Tensor) else value
    return twin


def _exchanged(model: nn.Module, twins: Mapping[int, CellModule]) -> nn.Module:
    """The module itself, with its recurrent layers exchanged."""
    for module in list(model.modules()):
        for name, child in module._modules.items():
            module._modules[name] = twins.get(id(child), child)
    return twins.get(id(model), model)


def _copied(model: nn.Module, twins: Mapping[int, CellModule]) -> nn.Module:
    """A deep copy, in which every reference to a recurrent layer leads to its twin."""
    memo: dict[int, Any] = dict(twins)
    try:
        converted: nn.Module = copy.deepcopy(model, memo)
        # With the same memo, what the layers share with the rest stays shared.
        for twin in twins.values():
            twin.__setstate__(copy.deepcopy(twin.__getstate__(), memo))
    except Exception as error:  # whatever the user's attributes raise
        raise ArgumentError(
            f"the {type(model).__name__} cannot be copied: {type(error).__name__}: {error}; "
            "give inplace=True, which changes the module itself"
        ) from error
    return converted


def _parametrize(twin: CellModule, layer: nn.Module) -> None:
    """Let the twin read its weights through the parametrizations that it took over."""
    if parametrize.is_parametrized(layer):
        # What `register_parametrization` does after it has moved the parameters.
        parametrize._inject_new_class(twin)
        for name in layer.parametrizations:  # type: ignore[union-attr]
            parametrize._inject_property(twin, name)
