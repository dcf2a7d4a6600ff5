"""The pages of the laboratory: the lesson's comparison, and a user's own model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.draw.chart import Axis, Line, chart
from gatewright.draw.elements import escape, figure, tag
from gatewright.draw.page import Section, legend, page, swatch, table
from gatewright.memory.trial import FOLLOWED
from gatewright.probes.lags import said as words

if TYPE_CHECKING:
    from gatewright.memory.comparison import MemoryComparison
    from gatewright.memory.examination import Examination

LEARNT = "Share of right answers by lag"
LEFT = "What is left of the state after k steps"
HISTORY = "Loss with the last k steps alone"
BACK = "Gradients by how far back (drawn through: inputs; dashed: state)"
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


def examination_page(found: Examination) -> str:
    """The page about a user's own model, as HTML."""
    panels = figure(
        history_chart(found),
        tag("b", HISTORY) + " · the network starts afresh k steps before it is asked",
    ) + figure(
        gradient_chart(found),
        tag("b", BACK) + " · of the loss at the inputs, and of each layer's state",
    )
    said = tag("ul", "".join(tag("li", escape(one)) for one in found.advice))
    tables = table(
        ["input", "share of the gradient", "read on average, steps back"],
        [[escape(c.name), f"{c.share:.0%}", f"{c.lag:.1f}"] for c in found.channels],
        "The size of the loss's gradient at each input, and the mean of its lag.",
        "inputs",
    )
    units = table(
        ["unit", "half-life", "time constant"],
        [
            [
                escape(f"{layer.name}, {state} {unit}"),
                words(half, len(layer.left) - 1),
                f"{own:.1f}",
            ]
            for layer in found.layers
            for state, unit, half, own in layer.longest
        ],
        "Steps until half of what comes from a unit is left, by every path; and until 1/e is "
        "left of what it holds, by its own factor alone (0: it is rewritten at each step).",
        "units",
    )
    parts = [
        Section("pictures", "How far back it looks", tag("div", panels, class_="panels")),
        Section("advice", "What to change", said),
    ]
    if found.channels:
        parts.append(Section("inputs", "Which inputs are read from farthest back", tables))
    if found.layers:
        gates = table(
            ["gate", "shut (below 0.1)", "open (above 0.9)", "largest eigenvalue"],
            [
                [
                    escape(f"{layer.name}, {gate}"),
                    f"{shut:.0%}",
                    f"{opened:.0%}",
                    f"{layer.radius:.2f}",
                ]
                for layer in found.layers
                for gate, shut, opened in layer.gates or (("no gate", 0.0, 0.0),)
            ],
            "Share of units and steps at which a gate is shut or open, and the size of the "
            "largest eigenvalue of the step's Jacobian, as a mean over steps: below 1 what a "
            "step carries fades, above 1 it grows.",
            "gates",
        )
        parts.append(Section("units", "Which units keep longest", units + gates))
    return page(
        f"How far back {found.network} looks",
        "Gatewright · the memory of a model",
        f"{found.sequences} sequences of {found.data}, from the part that one learns from.",
        found.verdict(),
        parts,
        "gatewright",
    )


def history_chart(found: Examination) -> str:
    """The loss by how much history is seen."""
    points = list(zip(found.histories, found.losses, strict=True))
    top = max(found.losses) * 1.1 or 1.0
    marks = [(k, str(k)) for k in found.histories if k & (k - 1) == 0 or k == found.steps]
    x = Axis(0.9, max(found.steps * 1.1, 2.0), "k, steps of history", "log", marks)
    line = Line("loss", "n2", points, dots=True)
    full = [(found.losses[-1], "all history")]
    return chart([line], x, Axis(0.0, top, "loss"), HISTORY, levels=full)


def gradient_chart(found: Examination) -> str:
    """Gradients by lag: of the loss at the inputs, and what is left of each state."""
    most = max(found.gradient) or 1.0
    lines = [
        Line(
            "the loss at the inputs",
            "n2",
            [(k, value / most) for k, value in enumerate(found.gradient) if value > 0],
        )
    ]
    for layer in found.layers:
        points = [(k, value) for k, value in enumerate(layer.left) if value > 0]
        lines.append(Line(f"the state of {layer.name}", "n1", points, dashed=True))
    x = Axis(0, max(len(found.gradient) - 1, 1), "k, steps back")
    y = Axis(1e-4, 3.0, "left", "log", PERCENTS)
    return chart(lines, x, y, BACK, levels=[(0.01, "1 %")])


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
