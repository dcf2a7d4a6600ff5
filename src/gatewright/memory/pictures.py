"""The page of the lesson's comparison, and its two pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.draw.page.elements import escape, figure, tag
from gatewright.draw.page.page import Section, legend, page, swatch, table
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.memory.trial import FOLLOWED

if TYPE_CHECKING:
    from gatewright.memory.comparison import MemoryComparison

LEARNT = "Share of right answers by lag"
LEFT = "What is left of the state after k steps"
PERCENTS = [(1.0, "100 %"), (0.1, "10 %"), (0.01, "1 %"), (1e-3, "0.1 %")]


def comparison_page(found: MemoryComparison) -> str:
    """The whole page, as HTML."""
    names = legend((f"n{at}", row.title) for at, row in enumerate(found.rows))
    panels = figure(
        recall_chart(found),
        tag("b", LEARNT)
        + " · each lag learnt afresh; a line is the median of the seeds, the band reaches "
        "from the worst to the best",
    ) + figure(
        left_chart(found),
        tag("b", LEFT)
        + " · norm of its gradient; dashed as the network starts, drawn through after "
        "learning its longest lag",
    )
    rows = [
        [swatch(f"n{at}") + escape(title), *(escape(one) for one in others)]
        for at, (title, *others) in enumerate(found.cells(row) for row in found.rows)
    ]
    made = ", ".join(f"{name} {value}" for name, value in found.made_with.items())
    return page(
        "How far back does a network remember?",
        "Gatewright · the memory laboratory",
        "A symbol is shown once and asked for later. A network answers if it has kept it, and "
        "can learn to keep it only as far as its gradients reach.",
        found.verdict(),
        [
            Section(
                "pictures",
                "What they learnt, and why",
                names + tag("div", panels, class_="panels"),
            ),
            Section(
                "table", "In numbers", table(found.headings(), rows, found.caption(), "result")
            ),
            Section("method", "How it was measured", _method(found)),
        ],
        made,
    )


def recall_chart(found: MemoryComparison) -> str:
    """Score by lag, one line a network."""
    lines = []
    for at, row in enumerate(found.rows):
        scores = {lag: sorted(found.scores(row, lag)) for lag in found.lags}
        lines.append(
            Line(
                row.title,
                f"n{at}",
                [(lag, each[len(each) // 2]) for lag, each in scores.items()],
                dots=True,
                band=[(lag, each[0], each[-1]) for lag, each in scores.items()],
            )
        )
    first, last = found.lags[0], found.lags[-1]
    x = Axis(
        first * 0.9,
        last * 1.1 if last > first else first * 2,
        "lag in steps",
        "log",
        [(lag, str(lag)) for lag in found.lags],
    )
    y = Axis(0.0, 1.0, "right", marks=[(at / 5, f"{20 * at} %") for at in range(6)])
    return chart(lines, x, y, LEARNT, levels=[(found.chance, "chance")])


def left_chart(found: MemoryComparison) -> str:
    """What is left of the state by lag, before and after learning."""
    lines = []
    for at, row in enumerate(found.rows):
        for left, when in ((row.left("before"), "at the start"), (row.left("after"), "learnt")):
            points = [(k, value) for k, value in enumerate(left) if value > 0]
            if points:
                name = f"{row.title}, {when}"
                lines.append(Line(name, f"n{at}", points, dashed=when != "learnt"))
    y = Axis(1e-4, 3.0, "left", "log", PERCENTS)
    return chart(lines, Axis(0, FOLLOWED, "k, steps back"), y, LEFT, levels=[(0.01, "1 %")])


def _method(found: MemoryComparison) -> str:
    budget = found.budget
    items = {
        "the task": "Delayed recall: one of 8 symbols at the first step, blank steps, and a "
        "question (Bengio, Simard and Frasconi 1994).",
        "learning": f"Adam at {budget.rate:g}, gradients cut to a norm of {budget.clip:g}, "
        f"{budget.batch} fresh sequences a step, at most {budget.steps} steps; the weights that "
        f"do best on {budget.held} sequences are tested on {budget.held} others. A lag that two "
        "shorter ones in a row were not learnt before is not tried, and counts as chance.",
        "what is left": "The norm of the Jacobian of all states with respect to all states k "
        "steps before, along a real run with blank inputs, divided by that of the identity.",
        "by addition": "The share that came by the additive path: at each step the state times "
        "the factor that it is kept with (the forget gate's, the GRU's z), and through no gate.",
        "the window": "A feed-forward layer on the last 10 steps: it has no state, so nothing "
        "of it fades, and nothing beyond 9 steps back is there.",
    }
    return tag(
        "dl",
        "".join(
            tag("dt", escape(name)) + tag("dd", escape(about)) for name, about in items.items()
        ),
    )
