"""The numbers that predictions are judged by, and their form in tables and sentences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that measures how good predictions are."""

    name: str  # as in JSON
    title: str  # as in a table
    higher: bool = False  # whether a higher value is better
    percent: bool = False
    digits: int = 3
    judges: bool = True  # False where neither a higher nor a lower value is better
    about: str = ""  # its meaning and its good values, for people who have not met it

    @property
    def heading(self) -> str:
        """The title with its unit, for a column of numbers: `accuracy, %`."""
        return f"{self.title}, %" if self.percent else self.title

    def number(self, value: float) -> str:
        """Format one value: `97.1` or `0.823`."""
        return f"{100 * value:.1f}" if self.percent else f"{value:.{self.digits}f}"

    def cell(self, values: Sequence[float]) -> str:
        """Format the mean, with the standard deviation of several values: `97.1 ± 0.4`."""
        mean = self.number(statistics.mean(values))
        return f"{mean} ± {self.number(statistics.stdev(values))}" if len(values) > 1 else mean

    def spread(self, values: Sequence[float]) -> str:
        """Format the same with its unit, for a sentence: `97.1 ± 0.4 %`."""
        return self.cell(values) + (" %" if self.percent else "")

    def goodness(self, value: float) -> float:
        """Return the value with the sign that makes higher better."""
        return value if self.higher else -value

    def lead(self, values: Sequence[float], others: Sequence[float]) -> float:
        """Return by how much the mean of `values` is better; 0.0 for an insignificant difference.

        A difference counts from half a percentage point of a share, or 2 % of an error, and only
        if it is larger than the standard deviation between seeds.
        """
        mean, other_mean = statistics.mean(values), statistics.mean(others)
        lead = self.goodness(mean) - self.goodness(other_mean)
        margin = 0.005 if self.percent else 0.02 * max(abs(mean), abs(other_mean))
        deviations = [statistics.stdev(seeds) for seeds in (values, others) if len(seeds) > 1]
        return lead if abs(lead) > max([margin, *deviations]) else 0.0
