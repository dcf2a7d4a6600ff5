"""The form of a stored training state, which is checked before anything is taken from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gatewright.errors import ModelError
from gatewright.layers.weights.file import TensorShape, disagreement
from gatewright.schema import mismatch, shown, typed_fields
from gatewright.training.history import History

#: The fields of `LoopState.state_dict`. A tensor's form depends on the network.
FIELDS: dict[str, Any] = {
    "model": dict[str, Any],
    "best_model": dict[str, Any],
    "best_loss": float | None,
    "optimizer": dict[str, dict[str, Any]],
    "groups": list[dict[str, Any]],
    "schedule": dict[str, Any],
    "scaler": dict[str, Any],
    "generators": dict[str, Any],
    "batches": int,
    "loss_sum": float,
    "items": float,
    "carried": Any,
    "history": dict[str, Any],
    "step_seconds": Any,
    "wall_seconds": float,
}


def checked_state(stored: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """Check a stored state against a fresh one of the same network; returns the stored one.

    Raises:
        ModelError: with the first field that does not fit.
    """
    state = typed_fields(stored, FIELDS, "state")
    for name in ("model", "best_model", "generators"):
        _check_tensors(state[name], own[name], f"state.{name}")
    if list(state["groups"][0]) != list(own["groups"][0]) or len(state["groups"]) != 1:
        raise ModelError("state.groups are not those of the optimizer")
    if set(state["schedule"]) != set(own["schedule"]):
        raise ModelError("state.schedule is not that of the learning rate")
    _check_moments(state["optimizer"], state["groups"][0]["params"], own)
    if not isinstance(state["step_seconds"], Tensor) or state["step_seconds"].dim() != 1:
        raise mismatch("state.step_seconds", state["step_seconds"], "a tensor of one axis")
    check_history(state["history"], "state.history")
    _check_carried(state["carried"])
    return state


def check_history(stored: Any, path: str) -> None:
    """Check the fields of `History.to_json`.

    Raises:
        ModelError: for a field that is missing, unknown or of another type.
    """
    hints, optional = History.stored_fields()
    typed_fields(stored, hints, path, optional=optional)


def _check_tensors(stored: Mapping[str, Any], own: Mapping[str, Tensor], path: str) -> None:
    for name, value in stored.items():
        if not isinstance(value, Tensor):
            raise mismatch(f"{path}.{name}", value, "a tensor")
    shapes = {name: TensorShape.of(tensor) for name, tensor in stored.items()}
    difference = disagreement(shapes, {name: TensorShape.of(own[name]) for name in own})
    if difference is not None:
        raise ModelError(f"{path} has {difference}")


def _check_moments(stored: Mapping[str, Any], indices: Any, own: Mapping[str, Any]) -> None:
    """Check the optimizer's numbers: each has the shape of some weight, or is a single number."""
    if indices != own["groups"][0]["params"]:
        raise mismatch("state.groups[0].params", indices, "the network's parameters")
    shapes = {(), *(tuple(weight.shape) for weight in own["model"].values())}
    for index, values in stored.items():
        if not index.isdigit() or int(index) >= len(indices):
            raise ModelError(f"state.optimizer has {shown(index)}; expected a parameter's number")
        for name, value in values.items():
            if not isinstance(value, Tensor) or tuple(value.shape) not in shapes:
                raise mismatch(
                    f"state.optimizer.{index}.{name}", value, "a tensor of a weight's shape"
                )


def _check_carried(stored: Any) -> None:
    """Check a network's state: nothing, a tensor, or a list of such."""
    if isinstance(stored, list | tuple):
        for value in stored:
            _check_carried(value)
    elif stored is not None and not isinstance(stored, Tensor):
        raise mismatch("state.carried", stored, "a network's state")
