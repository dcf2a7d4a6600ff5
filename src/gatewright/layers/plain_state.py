"""A module's weights as plain tensors under the names of files, and which of them are frozen."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from gatewright.layers.cell_stack import CellStack
from gatewright.layers.weights.stored_names import to_file_names
from gatewright.layers.weights.torch import HELD, TorchWeights


def plain_state(model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The state_dict with the present values of parametrized and pruned weights.

    Also the sorted names of the tensors that are not trained. A drop-in's frozen gate, which is
    part of a larger tensor, is among them under the name of its buffer.
    """
    state = dict(model.state_dict())
    frozen = {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        frozen |= {prefix + name for name in module._buffers if name.startswith(HELD)}
        for name, value, sources in _computed(module):
            names = {prefix + source for source in sources}
            parameters = names & dict(model.named_parameters()).keys()
            if parameters and parameters <= frozen:
                frozen.add(prefix + name)
            state = {key: tensor for key, tensor in state.items() if key not in names}
            state[prefix + name] = value
            frozen -= names
    return _as_in_files(model, state), sorted(_as_in_files(model, dict.fromkeys(frozen)))


def freeze_again(model: nn.Module, frozen: Collection[str]) -> None:
    """Freeze the tensors with these names of files; names of no tensor are ignored."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in _as_in_files(model, parameters).items():
        if name in frozen:
            parameter.requires_grad_(False)
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for store in _torch_stores(module):
            for gate in store.frozen_in({name.removeprefix(prefix) for name in frozen}):
                store.freeze(gate, True)


def _torch_stores(module: nn.Module) -> Iterator[TorchWeights]:
    """The weights of a drop-in layer or step cell, by place; nothing for other modules."""
    store: Any = getattr(module, "store", None)
    places = getattr(module, "places", [()])  # a step cell has one place, which needs no name
    for place in places if store is not None else ():
        weights = store(*place)
        if isinstance(weights, TorchWeights):
            yield weights


def _computed(module: nn.Module) -> Iterator[tuple[str, Tensor, set[str]]]:
    """Each tensor of a module that is computed from others: its name, its value, their names."""
    if parametrize.is_parametrized(module):
        for name, chain in module.parametrizations.items():  # type: ignore[operator, union-attr]
            inside = f"parametrizations.{name}."
            yield name, _in_eval(module, name, chain), {inside + key for key in chain.state_dict()}
    # What torch.nn.utils.prune leaves behind: the weight under another name, and a mask.
    for name in [key.removesuffix("_orig") for key in module._parameters if key.endswith("_orig")]:
        original, mask = module._parameters[f"{name}_orig"], module._buffers.get(f"{name}_mask")
        if original is not None and mask is not None:
            yield name, original * mask, {f"{name}_orig", f"{name}_mask"}


def _in_eval(module: nn.Module, name: str, chain: nn.Module) -> Tensor:
    """A parametrized tensor in eval mode: in training, each call changes spectral_norm."""
    modes = [(part, part.training) for part in chain.modules()]
    chain.eval()
    try:
        value: Tensor = getattr(module, name)
        return value
    finally:
        for part, training in modes:
            part.training = training


def _as_in_files(model: nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """The same mapping, in which the weights of all layers have the names of files."""
    for path, layer in model.named_modules():
        if isinstance(layer, CellStack):
            to_file_names(state, f"{path}." if path else "", layer.places)
    return state
