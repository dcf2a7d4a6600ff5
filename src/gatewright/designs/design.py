"""A design: the shape of a network around its cell, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

from gatewright.errors import ArgumentError, ModelError
from gatewright.names import did_you_mean
from gatewright.schema import typed

#: Ways to sum up the steps of a sequence; several are joined.
SUMMARIES = ("last", "mean", "max", "share", "attention")
#: What may come between the events and the cell.
FRONTS = ("none", "convolution", "dilated")
#: How the values of a sequence may be scaled by its own mean and spread.
SCALINGS = ("none", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The shape of a network around its cell.

    >>> Design(layers=2, bidirectional=True, readout=("mean", "max"))
    Design(layers=2, bidirectional=True, readout=('mean', 'max'))
    >>> Design(readout=("middle",))
    Traceback (most recent call last):
    ...
    gatewright.errors.ArgumentError: readout is ('middle',); expected some of last, mean, max, \
share, attention

    Args:
        differences: Whether the change since the step before is read too, a channel each.
        scaling: "sequence" takes each sequence's own mean and spread out of its channels.
        front: "convolution" puts three convolutions in time before the cell, as in LSTM-FCN
            (Karim et al. 2018, arXiv:1709.05206); their mean over time joins the readout. "dilated"
            puts linear convolutions of several dilations there, next to the events; their maxima
            and shares join.
        patterns: Convolutions of the dilated front end for each unit of a layer and direction.
        segment: Steps that the cell reads at once, as one event (SegRNN, Lin et al. 2023,
            arXiv:2308.11200).
        layers: Recurrent layers.
        bidirectional: Whether the sequence is read from both ends.
        readout: The summaries of the steps that are joined, of `SUMMARIES`.
        dropout: Probability at which features between layers are dropped in training.
        input_dropout: Probability at which a feature that the first layer reads is dropped in
            training, at all steps of a sequence together.
        trained: False keeps the recurrent weights as they are drawn, by `start_untrained_`, and
            fits only the linear read-out of classes, in closed form: a matter of seconds.

    Raises:
        ArgumentError: where a value is none of those.
    """

    differences: bool = False
    scaling: str = "none"
    front: str = "none"
    patterns: int = 1
    segment: int = 1
    layers: int = 1
    bidirectional: bool = False
    readout: tuple[str, ...] = ("last",)
    dropout: float = 0.0
    input_dropout: float = 0.0
    trained: bool = True

    def __post_init__(self) -> None:
        for name, allowed in (("scaling", SCALINGS), ("front", FRONTS)):
            if getattr(self, name) not in allowed:
                raise ArgumentError(
                    f"{name} is {getattr(self, name)!r}; expected {' or '.join(allowed)}"
                )
        if not self.readout or not set(self.readout) <= set(SUMMARIES):
            raise ArgumentError(
                f"readout is {self.readout!r}; expected some of {', '.join(SUMMARIES)}"
            )
        if len(set(self.readout)) < len(self.readout):
            raise ArgumentError(f"readout is {self.readout!r}; expected each summary once")
        for name in ("patterns", "segment", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ArgumentError(f"{name} is {value!r}; expected a whole number from 1")
        if not self.trained and (self.front == "convolution" or "attention" in self.readout):
            raise ArgumentError(
                "trained is False, and stacked convolutions and attention have to be trained; "
                "expected a design without them (the front end dilated may be random)"
            )
        for name in ("dropout", "input_dropout"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ArgumentError(f"{name} is {value!r}; expected a number from 0 to below 1")

    def __repr__(self) -> str:
        changed = {name: value for name, value in asdict(self).items() if value != _PLAIN[name]}
        return f"Design({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    @property
    def reads_last(self) -> bool:
        """True if the output of the last step is all that is read of the recurrent layers."""
        return self.readout == ("last",) and not self.bidirectional

    @property
    def needs_whole_sequence(self) -> bool:
        """True if a step's features depend on later steps, or on more of the past than a state."""
        return bool(
            self.bidirectional
            or self.differences
            or self.scaling != "none"
            or self.front != "none"
            or self.segment > 1
        )

    def words(self) -> str:
        """The design as a clause, for reports.

        >>> Design(layers=2, bidirectional=True, readout=("mean", "max")).words()
        '2 layers, read from both ends, summed up by mean and max'
        >>> PLAIN.words()
        '1 layer, summed up by last'
        """
        parts = []
        if self.scaling == "sequence":
            parts.append("each sequence scaled by itself")
        if self.differences:
            parts.append("the change since the step before as further channels")
        if self.segment > 1:
            parts.append(f"{self.segment} steps to an event")
        if self.front != "none":
            parts.append(_FRONT_WORDS[self.front])
        random = "" if self.trained else " of random weights"
        parts.append(f"{self.layers} layer{'s' * (self.layers > 1)}{random}")
        if self.bidirectional:
            parts.append("read from both ends")
        parts.append(f"summed up by {' and '.join(self.readout)}")
        return ", ".join(parts)

    def to_config(self) -> dict[str, Any]:
        """The fields, in JSON's types."""
        return {**asdict(self), "readout": list(self.readout)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "design") -> Self:
        """The design of a config.

        Raises:
            ModelError: where the config is damaged.
        """
        try:
            design: Self = typed(dict(config), cls, path)
        except ArgumentError as error:
            raise ModelError(f"{path} is damaged: {error}") from None
        return design


_PLAIN = {name: field.default for name, field in Design.__dataclass_fields__.items()}

_FRONT_WORDS = {
    "convolution": "three convolutions in front",
    "dilated": "dilated convolutions in front",
}

#: A recurrent layer that is read at its last step.
PLAIN = Design()

#: Designs by name, from the simplest to the largest.
DESIGNS: Mapping[str, Design] = MappingProxyType(
    {
        "plain": PLAIN,
        "untrained": Design(
            bidirectional=True,
            differences=True,
            front="dilated",
            patterns=5,
            layers=2,
            readout=("last", "mean", "max", "share"),
            trained=False,
        ),
        "both-ways": Design(bidirectional=True, differences=True, readout=("mean", "max")),
        "convolutional": Design(
            bidirectional=True, differences=True, readout=("mean", "max"), front="convolution"
        ),
    }
)


def find_design(design: str | Design) -> Design:
    """A design, or the one of this name.

    >>> find_design("plain")
    Design()

    Raises:
        ArgumentError: if there is none of this name.
    """
    if isinstance(design, Design):
        return design
    if design in DESIGNS:
        return DESIGNS[design]
    nearest = did_you_mean(str(design), DESIGNS)
    raise ArgumentError(f"no design is called {design!r}; {nearest}there are: {', '.join(DESIGNS)}")
