"""The stages of a trained network as plain data: sizes and arrays, for any language to print.

A network is a short chain of stages. Most turn the steps of a sequence (T, C) into other steps;
`Summary` and `ForecastWindow` end the steps with a single vector, and what follows reads that.
Every stage tells whether it can work event by event, on a stream, and why not.

Arrays are float32 and named as the stage's `name`, an underscore and the field: `readout_weight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gatewright.exports.program import StepProgram

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """Base class of all stages: one operation of a chain.

    Attributes:
        name: Begins the names of the stage's arrays; no two stages of a network share it.
        input_size: Values of a step, or of the vector, that it reads.
    """

    name: str
    input_size: int

    @property
    def output_size(self) -> int:
        """Values of a step, or of the vector, that it writes."""
        return self.input_size

    @property
    def ends_steps(self) -> bool:
        """True if it reads the steps of a sequence and writes a single vector."""
        return False

    @property
    def why_not_stream(self) -> str | None:
        """The reason, as a clause, why it cannot work event by event, or None if it can."""
        return None

    @property
    def multiply_adds(self) -> int:
        """Multiplications of its products, for each step or vector."""
        return 0

    @property
    def programs(self) -> Sequence[StepProgram]:
        """The programs of recurrent layers in it, in the order in which they run."""
        return ()

    def in_int8(self) -> Stage:
        """The same stage with the products of its programs in int8."""
        return self

    def states(self) -> Iterator[tuple[str, Floats]]:
        """Yield what it remembers on a stream: the name of each row and its start."""
        yield from ()

    @property
    def counts_steps(self) -> bool:
        """True if it has to know how many events a stream has read, in `steps`."""
        return False

    def arrays(self) -> Iterator[tuple[str, Floats]]:
        """Yield its own constant numbers by name; those of `programs` come on top."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                yield f"{self.name}_{field.name}", value


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale(Stage):
    """Scale the raw values of each step: `(transformed x - mean) / scale`.

    Attributes:
        transforms: The channels that are transformed first: (channel, "log" or "root", smallest
            value that is not raised to it).
    """

    mean: Floats  # (I,)
    scale: Floats  # (I,)
    transforms: tuple[tuple[int, Literal["log", "root"], float], ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding(Stage):
    """Turn the number of a symbol into its row of a matrix; `input_size` is 1."""

    weight: Floats  # (symbols, C)

    @property
    def output_size(self) -> int:
        """Values of a row."""
        return int(self.weight.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class SequenceScale(Stage):
    """Give each channel of a sequence mean 0 and spread 1 over its own steps."""

    smallest: float  # spread that is divided by, at least

    @property
    def why_not_stream(self) -> str | None:
        """The reason why it needs a whole sequence."""
        return "each sequence is scaled by its own mean and spread"


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences(Stage):
    """Join each step with its change since the step before; that of the first step is 0."""

    @property
    def output_size(self) -> int:
        """The values and as many changes."""
        return 2 * self.input_size

    def states(self) -> Iterator[tuple[str, Floats]]:
        """Yield the event before."""
        yield f"{self.name}_last", zeros(self.input_size)

    @property
    def counts_steps(self) -> bool:
        """True: the change of the first step is 0."""
        return True


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments(Stage):
    """Join `steps` steps to one, counted from the end; zeros come before the first step."""

    steps: int

    @property
    def output_size(self) -> int:
        """The values of all steps of a segment, the earliest first."""
        return self.steps * self.input_size

    @property
    def why_not_stream(self) -> str | None:
        """The reason why it needs a whole sequence."""
        return f"segments of {self.steps} steps are counted from the end of a sequence"


@dataclass(frozen=True, kw_only=True, eq=False)
class Window(Stage):
    """Join the steps at some offsets from each step, 0 among them.

    Beyond the ends of the sequence there are zeros, or the first and last step if `repeats`. A
    window, a `Linear` and a `Pointwise` are a convolution in time.
    """

    offsets: tuple[int, ...]  # rising
    repeats: bool

    @property
    def before(self) -> int:
        """Steps back that it reads."""
        return -self.offsets[0]

    @property
    def after(self) -> int:
        """Steps ahead that it reads."""
        return self.offsets[-1]

    @property
    def output_size(self) -> int:
        """The values of all steps of a window, the earliest first."""
        return len(self.offsets) * self.input_size

    @property
    def why_not_stream(self) -> str | None:
        """The reason why it needs a whole sequence: it may read steps that come later."""
        return f"each step reads the {self.after} steps after it" if self.after else None

    def states(self) -> Iterator[tuple[str, Floats]]:
        """Yield the events before, the earliest first."""
        if self.before:
            yield f"{self.name}_past", zeros(self.before * self.input_size)

    @property
    def counts_steps(self) -> bool:
        """True if the first event is repeated before itself."""
        return self.repeats and self.before > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Stage):
    """Multiply each step, or the vector, with a matrix and add a bias."""

    weight: Floats  # (O, I)
    bias: Floats  # (O,)

    @property
    def output_size(self) -> int:
        """Rows of the matrix."""
        return int(self.weight.shape[0])

    @property
    def multiply_adds(self) -> int:
        """The numbers of the matrix."""
        return int(self.weight.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pointwise(Stage):
    """Apply a function to every value."""

    function: Literal["relu", "tanh"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecurrentLayers(Stage):
    """Run recurrent layers over the steps; each reads the outputs of the one below.

    Attributes:
        layers: For each layer the program of its forward direction and, if it is read from the
            end too, that of the reverse one, whose outputs come second at each step.
        joins_input: Whether the steps that the lowest layer reads are joined to the output.
    """

    layers: tuple[tuple[StepProgram, ...], ...]
    joins_input: bool = False

    @property
    def is_bidirectional(self) -> bool:
        """True if the layers are read from both ends."""
        return len(self.layers[0]) == 2

    @property
    def programs(self) -> Sequence[StepProgram]:
        """All programs, layer by layer."""
        return [program for layer in self.layers for program in layer]

    @property
    def output_size(self) -> int:
        """The outputs of the highest layer, and the input if it is joined."""
        own = sum(program.output_size for program in self.layers[-1])
        return own + (self.input_size if self.joins_input else 0)

    @property
    def multiply_adds(self) -> int:
        """Multiplications of all programs."""
        return sum(program.multiply_adds for program in self.programs)

    @property
    def why_not_stream(self) -> str | None:
        """The reason why two directions need a whole sequence."""
        return "it reads a sequence from its end too" if self.is_bidirectional else None

    def in_int8(self) -> RecurrentLayers:
        """The same layers with their products in int8."""
        layers = (tuple(program.in_int8() for program in layer) for layer in self.layers)
        return replace(self, layers=tuple(layers))

    def states(self) -> Iterator[tuple[str, Floats]]:
        """Yield the states of all programs."""
        for program in self.programs:
            for name, state in program.states.items():
                yield state.name, program.starts[name]


#: The ways to sum up the steps of a sequence: "first" is the first step's values, "share" that of
#: the steps whose value exceeds a threshold, "attention" a mean with learned weights.
SummaryKind = Literal["last", "first", "mean", "max", "share", "attention"]


@dataclass(frozen=True, slots=True)
class Part:
    """One summary of the values of each step from `start` on, `size` of them."""

    kind: SummaryKind
    start: int
    size: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary(Stage):
    """Sum up the steps of a sequence in one vector: the parts, joined.

    Attention weighs step t by `exp(score_t)` over their sum, with
    `score_t = vector · tanh(weight h_t + bias)`.
    """

    parts: tuple[Part, ...]
    thresholds: Floats | None = None  # of the values that the parts "share" read, one after another
    weight: Floats | None = None  # (C, C), of the attention
    bias: Floats | None = None  # (C,)
    vector: Floats | None = None  # (C,)

    @property
    def output_size(self) -> int:
        """The sizes of the parts together."""
        return sum(part.size for part in self.parts)

    @property
    def ends_steps(self) -> bool:
        """True: it writes a single vector."""
        return True

    def states(self) -> Iterator[tuple[str, Floats]]:
        """Yield each part over the events so far; of attention also what its weights rest on."""
        for number, part in enumerate(self.parts):
            name = self.part_name(number)
            if part.kind != "last":
                start = np.full(part.size, -np.inf if part.kind == "max" else 0.0, np.float32)
                yield name, start
            if part.kind == "attention":
                yield f"{name}_largest", np.full(1, -np.inf, np.float32)  # score so far
                yield f"{name}_total", zeros(1)  # of exp(score - largest)

    def first_threshold(self, number: int) -> int:
        """The position of a part's thresholds among all."""
        return sum(part.size for part in self.parts[:number] if part.kind == "share")

    def part_name(self, number: int) -> str:
        """The name of the row in which a part is remembered."""
        return f"{self.name}_{self.parts[number].kind}{number}"

    @property
    def counts_steps(self) -> bool:
        """True if a part is divided by the number of steps."""
        return any(part.kind in ("mean", "share") for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """Those of the attention's scores."""
        return 0 if self.weight is None else int(self.weight.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(Stage):
    """Turn scores into probabilities: `exp(x)` over the sum of all."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearBase(Stage):
    """The simple method inside a forecast, linear in a window in its own units.

    Sizes: W steps of the window, H steps ahead, K targets, C lagged and S common channels, A known
    ones ahead, Q quantiles.
    """

    targets: tuple[int, ...]  # channels
    lagged: tuple[int, ...]  # channels that `past` reads
    static: tuple[int, ...]  # channels whose last value `common` reads first
    calendar: tuple[int, ...]  # known inputs, whose value at the first step ahead it reads next
    ahead: tuple[int, ...]  # known inputs that `known` reads, each step its own
    own: Floats  # (K, H, W)
    past: Floats | None  # (H, K, W * C)
    known: Floats | None  # (H, K, A)
    common: Floats | None  # (H, K, S)
    mean: Floats  # (H, K), the pull of the level towards the mean of the training part
    bias: Floats  # (H, K)
    quantiles: Floats  # (H, K, Q), in units of the window's spread
    fixed: Floats  # (H, K, Q), in deviations of the channel


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastWindow(Stage):
    """Forecast the steps after a window: a network, a simple method, and known values ahead.

    On a stream, its state is the window: the last `steps` events.

    A channel in `own` is measured from its last value in the window (its level), in units of its
    standard deviation there (its spread, at least `smallest`). The sum of network, base and
    effect of the known inputs is sorted over the quantiles, and brought back by `spread` and
    `level`. Where not `in_own_units`, there are no such channels.
    """

    steps: int  # W
    horizon: int  # H
    targets: tuple[int, ...]  # channels, K
    levels: int  # quantiles of each step and target, Q
    chain: tuple[Stage, ...]  # from the window to H * K * Q numbers
    own: tuple[int, ...]  # channels with a level and a spread of each window
    smallest: Floats | None  # (own,)
    scales_network: bool  # whether the chain reads the window in its own units
    base: LinearBase | None
    known_mean: Floats | None  # (known,), of the raw known inputs
    known_scale: Floats | None  # (known,)
    known_weight: Floats | None  # (units, known), of the effect of the known inputs
    known_bias: Floats | None  # (units,)
    known_effect: Floats | None  # (K * Q, units), after a tanh

    @property
    def in_own_units(self) -> bool:
        """True if the sum is in units of the window."""
        return bool(self.own)

    @property
    def output_size(self) -> int:
        """Quantiles of all steps ahead and targets, (H, K, Q)."""
        return self.horizon * len(self.targets) * self.levels

    @property
    def ends_steps(self) -> bool:
        """True: it writes a single vector."""
        return True

    def in_int8(self) -> ForecastWindow:
        """The same forecast with the products of its layers in int8."""
        return replace(self, chain=tuple(stage.in_int8() for stage in self.chain))

    def states(self) -> Iterator[tuple[str, Floats]]:
        """Yield the window, the earliest event first."""
        yield f"{self.name}_window", zeros(self.steps * self.input_size)

    @property
    def counts_steps(self) -> bool:
        """True: there is no forecast before the window is full."""
        return True

    @property
    def programs(self) -> Sequence[StepProgram]:
        """The programs of its chain."""
        return [program for stage in self.chain for program in stage.programs]

    @property
    def multiply_adds(self) -> int:
        """Those of the chain for all steps of the window, and of the base."""
        per_step = sum(stage.multiply_adds for stage in self.chain)
        base = 0 if self.base is None else sum(a.size for _, a in self.base.arrays())
        return self.steps * per_step + base

    def arrays(self) -> Iterator[tuple[str, Floats]]:
        """Yield its own numbers, then those of its chain and base."""
        yield from super().arrays()
        for stage in (*self.chain, *([self.base] if self.base is not None else [])):
            yield from stage.arrays()


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantiles(Stage):
    """Bring the quantiles of a forecast, (H, K, Q), to the units of the data.

    They are stretched by `widening` around their median, then `scale * q + mean`, then the
    inverse of each target's transform; what is below a target's floor is raised to it, and the
    quantiles of a count are rounded.
    """

    widening: Floats  # (H, K)
    mean: Floats  # (K,)
    scale: Floats  # (K,)
    transforms: tuple[Literal["none", "log", "root"], ...]  # by target
    floor: tuple[float | None, ...]  # by target
    rounds: tuple[bool, ...]  # by target
    median: int  # position among the quantiles


def zeros(size: int) -> Floats:
    """A row of zeros."""
    return np.zeros(size, np.float32)
