"""Devices by the names that users give them: auto, cpu, cuda, cuda:N or mps."""

from __future__ import annotations

import re
from typing import Any

import torch

from gatewright.errors import ArgumentError
from gatewright.names import did_you_mean

CPU = torch.device("cpu")
#: The names of devices; a number may follow `cuda`, as in cuda:1.
NAMES = ("auto", "cpu", "cuda", "mps")
_FORM = re.compile(r"auto|cpu(:0)?|mps(:0)?|cuda(:\d+)?")


def available() -> list[str]:
    """The devices of this machine that torch can use."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def accelerator() -> torch.device | None:
    """The GPU of this machine, the first if there are several, or None."""
    _, *others = available()
    return torch.device(others[0]) if others else None


def generator_state(device: torch.device) -> torch.Tensor | None:
    """The state of a GPU's own random generator, which dropout draws from; None for the CPU.

    The CPU's is torch's default one: `torch.get_rng_state`.
    """
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def set_generator_state(device: torch.device, state: torch.Tensor) -> None:
    """Set the random generator of a GPU to a state that `generator_state` returned."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)


def find_device(name: Any) -> torch.device | None:
    """The device of a name, or None for "auto": then it is the caller's choice.

    >>> find_device("cpu")
    device(type='cpu')

    Raises:
        ArgumentError: if no device has this name, or this machine does not have it.
    """
    text = str(name)
    if _FORM.fullmatch(text) is None:
        hint = did_you_mean(text, NAMES)
        raise ArgumentError(f"device is {text!r}; {hint}expected auto, cpu, cuda, cuda:N or mps")
    if text == "auto":
        return None
    there = available()
    text = text.replace("cpu:0", "cpu").replace("mps:0", "mps")
    # cuda is the current one, which `torch.cuda.set_device` changes.
    if text not in there and not (text == "cuda" and "cuda:0" in there):
        reason = ""
        if text.startswith("cuda") and not torch.backends.cuda.is_built():
            reason = f"; torch {torch.__version__} is built without CUDA"
        raise ArgumentError(
            f"device is {text!r}; expected one of this machine's: auto, {', '.join(there)}{reason}"
        )
    return torch.device(text)
