"""`Stepper`: a layer on a stream, one step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import memmove
from typing import Any, NoReturn

import torch
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays
from torch import Tensor
from torch.autograd.graph import increment_version

from gatewright.backends.choose import open_stream
from gatewright.backends.forked import use_present_threads
from gatewright.backends.step import starts as fresh_states
from gatewright.backends.stream import Array
from gatewright.backends.weights import collect
from gatewright.errors import ArgumentError, SizeError
from gatewright.layers.arguments import check_size
from gatewright.layers.call_inputs import check_weights, further_size
from gatewright.layers.cell_stack import CellStack
from gatewright.layers.sequences import BatchLayout
from gatewright.layers.states import join_states, split_states
from gatewright.layers.stepper_arrays import (
    as_array,
    as_choice,
    as_output,
    as_rows,
    as_tensors,
)
from gatewright.layers.stepper_precision import (
    ROUNDED,
    bounded_states,
    check_bounds,
    stream_dtype,
)

STRIDED = torch.strided
#: The event and output buffers for an event of the wrong shape.
NO_BUFFERS: Any = (None, None)


class Stepper:
    """A layer on a stream: one step at a time, on buffers that are made once.

    It computes the same as the layer in eval mode without gradients, and carries the states
    from step to step. A step allocates nothing. `layer.stepper()` makes a stepper.

    >>> import numpy as np, gatewright as gw
    >>> stepper = gw.LSTM(3, 4).stepper()
    >>> stepper.step(np.zeros(3, np.float32)).shape
    (4,)
    >>> h, c = stepper.state
    >>> h.shape
    torch.Size([1, 1, 4])

    The weights are copied when it is made; call `refresh` after they have changed. A stepper
    serves one thread and one stream at a time: make several for several.

    Attributes:
        layer: The layer that it was made from.
        batch_size: Rows of each step, B.
        dtype: float32 or float64, of events, outputs and states.
        precision: "int8" or "bfloat16" where the factors of products are rounded to it; else the
            name of the dtype.
        backend: "llvm", or "reference" where the kernels cannot run the cell.
        reason: The reason why the kernels do not run, or None.
    """

    __slots__ = (
        "_advance",
        "_arrays",
        "_bounded",
        "_bytes",
        "_event",
        "_further",
        "_kind",
        "_size",
        "_starts",
        "_stream",
        "_tensors",
        "backend",
        "batch_size",
        "dtype",
        "layer",
        "precision",
        "reason",
    )

    def __init__(
        self,
        layer: CellStack,
        batch_size: int = 1,
        *,
        dtype: torch.dtype | None = None,
        precision: str | None = None,
    ) -> None:
        check_size("batch_size", batch_size)
        if layer.bidirectional:
            raise ArgumentError(
                "the layer is bidirectional: it reads a sequence from its end too, so it cannot "
                "be streamed; use bidirectional=False, or call the layer on whole sequences"
            )
        form, graph = layer.form, layer.graph
        self.layer, self.batch_size = layer, batch_size
        if precision is None and layer.backend == "int8":
            precision = "int8"
        self.dtype = stream_dtype(precision, dtype, _dtype(layer))
        self.precision = precision or str(self.dtype).removeprefix("torch.")
        products = ROUNDED.get(precision or "", "plain")
        for name in graph.equations.inputs:
            further_size(form, name)
        sizes = [form.sizes(k) for k in range(form.num_layers)]
        use_present_threads()
        with torch.device("cpu"):
            self._stream, self.reason = open_stream(
                layer.backend, graph, sizes, batch_size, self.dtype, products=products
            )
        self._bounded = bounded_states(graph) if products == "int8" else frozenset()
        self.backend = self._stream.backend
        # Looked up once: a step reads nothing but attributes of its own.
        self._advance = self._stream.advance
        # The event and output buffers, by the shape in which the event comes.
        event, output = self._stream.inputs[graph.equations.event], self._stream.output
        arrays = {event.shape: (event, output)}
        if batch_size == 1:
            arrays[event.shape[1:]] = (event[0], output[0])
        self._kind = event.dtype
        self._arrays = arrays
        self._tensors = {shape: torch.from_numpy(out) for shape, (_, out) in arrays.items()}
        self._event, self._bytes, self._size = event.ctypes.data, event.nbytes, event.itemsize
        self._further = {name: self._stream.inputs[name] for name in graph.equations.inputs}
        self.refresh()
        self.reset()

    def step(self, x: Any, /, *, out: Any = None, **inputs: Any) -> Any:
        """Compute one step.

        Args:
            x: The event, `(B, I)`, or `(I,)` where B is 1: a numpy array, a tensor on the CPU,
                or anything else with the buffer protocol, of the stepper's dtype.
            out: An array or tensor for the output, of its shape and dtype.
            **inputs: The cell's further inputs, `(B, size)`; an input of size 1 may go without
                its last axis, and where B is 1 it may be a number.

        Returns:
            `out` if it is given. Else the output `(B, O)`, or `(O,)`: a tensor for a tensor,
            an array for anything else. It is a view of the stepper's own buffer, which the
            next step overwrites: copy what you keep.

        Raises:
            ArgumentError, SizeError: naming what was given and what was expected; the states
                are still those before the step.
        """
        # Every attribute counts here: a step of 64 units takes less than 1 us.
        kind = type(x)
        output: Any = None
        if kind is ndarray and x.dtype == self._kind:
            event, output = self._arrays.get(x.shape, NO_BUFFERS)
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
            # As `backends/storage.py`, in line: freed or shrunk storage would be read beyond
            # its end.
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
        """Copies of the states as the layer returns them: `(L, B, size)`, several as a tuple."""
        by_layer = [
            {name: torch.from_numpy(state.copy()) for name, state in states.items()}
            for states in self._stream.states()
        ]
        return join_states(self.layer.form, by_layer, self._layout())

    @state.setter
    def state(self, hx: Any) -> None:
        if hx is None:
            raise ArgumentError("the states are None; give them, or begin again with reset()")
        states = as_tensors(hx)
        first = states[0] if isinstance(states, tuple | list) and states else states
        unbatched = self.batch_size == 1 and isinstance(first, Tensor) and first.dim() == 2
        like = torch.empty(0, dtype=self.dtype, device="cpu")
        layout = self._layout(unbatched=unbatched)
        by_layer = split_states(self.layer.form, states, layout, like)
        arrays = [
            {name: value.detach().numpy() for name, value in (new or {}).items()}
            for new in by_layer
        ]
        for new in arrays:
            check_bounds(new, self._bounded)
        for buffers, new in zip(self._stream.states(), arrays, strict=True):
            for name, value in new.items():
                buffers[name][...] = value

    def reset(self, rows: Any = None) -> None:
        """Set the states to the cell's starts.

        Args:
            rows: The rows to reset, as a mask `(B,)` or as indices; all of them by default.

        Raises:
            ArgumentError: if `rows` is no such mask and names no rows.
        """
        chosen: Any = slice(None)
        if rows is not None:
            chosen = as_choice(rows, self.batch_size)
            # Most steps of an agent end no episode. Their reset takes 1.5 us instead of 13.
            if not chosen.size:
                return
        for buffers, starts in zip(self._stream.states(), self._starts, strict=True):
            for name, start in starts.items():
                buffers[name][chosen] = start[chosen]

    def save(self) -> bytes:
        """The states as bytes, in the format of safetensors; nothing is pickled."""
        return write_arrays({name: state.copy() for name, state in self._named().items()})

    def restore(self, saved: bytes) -> None:
        """Continue from the states that `save` returned.

        Raises:
            ArgumentError: if these are not saved states of such a stepper; then nothing changes.
        """
        try:
            states = read_arrays(bytes(memoryview(saved)))  # `bytes` alone would take a number
        except (SafetensorError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"these are no states that a stepper saved ({error}); give what save() returned"
            ) from None
        own = self._named()

        def shapes(arrays: Mapping[str, Array]) -> dict[str, str]:
            return {name: f"{array.dtype}{array.shape}" for name, array in arrays.items()}

        if shapes(states) != shapes(own):
            raise ArgumentError(
                f"these are the states of another stepper: {shapes(states)}; expected {shapes(own)}"
            )
        for name, array in states.items():
            check_bounds({name.split(".", 2)[2]: array}, self._bounded)
        for name, buffer in own.items():
            buffer[...] = states[name]

    def refresh(self) -> None:
        """Copy the layer's present weights; the states stay as they are.

        Terms that depend only on the weights are computed here, once.
        """
        layer, form = self.layer, self.layer.form
        stores = [layer.store(k, False) for k in range(form.num_layers)]
        for k, store in enumerate(stores):
            check_weights(store, form.sizes(k))
        with torch.no_grad(), torch.device("cpu"):
            weights = [
                {
                    path: weight.detach().to("cpu", self.dtype)
                    for path, weight in collect(form.graph, store.pairs()).items()
                }
                for store in stores
            ]
            self._stream.load(weights)
            like = torch.empty(0, dtype=self.dtype)
            starts = [
                fresh_states(form.graph, form.sizes(k), own, self.batch_size, like)
                for k, own in enumerate(weights)
            ]
            self._starts = [
                {name: start.numpy().copy() for name, start in states.items()} for states in starts
            ]

    def __repr__(self) -> str:
        why = f" ({self.reason})" if self.reason is not None else ""
        return (
            f"Stepper({self.layer!r}, batch_size={self.batch_size}, {self.precision}, "
            f"backend {self.backend}{why})"
        )

    def __reduce__(self) -> NoReturn:
        raise ArgumentError(
            "a stepper is neither copied nor pickled, since its kernels know its buffers by "
            "address; make another with layer.stepper(), and pass on state or save()"
        )

    def _take(self, x: Any) -> Any:
        """Take an event that `step` cannot copy directly; return the output in its form."""
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
        """Views of the states, by layer and name."""
        return {
            f"layers.{k}.{name}": state
            for k, states in enumerate(self._stream.states())
            for name, state in states.items()
        }

    def _layout(self, *, unbatched: bool = False) -> BatchLayout:
        return BatchLayout(1, self.batch_size, [self.batch_size], unbatched=unbatched)


def _dtype(layer: CellStack) -> torch.dtype:
    """The dtype of a layer's weights, or torch's default where there are none."""
    return next((weight.dtype for weight in layer.parameters()), torch.get_default_dtype())
