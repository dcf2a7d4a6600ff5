"""`Recurrent`: any cell as a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.choose import check_backend, run_on
from gatewright.backends.conditions import why_watched
from gatewright.backends.run import Run
from gatewright.backends.step import starts as fresh_states
from gatewright.backends.weights import Pairs
from gatewright.errors import ArgumentError
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell
from gatewright.layers.arguments import (
    check_arguments,
    check_effect,
    check_export,
    check_flags,
    find_cell,
)
from gatewright.layers.call_inputs import (
    Arguments,
    as_weights,
    draw_noises,
    pack_event,
    pack_further,
    pack_held,
)
from gatewright.layers.cell_module import CellModule
from gatewright.layers.constants import freeze_constants, write_constants
from gatewright.layers.explain import explained, measured
from gatewright.layers.fast_path import fast_path
from gatewright.layers.sequences import Layout
from gatewright.layers.states import join_states, split_states, without_views
from gatewright.layers.stepper import Stepper
from gatewright.layers.weights.named import NamedWeights
from gatewright.layers.weights.product import (
    ProductWeights,
    Store,
    check_product,
    check_weights,
    product_weights,
)
from gatewright.layers.weights.stored_names import direction, module_names, place_name


class Recurrent(CellModule):
    """A cell, run over sequences.

    >>> import torch, gatewright as gw
    >>> layer = gw.Recurrent("peephole_lstm", input_size=3, hidden_size=4, batch_first=True)
    >>> output, (h, c) = layer(torch.zeros(2, 5, 3))
    >>> output.shape, c.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    >>> layer.trace(torch.zeros(2, 5, 3))["forget"].shape
    torch.Size([2, 5, 4])

    Args:
        cell: A cell, its class, or the name of one that ships (`gatewright.CELLS`).
        input_size: Values of each event, I.
        hidden_size: Units, H.
        num_layers: Layers, L; each reads the output of the one below.
        bias: Whether the products have a bias.
        batch_first: Whether padded sequences are `(B, T, I)` rather than `(T, B, I)`.
        dropout: Probability at which outputs between layers are dropped in training.
        bidirectional: Whether a second network reads the sequence backwards; D = 2.
        backend: "auto", or the name of one that must run.

    Weights are kept by name: `layers.<k>_<forward|reverse>.<product>.<source>.weight`. Those that
    the cell fixes (`Cell.fixed`) are frozen.

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
        self.backend = check_backend(backend)
        #: D: 2 where the layer reads both ways, else 1.
        self.directions = 2 if bidirectional else 1
        ways = (False, True)[: self.directions]
        #: (layer, reverse) of each of the L * D networks, in the order of the states.
        self.places = [(layer, reverse) for layer in range(num_layers) for reverse in ways]
        for layer in range(num_layers):
            self.graph.sizes.check(self.sizes(layer))
        check_effect(self.graph, self.sizes(0))
        self.make_weights(device, dtype)
        freeze_constants(self)
        self.reset_parameters()
        self.prepare()

    # What the layer is.
    def sizes(self, layer: int) -> dict[str, int]:
        """The numbers for "input" and "hidden" at a layer."""
        sizes = {"input": self.input_size, "hidden": self.hidden_size}
        for _ in range(layer):
            below = self.directions * number(self.graph.output.size, sizes)
            if below == sizes["input"]:  # and so for all further layers
                break
            sizes["input"] = below
        return sizes

    @property
    def output_size(self) -> int:
        """Values of each output step: directions times the cell's output size."""
        last = self.sizes(self.num_layers - 1)
        return self.directions * number(self.graph.output.size, last)

    # The weights.
    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters; `reset_parameters` fills them."""
        # One level for layer and direction; files have two (`naming.py`).
        self.layers = nn.ModuleDict({place_name(*place): nn.Module() for place in self.places})
        self.register_load_state_dict_pre_hook(module_names)
        for layer, reverse in self.places:
            self.store(layer, reverse).make(self.sizes(layer), device, dtype)

    def store(self, layer: int, reverse: bool) -> Store:
        """Where one layer keeps the weights of one direction."""
        return NamedWeights(self.layers[place_name(layer, reverse)], self.graph.weights.values())

    def pairs(self, layer: int, reverse: bool) -> Pairs:
        """All weights of one layer in one direction, live, by product and source."""
        return self.store(layer, reverse).pairs()

    def reset_parameters(self) -> None:
        """Start the weights as torch does: uniform within 1 / sqrt(hidden size).

        What is frozen stays, and what the cell fixes (`Cell.fixed`) gets the cell's values.
        """
        for place in self.places:
            self.store(*place).reset(1.0 / math.sqrt(self.hidden_size))
        write_constants(self)

    def weights(self, name: str, layer: int = 0, reverse: bool = False) -> ProductWeights:
        """The weights of one product: a mapping from source to `(weight, bias)`.

        Detached, to read and to write: `layer.weights("f")["x"] = (W, b)`.

        Raises:
            ArgumentError: if there is no such product, layer or direction.
        """
        if not 0 <= layer < self.num_layers:
            raise ArgumentError(f"layer={layer}; the layers are 0 to {self.num_layers - 1}")
        if reverse and not self.bidirectional:
            raise ArgumentError("reverse=True; the layer is not bidirectional")
        return product_weights(self.store(layer, reverse), name, self.products)

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Hold a product's weights in all layers and directions, or let them go again.

        Matrices that a cell always has are given in its `fixed`.

        Raises:
            ArgumentError: if there is no such product.
        """
        check_product(name, self.products)
        for place in self.places:
            self.store(*place).freeze(name, frozen)

    # Running.
    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        starts: Any = None,
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
            **inputs: The cell's further inputs, shaped like the input; one of size 1 may go
                without its last axis.

        Returns:
            The output `(T, B, D * output size)` in the input's form, zero where a row is
            not running, and the states after each row's last step, in the form of `hx`.
        """
        plain = lengths is None and starts is None and not inputs
        if plain and not torch.compiler.is_compiling():
            result = fast_path(self).call(self, input, hx)
            if result is not None:
                return result
        if isinstance(input, PackedSequence) and torch.compiler.is_compiling():
            return run_packed(self, input, hx, lengths, starts, inputs)
        output, states, _ = self._run(input, hx, lengths, starts, inputs)
        if torch.compiler.is_compiling() or why_watched() is not None:
            return output, states
        lent = input, hx, list(self.parameters())
        return without_views(output, lent), without_views(states, lent)

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
        """Every named value at every step of a run.

        Args:
            hold: Named values to fix, each a number or a tensor that broadcasts to the
                value's trace: `hold={"f": 0.0}` closes the forget gate.
            grad: Whether the traces are differentiable.

        Returns:
            A mapping from name to `(T, B, size)` in the input's form, index t being the
            input's; a state's name is the state after the step. Where there are several
            layers or directions, the names are as in `"l1.reverse.f"`.
        """
        with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
            _, _, values = self._run(input, hx, lengths, starts, inputs, hold or {}, True)
        return values

    def stepper(self, batch_size: int = 1, *, dtype: torch.dtype | None = None) -> Stepper:
        """The layer one streamed step at a time, on buffers of its own; see `Stepper`.

        Args:
            batch_size: Rows of each step.
            dtype: float32 or float64; the weights' own if it is not given.

        Raises:
            ArgumentError: if the layer is bidirectional, or of another dtype.
            BackendError: if the layer's backend was asked for by name and cannot run its cell.
        """
        return Stepper(self, batch_size, dtype=dtype)

    def explain(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Any = None,
        starts: Any = None,
        measure: bool = False,
        **inputs: Any,
    ) -> str:
        """Say which backend runs these inputs, why not a faster one, and what is to be done.

        The arguments are those of a call; the layer runs once.

        Args:
            measure: Time forward runs and training steps too, and say which share they are of
                what the machine can do; a few seconds the first time.

        Raises:
            BackendError: if `measure` is asked for elsewhere than on the CPU.
        """

        def forward(given: Any = input) -> Any:
            return self._run(given, hx, lengths, starts, inputs)[0]

        tasks = self.runs(input, hx, lengths=lengths, starts=starts, **inputs)
        names = [f"l{layer}.{direction(reverse)}" for layer, reverse in self.places]
        pairs = zip(names, tasks, strict=True)
        lines = [explained(name, self.backend, task) for name, task in pairs]
        if measure:
            lines += measured(forward, input, list(self.parameters()), tasks)
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
        """What each layer is given to do in each direction, in the order of `places`.

        The arguments are those of `trace`; the layer runs once.
        """
        tasks: list[Run] = []
        self._run(input, hx, lengths, starts, inputs, hold, tasks=tasks)
        return tasks

    def _run(
        self,
        input: Any,
        hx: Any,
        lengths: Any,
        starts: Any,
        inputs: Mapping[str, Any],
        hold: Mapping[str, Any] | None = None,
        trace: bool = False,
        tasks: list[Run] | None = None,
    ) -> tuple[Any, Any, dict[str, Any]]:
        arguments = self.pack_arguments(input, hx, lengths, starts, inputs, hold)
        layout, event = arguments.layout, arguments.event
        check_export(layout.steps)
        values: dict[str, Any] = {}
        after: list[dict[str, Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for reverse in (False, True)[: self.directions]:
                task = self.task(arguments, (layer, reverse), event, trace=trace)
                if tasks is not None:
                    tasks.append(task)
                result = run_on(self.backend, task)
                outputs.append(result.output)
                after.append({name: layout.unsort(one) for name, one in result.states.items()})
                for name, one in result.values.items():
                    # The event's trace is the input itself, which asks for gradients as it did.
                    one = one if torch.is_grad_enabled() else one.detach()
                    values[self.trace_name(name, layer, reverse)] = layout.unpack(one)
            event = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                event = nn.functional.dropout(event, self.dropout, self.training)
        return layout.unpack(event), join_states(self, after, layout), values

    def pack_arguments(
        self,
        input: Any,
        hx: Any,
        lengths: Any = None,
        starts: Any = None,
        inputs: Mapping[str, Any] | None = None,
        hold: Mapping[str, Any] | None = None,
    ) -> Arguments:
        """Check the arguments of a call, and pack them as backends take them.

        Raises:
            ArgumentError, SizeError: naming the argument, what was given and what was expected.
        """
        layout = Layout.of(input, batch_first=self.batch_first, lengths=lengths)
        event = pack_event(self, layout, input)
        for place in self.places:
            check_weights(self.store(*place), self.sizes(place[0]))
        # Once a run, since a parametrization may cost, or change with each call.
        weights = [self.store(*place).tensors() for place in self.places]
        like = next(iter(weights[0].values()), event)
        return Arguments(
            layout=layout,
            event=as_weights(event, like, "input"),
            weights=dict(zip(self.places, weights, strict=True)),
            like=like,
            further=pack_further(self, layout, inputs or {}, like),
            marks=layout.restarts(starts) if starts is not None else None,
            states=dict(zip(self.places, split_states(self, hx, layout, like), strict=True)),
            held=pack_held(self, layout, hold, like) if hold else {},
        )

    def task(
        self, arguments: Arguments, place: tuple[int, bool], event: Tensor, *, trace: bool = False
    ) -> Run:
        """The task of one layer in one direction, with its event and a call's arguments."""
        graph, layout, (layer, reverse) = self.graph, arguments.layout, place
        sizes, tensors, like = self.sizes(layer), arguments.weights[place], arguments.like
        passed, fresh, marks = arguments.states[place], {}, arguments.marks
        if passed is None or marks is not None:
            fresh = fresh_states(graph, sizes, tensors, layout.batch, like)
        held = {}
        if arguments.held:
            long = {name: self.trace_name(name, *place) for name in graph.values}
            held = {n: arguments.held[key] for n, key in long.items() if key in arguments.held}
        return Run(
            graph=graph,
            sizes=sizes,
            weights=tensors,
            inputs={graph.equations.event: event, **arguments.further},
            rows=layout.rows,
            states=passed or fresh,
            fresh=fresh,
            noises=draw_noises(self, layout, sizes, like),
            restart=marks[reverse] if marks is not None else None,
            reverse=reverse,
            hold=held,
            names=list(graph.values) if trace else (),
        )

    def trace_name(self, name: str, layer: int, reverse: bool) -> str:
        """A value's name in a trace: with layer and direction where there are several."""
        if len(self.places) == 1:
            return name
        return f"l{layer}.{direction(reverse)}.{name}"

    def printed(self) -> list[str]:
        further = {
            f"num_layers={self.num_layers}": self.num_layers != 1,
            "bias=False": not self.bias,
            "batch_first=True": self.batch_first,
            f"dropout={self.dropout}": self.dropout,
            "bidirectional=True": self.bidirectional,
        }
        given = [text for text, other in further.items() if other]
        return [str(self.input_size), str(self.hidden_size), *given]


@_disable_dynamo  # torch's own: it imports the compiler when it is called, which is there then
def run_packed(layer: Recurrent, *arguments: Any) -> tuple[Any, Any]:
    """Run outside of a program that torch compiles, which loses a PackedSequence's fields."""
    output, states, _ = layer._run(*arguments)
    return output, states
