"""`Recurrent`: any cell as a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewright.backends.choose import check_backend, choose
from gatewright.backends.reference import Result, Run
from gatewright.backends.step import expectations, starts
from gatewright.backends.weights import Pairs, collect
from gatewright.errors import ArgumentError, BackendError, SizeError
from gatewright.graph import Graph, build_graph
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell
from gatewright.layers.arguments import check_arguments, find_cell
from gatewright.layers.branch import Branch, Directions
from gatewright.layers.layout import Layout
from gatewright.layers.pairs import ProductWeights
from gatewright.layers.states import join_states, split_states


class Recurrent(nn.Module):
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

    Weights are kept by name: `layers.<k>.<forward|reverse>.<product>.<source>.weight`.

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
        self.cell = find_cell(cell)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.dropout = float(dropout)
        self.bidirectional = bool(bidirectional)
        self.backend = check_backend(backend)
        for layer in range(num_layers):
            self.graph.sizes.check(self.sizes(layer))
        self.make_weights(device, dtype)
        self.reset_parameters()

    # What the layer is.
    @property
    def graph(self) -> Graph:
        """The cell's graph, without biases if the layer has none."""
        if self.bias:
            graph: Graph = self.cell.graph
            return graph
        if "_graph" not in self.__dict__:
            self.__dict__["_graph"] = build_graph(self.cell.equations, bias=False)
        return self.__dict__["_graph"]  # type: ignore[no-any-return]

    @property
    def directions(self) -> int:
        """D: 2 where the layer reads both ways, else 1."""
        return 2 if self.bidirectional else 1

    def sizes(self, layer: int) -> dict[str, int]:
        """The numbers for "input" and "hidden" at a layer."""
        sizes = {"input": self.input_size, "hidden": self.hidden_size}
        for _ in range(layer):
            sizes["input"] = self.directions * number(self.graph.output.size, sizes)
        return sizes

    @property
    def output_size(self) -> int:
        """Values of each output step: directions times the cell's output size."""
        last = self.sizes(self.num_layers - 1)
        return self.directions * number(self.graph.output.size, last)

    @property
    def products(self) -> tuple[str, ...]:
        """The names of the cell's products and parameters."""
        return tuple(dict.fromkeys(one.product for one in self.graph.weights.values()))

    # The weights.
    def make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        """Create the parameters; `reset_parameters` fills them."""
        self.layers = nn.ModuleList()
        for layer in range(self.num_layers):
            branches = [
                Branch(self.graph.weights.values(), self.sizes(layer), device, dtype)
                for _ in range(self.directions)
            ]
            self.layers.append(Directions(*branches))

    def branch(self, layer: int, reverse: bool) -> Branch:
        """The module that holds the weights of one layer in one direction."""
        both = self.layers[layer]
        assert isinstance(both, Directions)
        return both.reverse if reverse else both.forward

    def pairs(self, layer: int, reverse: bool) -> Pairs:
        """All weights of one layer in one direction, live, by product and source."""
        return self.branch(layer, reverse).pairs()

    def reset_parameters(self) -> None:
        """Start the weights as torch does: uniform within 1 / sqrt(hidden size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for layer in range(self.num_layers):
                for reverse in range(self.directions):
                    self.branch(layer, bool(reverse)).reset(bound)

    def weights(self, name: str, layer: int = 0, reverse: bool = False) -> ProductWeights:
        """The weights of one product: a mapping from source to `(weight, bias)`.

        Detached, to read and to write: `layer.weights("f")["x"] = (W, b)`.

        Raises:
            ArgumentError: if there is no such product, layer or direction.
        """
        self._check_place(name, layer, reverse)
        return ProductWeights(name, self.pairs(layer, reverse)[name])

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Hold a product's weights in all layers and directions, or let them go again."""
        self._check_place(name, 0, False)
        for layer in range(self.num_layers):
            for reverse in range(self.directions):
                self.branch(layer, bool(reverse)).freeze(name, frozen)

    def _check_place(self, name: str, layer: int, reverse: bool) -> None:
        if name not in self.products:
            raise ArgumentError(f"there is no product {name!r}; the cell has {list(self.products)}")
        if not 0 <= layer < self.num_layers:
            raise ArgumentError(f"layer={layer}; the layers are 0 to {self.num_layers - 1}")
        if reverse and not self.bidirectional:
            raise ArgumentError("reverse=True; the layer is not bidirectional")

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
        output, states, _ = self._run(input, hx, lengths, starts, inputs)
        return output, states

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

    def _run(
        self,
        input: Any,
        hx: Any,
        lengths: Any,
        starts: Any,
        inputs: Mapping[str, Any],
        hold: Mapping[str, Any] | None = None,
        trace: bool = False,
    ) -> tuple[Any, Any, dict[str, Any]]:
        layout = Layout.of(input, batch_first=self.batch_first, lengths=lengths)
        like = next(iter(self.pairs(0, False).values()))
        weight = next(iter(like.values()))[0]
        event = self._event(layout.pack(input), weight)
        further = self._further(layout, inputs, weight)
        marks = layout.restarts(starts) if starts is not None else (None, None)
        given = split_states(self, hx, layout, weight)
        held = self._held(layout, hold or {}, weight)
        values: dict[str, Any] = {}
        after: list[dict[str, Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for reverse in (False, True)[: self.directions]:
                place = len(after)
                result = self._run_branch(
                    layer,
                    reverse,
                    layout,
                    event,
                    further,
                    given[place],
                    marks[reverse],
                    held,
                    trace,
                )
                outputs.append(result.output)
                after.append({name: layout.unsort(one) for name, one in result.states.items()})
                for name, one in result.values.items():
                    values[self.trace_name(name, layer, reverse)] = layout.unpack(one)
            event = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                event = nn.functional.dropout(event, self.dropout, self.training)
        return layout.unpack(event), join_states(self, after, layout), values

    def _run_branch(
        self,
        layer: int,
        reverse: bool,
        layout: Layout,
        event: Tensor,
        further: Mapping[str, Tensor],
        given: Mapping[str, Tensor] | None,
        restart: Tensor | None,
        held: Mapping[str, Tensor],
        trace: bool,
    ) -> Result:
        graph, sizes = self.graph, self.sizes(layer)
        tensors = collect(graph, self.pairs(layer, reverse))
        fresh = starts(graph, sizes, tensors, layout.batch, next(iter(tensors.values())))
        own = {name: self.trace_name(name, layer, reverse) for name in graph.values}
        return choose(self.backend)(
            Run(
                graph=graph,
                sizes=sizes,
                weights=tensors,
                inputs={graph.equations.event: event, **further},
                rows=layout.rows,
                states=fresh if given is None else given,
                fresh=fresh,
                noises=self._noises(layout, sizes, next(iter(tensors.values()))),
                restart=restart,
                reverse=reverse,
                hold={name: held[long] for name, long in own.items() if long in held},
                names=list(graph.values) if trace else (),
            )
        )

    def trace_name(self, name: str, layer: int, reverse: bool) -> str:
        """A value's name in a trace: with layer and direction where there are several."""
        if self.num_layers * self.directions == 1:
            return name
        return f"l{layer}.{direction(reverse)}.{name}"

    def _event(self, event: Tensor, weight: Tensor) -> Tensor:
        if event.shape[-1] != self.input_size:
            raise SizeError(
                f"input has {event.shape[-1]} values a step; "
                f"expected input_size = {self.input_size}"
            )
        return self._in_dtype(event, weight, "input")

    def _in_dtype(self, given: Tensor, weight: Tensor, role: str) -> Tensor:
        """Under autocast whatever arrives is taken as the weights are; else they must agree."""
        if given.dtype != weight.dtype:
            if not torch.is_autocast_enabled(given.device.type):
                raise ArgumentError(
                    f"{role} is {given.dtype} and the weights are {weight.dtype}; "
                    f"convert one, as in x.to({weight.dtype}) or layer.to({given.dtype})"
                )
            return given.to(weight.dtype)
        if given.device != weight.device:
            raise ArgumentError(
                f"{role} is on {given.device} and the weights are on {weight.device}; move one"
            )
        return given

    def _further(
        self, layout: Layout, inputs: Mapping[str, Any], weight: Tensor
    ) -> dict[str, Tensor]:
        """The cell's further inputs, packed, each of the size that the cell reads."""
        wanted = self.graph.equations.inputs
        if set(inputs) != set(wanted):
            raise ArgumentError(
                f"further inputs {sorted(inputs)} were given; {self.graph.equations.name} reads "
                f"{sorted(wanted)}"
            )
        found = {}
        for name in wanted:
            sizes = {
                number(self.graph.inputs[name].size, self.sizes(k)) for k in range(self.num_layers)
            }
            if len(sizes) > 1:
                raise SizeError(
                    f"further input {name} has the input's size, which differs by layer; "
                    "use one layer, or state its size in the cell's `sizes`"
                )
            size = sizes.pop()
            given = inputs[name]
            data = given.data if isinstance(given, PackedSequence) else given
            if tuple(data.shape) not in (layout.lead, (*layout.lead, 1), (*layout.lead, size)):
                raise SizeError(
                    f"further input {name} has shape {tuple(data.shape)}; "
                    f"expected {(*layout.lead, size)}, or {layout.lead} for one value a step"
                )
            packed = layout.pack(given)
            packed = packed.unsqueeze(-1) if packed.dim() == 1 else packed
            packed = packed.to(weight.dtype) if packed.dtype == torch.bool else packed
            found[name] = self._in_dtype(packed, weight, name).expand(-1, size)
        return found

    def _held(self, layout: Layout, hold: Mapping[str, Any], weight: Tensor) -> dict[str, Tensor]:
        """Held values, packed, by their name in the trace."""
        found = {}
        places = {
            self.trace_name(name, layer, reverse): (name, layer)
            for layer in range(self.num_layers)
            for reverse in (False, True)[: self.directions]
            for name in self.graph.values
        }
        for long, given in hold.items():
            if long not in places:
                raise ArgumentError(f"hold names {long!r}; the trace has {list(places)}")
            name, layer = places[long]
            size = number(self.graph.values[name].size, self.sizes(layer))
            value = torch.as_tensor(given, dtype=weight.dtype, device=weight.device)
            shape = (*layout.lead, size)
            try:
                found[long] = layout.pack(value.expand(shape))
            except RuntimeError:
                raise SizeError(
                    f"hold[{long!r}] has shape {tuple(value.shape)}; expected one that "
                    f"broadcasts to {shape}"
                ) from None
        return found

    def _noises(self, layout: Layout, sizes: Mapping[str, int], like: Tensor) -> list[Tensor]:
        total = sum(layout.rows)
        expected = expectations(self.graph, sizes, total, like)
        if not self.training:
            return expected
        drawn = []
        for term, chance in zip(self.graph.noises, expected, strict=True):
            if term.attributes["per"] == "step":
                drawn.append(torch.bernoulli(chance))
            else:
                once = torch.full((layout.batch, chance.shape[1]), term.attributes["p"]).to(chance)
                drawn.append(layout.repeat(torch.bernoulli(once)))
        return drawn

    # What torch asks for.
    def __prepare_scriptable__(self) -> None:
        raise BackendError(
            "torch.jit.script cannot read a gatewright layer; use torch.compile or torch.export"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_graph", None)
        return state

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        parts: Sequence[str] = (
            f"{self.cell!r}, {self.input_size}, {self.hidden_size}",
            f"num_layers={self.num_layers}" if self.num_layers != 1 else "",
            "bias=False" if not self.bias else "",
            "batch_first=True" if self.batch_first else "",
            f"dropout={self.dropout}" if self.dropout else "",
            "bidirectional=True" if self.bidirectional else "",
        )
        return ", ".join(one for one in parts if one)


def direction(reverse: bool) -> str:
    """The name of a direction in weights and traces."""
    return "reverse" if reverse else "forward"
