"""A second device on a CPU: it finds tensors that would meet on different devices.

Within `second_device()` tensors that are moved to "mps" stay in the CPU's memory, but are marked,
as is everything computed from them. As on a GPU, an operation on marked and other tensors raises,
and so does `numpy()` of a marked one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("mps:0")
#: Operations that may take tensors of both devices.
MIXED = {"copy_", "__set__", "_has_compatible_shallow_copy_type"}
#: torch's functions for its recurrent layers.
RECURRENT = {"rnn_tanh", "rnn_relu", "gru", "lstm"}
#: Operations that bring a tensor to a device.
MOVES = {"to", "cpu", "mps"}


def second_device() -> TorchFunctionMode:
    """The context in which there is a second device."""
    return SecondDevice()


def is_away(tensor: Tensor) -> bool:
    return bool(tensor.__dict__.get("is_away"))


def tensors_in(parts: Any) -> Iterator[Tensor]:
    if isinstance(parts, Tensor):
        yield parts
    elif isinstance(parts, dict):
        yield from tensors_in(list(parts.values()))
    elif isinstance(parts, tuple | list):
        for part in parts:
            yield from tensors_in(part)


def goes_away(device: Any, before: bool) -> bool:
    return before if device is None else torch.device(device).type == DEVICE.type


class SecondDevice(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensors = list(tensors_in((args, kwargs)))
        away = any(map(is_away, tensors))
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return DEVICE if away else func(*args, **kwargs)
        if name in MOVES and tensors:
            return self.move(func, name, args, kwargs)
        if name == "numpy" and away:
            raise TypeError("can't convert a tensor of the second device to numpy")
        if name not in MIXED and away:
            # A number may be on the CPU, and so may the indices of a tensor that is away.
            own = tensors[:1] if name in ("__getitem__", "__setitem__") else tensors
            if name in RECURRENT:  # the sizes of a packed batch are on the CPU
                own = [tensor for tensor in tensors if tensor.is_floating_point()]
            if not all(is_away(tensor) or tensor.dim() == 0 for tensor in own):
                raise RuntimeError(f"{name} has tensors on both devices")
        if "device" in kwargs:
            away = goes_away(kwargs["device"], away)
            kwargs["device"] = "cpu"
        result = func(*args, **kwargs)
        if any(result is tensor for tensor in tensors) and is_away(result) != away:
            result = result.clone()  # `torch.as_tensor` of a tensor of the other device
        if name == "__set__" and len(tensors) == 2:  # of `parameter.data`
            tensors[0].__dict__["is_away"] = is_away(tensors[1])
        elif name not in ("copy_", "__set__"):
            for tensor in tensors_in(result):
                tensor.__dict__["is_away"] = away
        return result

    def move(self, func: Any, name: str, args: Any, kwargs: Any) -> Tensor:
        """Move a tensor, to a device, a type or both."""
        tensor, *rest = args
        before = is_away(tensor)
        places = [
            part for part in (*rest, *kwargs.values()) if isinstance(part, str | torch.device)
        ]
        like = [part for part in rest if isinstance(part, Tensor)]
        target = {"cpu": "cpu", "mps": "mps"}.get(name, places[0] if places else None)
        after = is_away(like[0]) if like else goes_away(target, before)
        dtypes = [part for part in (*rest, *kwargs.values()) if isinstance(part, torch.dtype)]
        dtype = dtypes[0] if dtypes else like[0].dtype if like else tensor.dtype
        if after == before and dtype == tensor.dtype:
            return tensor
        result = tensor.to(dtype, copy=True)
        result.__dict__["is_away"] = after
        return result
