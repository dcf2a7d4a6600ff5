"""The presentation of a task: its words, its figures and the example that a report shows.

Each task has one implementation; `registry.presentation_of` finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from gatewright.draw.page.page import Section
from gatewright.draw.plots.passage import Belief
from gatewright.tasks.task import Batch


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence of a part whose gates a report shows step by step."""

    batch: Batch  # B = 1, without lengths
    about: str  # a sentence: which sequence it is
    verdict: str = ""  # a sentence: what the model answers for it
    belief: Belief | None = None
    symbols: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()  # names of the values of an event
    steps: tuple[str, ...] = ()  # names of the steps, such as times


class Presentation(Protocol):
    """The words and figures of a task, for tables, model cards and reports."""

    title: ClassVar[str]  # within a sentence: "a forecast"
    splitting: ClassVar[str]  # a sentence or two: how test and validation part are split off
    readout: ClassVar[str]  # a sentence: at which steps the readout is used

    @property
    def variant(self) -> str:
        """A clause that describes the variant of the task; "" where there is only one."""
        return ""

    def summary(self) -> str:
        """Return a sentence for the model card: what such a model does."""
        ...

    def usage(self) -> str:
        """Return lines of Python for the model card that use the variable `model`."""
        ...

    def limits(self) -> str:
        """Return sentences for the model card: what such a model cannot do."""
        ...

    def part_size(self, part: Any) -> str:
        """Return the size of a part in words: "370 sequences"."""
        ...

    def figures(self, predicted: Any, part: Any) -> dict[str, Any]:
        """Return the data behind the figures of a report, in JSON's types, from predictions."""
        ...

    def model_figures(self, model: Any, part: Any) -> dict[str, Any]:
        """Return more such data, which need the model itself."""
        return {}

    def sections(self, figures: Mapping[str, Any], subject: str) -> list[Section]:
        """Draw the figures; `subject` is a sentence that names the model and the data."""
        ...

    def example(self, model: Any, part: Any) -> Example:
        """Return the sequence of a part whose gates a report shows."""
        ...
