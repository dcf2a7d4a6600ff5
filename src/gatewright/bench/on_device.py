"""A case of the benchmarks on another device or backend, and runs that are timed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.bench.cases import Case, make_layer
from gatewright.bench.contender import Contender, of_layer


def case_on(case: Case, device: torch.device | str) -> Case:
    """Copy a case to a device."""

    def all_of(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.detach().to(device).requires_grad_(v.requires_grad) for k, v in group.items()}

    return replace(
        case,
        layer=case.layer.to(device),
        inputs=all_of(case.inputs),
        states=all_of(case.states),
        gradient=case.gradient.to(device),
        weights=all_of(case.weights),
    )


def on_backend(case: Case, backend: str) -> Contender:
    """Our layer on a backend, with the weights, the device and the number type of a case."""
    _, _, i, h = case.size
    layer = make_layer(case.name, case.layer.cell, i, h, backend)
    layer.load_state_dict(case.layer.state_dict())
    return of_layer(case, layer.to(case.gradient))


def to_the_end(run: Callable[[], Any], device: torch.device) -> Callable[[], None]:
    """A run that returns when the device has done its work."""

    def whole() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return whole
