"""The device that networks are trained on, or that a saved model predicts on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from gatewright.backends.choose import is_fast_on
from gatewright.devices import CPU, accelerator, available, find_device
from gatewright.errors import ArgumentError
from gatewright.training.model import Model

#: The precisions of a training's products.
PRECISIONS = ("float32", "bfloat16", "float16")


def check_training_precision(precision: str) -> None:
    """Refuse a precision that trainings do not have.

    Raises:
        ArgumentError: if there is none of this name.
    """
    if precision not in PRECISIONS:
        raise ArgumentError(
            f"precision is {precision!r}; expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"
        )


def choose_device(name: Any, models: Iterable[Model]) -> tuple[torch.device, str]:
    """The device of a name, and a sentence about the choice; "" where there is none.

    "auto" is a GPU where there is one, and torch has fused functions for all recurrent layers or
    ours are proven to be fast: other cells run step by step there, which kernels on the CPU outrun.

    Raises:
        ArgumentError: if no device has this name, or this machine does not have it.
    """
    device = find_device(name)
    if device is not None:
        return device, ""
    gpu = accelerator()
    if gpu is None:
        return CPU, ""
    slow = {
        layer.graph.equations.name
        for model in models
        if (layer := model.recurrent) is not None and not is_fast_on(layer.graph, gpu)
    }
    if slow:
        cells = " and ".join(sorted(slow))
        hint = "; gatewright doctor --gpu proves kernels for it" if gpu.type == "cuda" else ""
        return CPU, f"device: cpu, since {cells} would run step by step on {gpu}{hint}"
    others = [other for other in available() if other not in ("cpu", str(gpu))]
    more = f"; there are also {', '.join(others)}" if others else ""
    return gpu, f"device: {gpu}{more}"
