"""The results of the lesson's comparison: lags learnt, fading gradients, and their table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from gatewright.escaping import terminal_text
from gatewright.memory.behaviour import LEARNT
from gatewright.memory.climb import MAX_LAG, ClimbResult, Flow, scores_at
from gatewright.memory.json_numbers import plain
from gatewright.memory.learning import Budget
from gatewright.memory.networks import NETWORKS
from gatewright.probes.lags import steps_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """The results of one network, one for each seed."""

    network: str
    trials: Sequence[ClimbResult]

    @property
    def title(self) -> str:
        """The name of the network for people."""
        return NETWORKS[self.network].title

    @property
    def learnt(self) -> float:
        """The longest lag that it learnt, as the median over the seeds."""
        return median(trial.learnt for trial in self.trials)

    def flows(self, when: Literal["before", "after"]) -> list[Flow]:
        """The flow of each seed before or after learning, without the seeds that have none."""
        flows = [trial.before if when == "before" else trial.after for trial in self.trials]
        return [flow for flow in flows if flow is not None]

    def half_life(self) -> float | None:
        """Steps until half of the state is left before learning, the median over the seeds."""
        half_lives = [flow.half_life for flow in self.flows("before")]
        return median(half_lives) if half_lives else None

    def left(self, when: Literal["before", "after"]) -> list[float]:
        """The share of the state that is left by lag, the median over the seeds; or empty."""
        curves = [flow.left for flow in self.flows(when)]
        return [median(values) for values in zip(*curves, strict=True)]

    def carried(self, when: Literal["before", "after"]) -> list[float]:
        """The share of that which came by the additive path, likewise."""
        curves = [flow.carried for flow in self.flows(when)]
        return [median(values) for values in zip(*curves, strict=True)]


@dataclass(frozen=True, slots=True)
class MemoryComparison:
    """The lags that each network learnt, and how its gradients fade."""

    rows: Sequence[NetworkRow]
    lags: Sequence[int]
    seeds: int
    units: int
    budget: Budget
    chance: float
    made_with: Mapping[str, str]

    def scores(self, row: NetworkRow, lag: int) -> list[float]:
        """A network's scores at a lag, one for each seed; chance for a lag that was not tried."""
        return scores_at(row.trials, lag, self.chance)

    def verdict(self) -> str:
        """The result in two sentences."""
        ranked = sorted(self.rows, key=lambda row: -row.learnt)
        far = "; ".join(f"{row.title}: {row.learnt:g}" for row in ranked)
        fading = "; ".join(
            f"{row.title}: {steps_text(half, MAX_LAG)}"
            for row in ranked
            if (half := row.half_life()) is not None
        )
        return (
            f"Longest lag learnt, in steps, of up to {self.lags[-1]}: {far}. "
            f"Steps until half of the state is left, before learning: {fading or 'none has one'}."
        )

    def headings(self) -> list[str]:
        """The headings of the table."""
        return [
            "network",
            "lag learnt",
            "each seed",
            "steps to half",
            "left at that lag",
            "by addition",
        ]

    def cells(self, row: NetworkRow) -> list[str]:
        """The cells of a row of the table, as texts."""
        each = " ".join(str(trial.learnt) for trial in row.trials)
        half, lag = row.half_life(), min(round(row.learnt), MAX_LAG)

        def percents(before: Sequence[float], after: Sequence[float]) -> str:
            if not (lag and before and after):
                return "–"
            return f"{_percent(before[lag])} → {_percent(after[lag])} %"

        return [
            row.title,
            f"{row.learnt:g}",
            each,
            "–" if half is None else steps_text(half, MAX_LAG),
            percents(row.left("before"), row.left("after")),
            percents(row.carried("before"), row.carried("after")),
        ]

    def caption(self) -> str:
        """The caption of the table."""
        return (
            f"Delayed recall of one of 8 symbols, lags {', '.join(map(str, self.lags))}; a lag is "
            f"learnt if at least {LEARNT:.0%} are right, chance is {self.chance:.1%}. "
            f"{self.units} units, {self.seeds} "
            f"{'seeds (medians)' if self.seeds > 1 else 'seed'}, at most "
            f"{self.budget.steps} steps of {self.budget.batch} sequences for each lag. "
            "Steps to half: steps until the gradient of the state with respect to an earlier "
            "state has halved, before learning. Left at that lag: its share at the longest lag "
            "learnt, before → after learning it. By addition: the share of that which came by "
            "the additive path."
        )

    def table(self) -> Table:
        """The table for a terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),  # so that it fits 80 columns
            caption=self.caption(),
            caption_justify="left",
        )
        for column, heading in enumerate(self.headings()):
            lines = heading.replace(" ", "\n", 1)
            table.add_column(lines, justify="right" if column else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*map(terminal_text, self.cells(row)))
        return table

    def to_json(self) -> str:
        """All numbers and the settings, as JSON."""
        return json.dumps(
            {
                "networks": {
                    row.network: [plain(asdict(trial)) for trial in row.trials] for row in self.rows
                },
                "lags": list(self.lags),
                "units": self.units,
                "budget": asdict(self.budget),
                "chance": self.chance,
                "made_with": dict(self.made_with),
            },
            indent=1,
        )


def _percent(share: float) -> str:
    """A share in percent, with two digits however small it is."""
    if math.isnan(share):
        return "–"
    return f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.2g}"
