"""The page of the lesson's comparison, with its two charts."""

from __future__ import annotations

from gatewright.draw.page.elements import escape, figure, tag
from gatewright.draw.page.page import Section, legend, page, swatch, table
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.memory.climb import MAX_LAG
from gatewright.memory.comparison import MemoryComparison

LEARNT = "Share of right answers by lag"
LEFT = "What is left of the state after k steps"
PERCENTS = [(1.0, "100 %"), (0.1, "10 %"), (0.01, "1 %"), (1e-3, "0.1 %")]


def comparison_page(comparison: MemoryComparison) -> str:
    """The page as HTML."""
    names = legend((f"n{slot}", row.title) for slot, row in enumerate(comparison.rows))
    panels = figure(
        recall_chart(comparison),
        tag("b", LEARNT)
        + " · each lag is learnt from a fresh start; a line is the median of the seeds, the band "
        "extends from the worst to the best",
    ) + figure(
        left_chart(comparison),
        tag("b", LEFT)
        + " · norm of its gradient; dashed before learning, solid after learning its longest lag",
    )
    rows = [
        [swatch(f"n{slot}") + escape(title), *map(escape, numbers)]
        for slot, (title, *numbers) in enumerate(map(comparison.cells, comparison.rows))
    ]
    versions = ", ".join(f"{name} {value}" for name, value in comparison.made_with.items())
    return page(
        "How far back does a network remember?",
        "Gatewright · the memory laboratory",
        "A symbol is shown once and asked for later. A network can answer only if it has kept "
        "the symbol, and it learns to keep it only as far back as its gradients reach.",
        comparison.verdict(),
        [
            Section(
                "pictures",
                "Lags learnt, and why",
                names + tag("div", panels, class_="panels"),
            ),
            Section(
                "table",
                "In numbers",
                table(comparison.headings(), rows, comparison.caption(), "result"),
            ),
            Section("method", "How it was measured", _method(comparison)),
        ],
        versions,
    )


def recall_chart(comparison: MemoryComparison) -> str:
    """The score by lag, a line for each network."""
    lines = []
    for slot, row in enumerate(comparison.rows):
        scores = {lag: sorted(comparison.scores(row, lag)) for lag in comparison.lags}
        lines.append(
            Line(
                row.title,
                f"n{slot}",
                [(lag, each[len(each) // 2]) for lag, each in scores.items()],
                dots=True,
                band=[(lag, each[0], each[-1]) for lag, each in scores.items()],
            )
        )
    first, last = comparison.lags[0], comparison.lags[-1]
    x = Axis(
        first * 0.9,
        last * 1.1 if last > first else first * 2,
        "lag in steps",
        "log",
        [(lag, str(lag)) for lag in comparison.lags],
    )
    y = Axis(0.0, 1.0, "right", marks=[(k / 5, f"{20 * k} %") for k in range(6)])
    return chart(lines, x, y, LEARNT, levels=[(comparison.chance, "chance")])


def left_chart(comparison: MemoryComparison) -> str:
    """The share of the state that is left by lag, before and after learning."""
    lines = []
    for slot, row in enumerate(comparison.rows):
        for left, when in ((row.left("before"), "before"), (row.left("after"), "after")):
            points = [(k, value) for k, value in enumerate(left) if value > 0]
            if points:
                name = f"{row.title}, {when} learning"
                lines.append(Line(name, f"n{slot}", points, dashed=when == "before"))
    y = Axis(1e-4, 3.0, "left", "log", PERCENTS)
    return chart(lines, Axis(0, MAX_LAG, "k, steps back"), y, LEFT, levels=[(0.01, "1 %")])


def _method(comparison: MemoryComparison) -> str:
    budget = comparison.budget
    items = {
        "the task": "Delayed recall: one of 8 symbols at the first step, then blank steps, then "
        "the question which it was (Bengio, Simard and Frasconi 1994).",
        "learning": f"Adam with rate {budget.rate:g}, gradients clipped to a norm of "
        f"{budget.clip:g}, {budget.batch} new sequences for each step, at most {budget.steps} "
        f"steps. The weights that do best on {budget.held} sequences are tested on {budget.held} "
        "others. After two lags in a row that were not learnt, longer lags are not tried and "
        "count as chance.",
        "what is left": "The norm of the Jacobian of all states with respect to all states k "
        "steps earlier, along a real run with blank inputs, divided by the norm of the identity.",
        "by addition": "The share that came by the additive path: at each step only through the "
        "factor that multiplies the state (the forget gate, the GRU's z), and through no gate.",
        "the window": "A feed-forward layer on the last 10 steps. It has no state, so nothing "
        "fades, and it sees nothing more than 9 steps back.",
    }
    return tag(
        "dl",
        "".join(tag("dt", escape(term)) + tag("dd", escape(text)) for term, text in items.items()),
    )
