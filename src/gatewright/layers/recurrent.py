"""`Recurrent`: any cell as a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.choose import check_backend
from gatewright.backends.conditions import why_watched
from gatewright.backends.forked import use_present_threads
from gatewright.backends.recompute import check_recompute
from gatewright.backends.run import Run
from gatewright.language.cell import Cell
from gatewright.layers.arguments import check_arguments, check_effect, check_flags, find_cell
from gatewright.layers.call_inputs import pack_call, read_weights
from gatewright.layers.call_results import unpack_results, unpack_values, without_views
from gatewright.layers.cell_stack import CellStack
from gatewright.layers.constants import freeze_constants
from gatewright.layers.explain import explained, measured
from gatewright.layers.fast_path import fast_path
from gatewright.layers.operator import call_operator, is_recorded, is_recorded_whole
from gatewright.layers.run_layers import run_layers
from gatewright.layers.stepper import Stepper
from gatewright.layers.weights.stored_names import direction


class Recurrent(CellStack):
    """A cell, run over sequences.

    >>> import torch, gatewright as gw
    >>> layer = gw.Recurrent("peephole_lstm", input_size=3, hidden_size=4, batch_first=True)
    >>> output, (h, c) = layer(torch.zeros(2, 5, 3))
    >>> output.shape, c.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    >>> layer.trace(torch.zeros(2, 5, 3))["forget"].shape
    torch.Size([2, 5, 4])

    Args:
        cell: A cell, its class, or a name from `gatewright.CELLS`.
        input_size: Values of each event, I.
        hidden_size: Units, H.
        num_layers: Layers, L; each reads the output of the one below.
        bias: Whether the products have a bias.
        batch_first: Whether padded sequences are `(B, T, I)` rather than `(T, B, I)`.
        dropout: Probability at which outputs between layers are dropped in training.
        bidirectional: Whether a second network reads the sequence in reverse; D = 2.
        backend: "auto", or the name of the backend that must run. "int8" rounds the products, and
            has no gradients.

    Weights are stored by name: `layers.<k>_<forward|reverse>.<product>.<source>.weight`.
    Those that the cell fixes (`Cell.fixed`) are frozen.

    Raises:
        ArgumentError, SizeError: where the arguments do not fit the cell or each other.
    """

    def __init__(
        self,
        cell: Cell | type[Cell] | str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        backend: str = "auto",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_arguments(input_size, hidden_size, num_layers, dropout)
        check_flags(bias=bias, batch_first=batch_first)
        self.cell = find_cell(cell)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bool(bidirectional)
        self.directions = 2 if bidirectional else 1
        self.backend = check_backend(backend)
        for layer in range(num_layers):
            self.graph.sizes.check(self.sizes(layer))
        check_effect(self.graph, self.sizes(0))
        self.make_weights(device, dtype)
        freeze_constants(self.cell, self.form, self.stores())
        self.reset_parameters()
        self.prepare()

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        starts: Any = None,
        recompute: int | None = None,
        **inputs: Any,
    ) -> tuple[Any, Any]:
        """Run the network over a batch of sequences.

        Args:
            input: `(T, B, I)`, `(B, T, I)` if `batch_first`, `(T, I)`, or a PackedSequence.
            hx: The states before the first step: one bare tensor, or a tuple in the order
                of the step, each `(L * D, B, size)`. Without it, the cell's starts.
            lengths: Steps of each row, `(B,)`, 0 allowed: padding is never read.
            starts: Boolean, shaped like the input without its last axis: true at the first
                step of an episode; no value or gradient crosses it.
            recompute: For long sequences, the number of steps k between two states that are
                kept for the backward pass, which computes everything else again, k steps at a
                time; True for the square root of T. Without gradients it has no effect.
            **inputs: The cell's further inputs, shaped like the input; an input of size 1 may
                go without its last axis.

        Returns:
            The output `(T, B, D * output size)` in the input's form, zero where a row is
            not running, and the states after each row's last step, in the form of `hx`.

        >>> import torch, gatewright as gw
        >>> layer, x = gw.LSTM(3, 4), torch.randn(1000, 2, 3)
        >>> output, _ = layer(x, recompute=32)
        >>> output.sum().backward()
        """
        check_recompute(recompute)
        if not torch.is_grad_enabled():
            recompute = None
        compiling = torch.compiler.is_compiling()
        if not compiling:
            use_present_threads()
        # One step of 64 units takes ten times as long where its call is packed and planned anew.
        if not (compiling or lengths is not None or starts is not None or inputs or recompute):
            repeated = fast_path(self).call(self, input, hx)
            if repeated is not None:
                return repeated
        if is_recorded(compiling):
            form = self.form
            if is_recorded_whole(form, input, is_random=self._is_random()):
                weights = read_weights(form, self.stores())
                options = {"lengths": lengths, "starts": starts, "inputs": inputs}
                return call_operator(form, weights, self.backend, input, hx, **options)
        if compiling and (recompute or isinstance(input, PackedSequence)):
            return _run_uncompiled(self, input, hx, lengths, starts, inputs, recompute)
        output, states = self._run_call(input, hx, lengths, starts, inputs, recompute)
        # What torch traces has no memory to be shared.
        if compiling or why_watched() is not None:
            return output, states
        arguments = input, hx, list(self.parameters())
        return without_views(output, arguments), without_views(states, arguments)

    def _run_call(
        self,
        input: Any,
        hx: Any,
        lengths: Any,
        starts: Any,
        inputs: Mapping[str, Any],
        recompute: int | None,
    ) -> tuple[Any, Any]:
        """Pack the arguments, run the layers, and unpack their results."""
        weights = read_weights(self.form, self.stores())
        call = pack_call(
            self.form, weights, input, hx, lengths=lengths, starts=starts, inputs=inputs
        )
        results = run_layers(call, self.backend, **self._randomness(), recompute=recompute)
        return unpack_results(call, results)

    def _randomness(self) -> dict[str, Any]:
        """The options of `run_layers` that decide on random numbers."""
        return {"training": self.training, "dropout": self.dropout}

    def _is_random(self) -> bool:
        """Tell if a call draws random numbers: dropout between layers, or the cell's noise."""
        drops = bool(self.dropout) and self.num_layers > 1
        return self.training and (drops or bool(self.graph.noises))

    def trace(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        hold: Mapping[str, Any] | None = None,
        grad: bool = False,
        lengths: Any = None,
        starts: Any = None,
        **inputs: Any,
    ) -> dict[str, Any]:
        """Return every named value at every step of a run.

        Args:
            hold: Named values to fix, each a number or a tensor that broadcasts to the
                value's trace: `hold={"f": 0.0}` closes the forget gate.
            grad: Whether the traces are differentiable.

        Returns:
            A mapping from name to `(T, B, size)` in the input's form, index t being the
            input's; a state's name is the state after the step. Where there are several
            layers or directions, the names are as in `"l1.reverse.f"`.
        """
        check_flags(grad=grad)
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
            call = pack_call(
                self.form,
                read_weights(self.form, self.stores()),
                input,
                hx,
                lengths=lengths,
                starts=starts,
                inputs=inputs,
                hold=hold,
            )
            results = run_layers(call, self.backend, **self._randomness(), trace=True)
            return unpack_values(call, results)

    def stepper(
        self,
        batch_size: int = 1,
        *,
        dtype: torch.dtype | None = None,
        precision: str | None = None,
    ) -> Stepper:
        """Run the layer one streamed step at a time, on buffers of its own; see `Stepper`.

        >>> import numpy as np, gatewright as gw
        >>> layer = gw.GRU(3, 8)
        >>> exact, small = layer.stepper(), layer.stepper(precision="int8")
        >>> x = np.ones(3, np.float32)
        >>> bool(np.abs(exact.step(x) - small.step(x)).max() < 0.01)
        True

        Args:
            batch_size: Rows of each step.
            dtype: float32 or float64; by default that of the weights.
            precision: "float32", "float64"; or "bfloat16", "int8": matrices and the rows that they
                multiply in it, everything else in float32 (docs/bfloat16.md, docs/int8.md). By
                default that of the dtype, or of a layer whose backend is "int8".

        Raises:
            ArgumentError: if the layer is bidirectional, or the precision or dtype is another.
            BackendError: if the layer's backend was asked for by name and cannot run its cell.
            SizeError: in int8, if a product has more than 133 143 columns.
        """
        return Stepper(self, batch_size, dtype=dtype, precision=precision)

    def explain(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        starts: Any = None,
        recompute: int | None = None,
        measure: bool = False,
        **inputs: Any,
    ) -> str:
        """Explain which backend runs these inputs, why no faster one does, the work and memory.

        The arguments are those of a call; the layer runs once.

        Args:
            measure: Whether to time forward runs and training steps too, as shares of what the
                machine can do; takes a few seconds the first time.

        Raises:
            BackendError: if `measure` is asked for elsewhere than on the CPU.
        """

        def forward(event: Any) -> Any:
            return self._run_call(event, hx, lengths, starts, inputs, recompute)[0]

        check_recompute(recompute)
        runs = self.runs(input, hx, lengths=lengths, starts=starts, **inputs)
        names = [f"l{layer}.{direction(reverse)}" for layer, reverse in self.places]
        pairs = zip(names, runs, strict=True)
        several = len(runs) > 1 and not recompute
        lines = [
            explained(name, self.backend, run, recompute, several=several) for name, run in pairs
        ]
        if measure:
            lines += measured(forward, input, list(self.parameters()), runs)
        return "\n".join(lines)

    @torch.no_grad()
    def runs(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        hold: Mapping[str, Any] | None = None,
        lengths: Any = None,
        starts: Any = None,
        **inputs: Any,
    ) -> list[Run]:
        """Return the run of each layer and direction, in the order of `places`.

        The arguments are those of `trace`; the layer runs once.
        """
        call = pack_call(
            self.form,
            read_weights(self.form, self.stores()),
            input,
            hx,
            lengths=lengths,
            starts=starts,
            inputs=inputs,
            hold=hold,
        )
        return run_layers(call, self.backend, **self._randomness(), keep_runs=True).runs


@_disable_dynamo  # torch's own: it imports the compiler when it is called, which is there then
def _run_uncompiled(layer: Recurrent, *arguments: Any) -> tuple[Any, Any]:
    """Run outside of a program that torch compiles.

    It would lose the fields of a PackedSequence, and follow a recomputation step by step.
    """
    return layer._run_call(*arguments)
