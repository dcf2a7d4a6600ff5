"""`Stepper`: a layer, one streamed step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import memmove
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays
from torch import Tensor
from torch.autograd.graph import increment_version

from gatewright.backends.choose import open_stream
from gatewright.backends.step import starts
from gatewright.backends.stream import Array
from gatewright.backends.weights import collect
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.arguments import check_size
from gatewright.layers.call_inputs import further_size
from gatewright.layers.sequences import Layout
from gatewright.layers.states import join_states, split_states
from gatewright.layers.stepper_arrays import (
    DTYPES,
    as_array,
    as_choice,
    as_output,
    as_rows,
    as_tensors,
)
from gatewright.layers.weights.product import check_weights

if TYPE_CHECKING:
    from gatewright.layers.recurrent import Recurrent

STRIDED = torch.strided
#: For a shape that is not an event's.
NEITHER: Any = (None, None)


class Stepper:
    """A layer on a stream: a step at a time, on buffers that are made once.

    It computes what the layer computes, in eval mode and without gradients, and carries the
    states from step to step. A step allocates nothing. `layer.stepper()` makes one.

    >>> import numpy as np, gatewright as gw
    >>> stepper = gw.LSTM(3, 4).stepper()
    >>> stepper.step(np.zeros(3, np.float32)).shape
    (4,)
    >>> h, c = stepper.state
    >>> h.shape
    torch.Size([1, 1, 4])

    The weights are copied when it is made: after they changed, `refresh` takes them again.
    It works for one thread at a time; several threads or streams want a stepper each.

    Attributes:
        layer: The layer that it was made from.
        batch_size: Rows of each step, B.
        dtype: float32 or float64.
        backend: "llvm", or "reference" where the kernels cannot run the cell.
        reason: Why not the kernels, or None.
    """

    __slots__ = (
        "_advance",
        "_arrays",
        "_bytes",
        "_event",
        "_further",
        "_kind",
        "_size",
        "_start",
        "_stream",
        "_tensors",
        "backend",
        "batch_size",
        "dtype",
        "layer",
        "reason",
    )

    def __init__(
        self, layer: Recurrent, batch_size: int = 1, *, dtype: torch.dtype | None = None
    ) -> None:
        check_size("batch_size", batch_size)
        if layer.bidirectional:
            raise ArgumentError(
                "the layer is bidirectional: it reads a sequence from its end too, so it cannot "
                "be streamed; use bidirectional=False, or call the layer on whole sequences"
            )
        graph = layer.graph
        self.layer, self.batch_size = layer, batch_size
        self.dtype = dtype if dtype is not None else _dtype(layer)
        if self.dtype not in DTYPES:
            raise ArgumentError(
                f"the dtype is {self.dtype}; a stepper computes in float32 or float64: "
                "give one, as in layer.stepper(dtype=torch.float32)"
            )
        for name in graph.equations.inputs:
            further_size(layer, name)
        sizes = [layer.sizes(k) for k in range(layer.num_layers)]
        with torch.device("cpu"):
            made = open_stream(layer.backend, graph, sizes, batch_size, self.dtype)
        self._stream, self.reason = made
        self.backend = self._stream.backend
        self._advance = self._stream.advance
        # What a step needs at hand, by the shape that the event is given in.
        event, output = self._stream.inputs[graph.equations.event], self._stream.output
        forms = {event.shape: (event, output)}
        if batch_size == 1:
            forms[event.shape[1:]] = (event[0], output[0])
        self._kind = event.dtype
        self._arrays = forms
        self._tensors = {shape: torch.from_numpy(one) for shape, (_, one) in forms.items()}
        self._event, self._bytes, self._size = event.ctypes.data, event.nbytes, event.itemsize
        self._further = {name: self._stream.inputs[name] for name in graph.equations.inputs}
        self.refresh()
        self.reset()

    def step(self, x: Any, /, *, out: Any = None, **inputs: Any) -> Any:
        """One step.

        Args:
            x: The event, `(B, I)`, or `(I,)` where B is 1: a numpy array, a tensor on the CPU,
                or anything else with the buffer protocol, of the stepper's dtype.
            out: Where the output is written too, of its shape and dtype.
            **inputs: The cell's further inputs, `(B, size)`; one of size 1 may go without its
                last axis, and where B is 1 it may be a number.

        Returns:
            The output `(B, O)`, or `(O,)`: a tensor for a tensor, else an array. It is a view
            of the stepper's own buffer, which the next step overwrites: copy what you keep, or
            give `out`, which is returned then.

        Raises:
            ArgumentError, SizeError: naming what was given and what was expected; the states
                are those before the step then.
        """
        # Each look at an attribute counts here: a step of 64 units takes less than 1 us.
        kind = type(x)
        output: Any = None
        if kind is ndarray and x.dtype == self._kind:
            event, output = self._arrays.get(x.shape, NEITHER)
            if output is not None:
                event[...] = x
        elif (
            kind is Tensor
            and x.dtype is self.dtype
            and x.is_cpu
            and x.layout is STRIDED
            and x.is_contiguous()
            and not x.is_neg()
            and not x.is_nested
            # Freed or shrunk storage would be read beyond its end.
            and x.untyped_storage().nbytes() - x.storage_offset() * self._size >= self._bytes
            and (address := x.data_ptr())
        ):
            output = self._tensors.get(x.shape)
            if output is not None:
                memmove(self._event, address, self._bytes)
        if output is None:
            output = self._take(x)
        if out is not None:
            target = as_output(out, output.shape, self.dtype)
        if inputs or self._further:
            self._take_further(inputs)
        self._advance()
        if out is None:
            if kind is Tensor:  # or autograd would not notice that it has changed
                increment_version(output)
            return output
        target[...] = output
        if isinstance(out, Tensor):
            increment_version(out)
        return out

    # The states.
    @property
    def state(self) -> Any:
        """The states in the form of the layer's: `(L, B, size)`, several as a tuple. Copies."""
        parts = [
            {name: torch.from_numpy(one.copy()) for name, one in layer.items()}
            for layer in self._stream.states()
        ]
        return join_states(self.layer, parts, self._layout())

    @state.setter
    def state(self, hx: Any) -> None:
        if hx is None:
            raise ArgumentError("the states are None; give them, or begin again with reset()")
        given = as_tensors(hx)
        first = given[0] if isinstance(given, tuple | list) and given else given
        flat = self.batch_size == 1 and isinstance(first, Tensor) and first.dim() == 2
        like = torch.empty(0, dtype=self.dtype, device="cpu")
        for own, one in zip(
            self._stream.states(),
            split_states(self.layer, given, self._layout(unbatched=flat), like),
            strict=True,
        ):
            for name, value in (one or {}).items():
                own[name][...] = value.detach().numpy()

    def reset(self, rows: Any = None) -> None:
        """Begin again with the cell's starts: all rows, or those of a mask `(B,)` or of indices.

        Raises:
            ArgumentError: if `rows` is no such mask and names no rows.
        """
        which = slice(None) if rows is None else as_choice(rows, self.batch_size)
        for own, start in zip(self._stream.states(), self._start, strict=True):
            for name, value in start.items():
                own[name][which] = value[which]

    def save(self) -> bytes:
        """The states as bytes, in the format of safetensors; nothing is pickled."""
        return write_arrays({name: one.copy() for name, one in self._named().items()})

    def restore(self, saved: bytes) -> None:
        """Go on from states that `save` gave.

        Raises:
            ArgumentError: if these are not saved states of such a stepper; then nothing changes.
        """
        try:
            found = read_arrays(bytes(saved))
        except (SafetensorError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"these are no states that a stepper saved ({error}); give what save() returned"
            ) from None
        own = self._named()

        def forms(arrays: Mapping[str, Array]) -> dict[str, str]:
            return {name: f"{one.dtype}{one.shape}" for name, one in arrays.items()}

        if forms(found) != forms(own):
            raise ArgumentError(
                f"these are the states of another stepper: {forms(found)}; expected {forms(own)}"
            )
        for name, one in own.items():
            one[...] = found[name]

    def refresh(self) -> None:
        """Take the layer's weights as they are now. The states stay.

        The terms that follow from the weights alone are computed here, once.
        """
        layer, rows = self.layer, self.batch_size
        for k in range(layer.num_layers):
            check_weights(layer.store(k, False), layer.sizes(k))
        with torch.no_grad(), torch.device("cpu"):
            weights = [
                {
                    path: one.detach().to("cpu", self.dtype)
                    for path, one in collect(layer.graph, layer.pairs(k, False)).items()
                }
                for k in range(layer.num_layers)
            ]
            self._stream.load(weights)
            like = torch.empty(0, dtype=self.dtype)
            self._start = [
                {
                    name: start.numpy().copy()
                    for name, start in starts(layer.graph, layer.sizes(k), one, rows, like).items()
                }
                for k, one in enumerate(weights)
            ]

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason is not None else ""
        return (
            f"Stepper({self.layer!r}, batch_size={self.batch_size}, {self.dtype}, "
            f"backend {self.backend}{why})"
        )

    def __reduce__(self) -> NoReturn:
        raise ArgumentError(
            "a stepper is neither copied nor pickled, since its kernels know its buffers by "
            "address; make another with layer.stepper() and hand over state, or save()"
        )

    def _take(self, x: Any) -> Any:
        """Take an event that is not as a step would like it best; the output in its form."""
        name = self.layer.graph.equations.event
        array = as_array(name, x, self.dtype)
        if array.shape not in self._arrays:
            shapes = " or ".join(map(str, self._arrays))
            raise SizeError(
                f"{name} has shape {array.shape}; expected {shapes} = (batch, input size)"
            )
        event, output = self._arrays[array.shape]
        event[...] = array
        return self._tensors[array.shape] if isinstance(x, Tensor) else output

    def _take_further(self, inputs: Mapping[str, Any]) -> None:
        if inputs.keys() != self._further.keys():
            raise ArgumentError(
                f"further inputs {sorted(inputs)} were given; "
                f"{self.layer.graph.equations.name} reads {sorted(self._further)}"
            )
        for name, buffer in self._further.items():
            buffer[...] = as_rows(f"further input {name}", inputs[name], buffer.shape, self.dtype)

    def _named(self) -> dict[str, Array]:
        """The states by layer and name; views."""
        return {
            f"layers.{k}.{name}": one
            for k, layer in enumerate(self._stream.states())
            for name, one in layer.items()
        }

    def _layout(self, *, unbatched: bool = False) -> Layout:
        return Layout(1, self.batch_size, [self.batch_size], unbatched=unbatched)


def _dtype(layer: Recurrent) -> torch.dtype:
    """The dtype of a layer's weights, or torch's default where there are none."""
    return next((one.dtype for one in layer.parameters()), torch.get_default_dtype())
