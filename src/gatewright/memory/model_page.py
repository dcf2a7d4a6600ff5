"""The page about a user's own model: how far back it looks, and with what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.draw.page.elements import escape, figure, tag
from gatewright.draw.page.page import Section, legend, page, table
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.memory.pictures import PERCENTS
from gatewright.probes.lags import said

if TYPE_CHECKING:
    from gatewright.memory.examination import Examination
    from gatewright.memory.units import Units

HISTORY = "Loss with the last k steps alone"
BACK = "What is left of a gradient k steps back"
#: What is less than this is not drawn.
LOWEST = 1e-4
#: Line colours: of what the network reads, and of its layers' states.
INPUTS, STATES = "n2", ("n1", "n3", "n4", "n5")
WORDS = {
    "loss": "What the network was trained to make small; the lower, the better.",
    "gradient at the inputs": "How much the loss at the end would change with a small change of "
    "what was read k steps back, as a share of the greatest. Where it is near 0, nobody could "
    "tell what was read there, and nothing is learnt from it.",
    "gradient of the state": "How much the state at the end would change with a small change of "
    "the state k steps back, as a share of that at k = 0.",
    "half-life of a unit": "Steps until half of what comes from it is left, by every path.",
    "time constant of a unit": "Steps until 1/e (37 %) is left of what it holds, by the factor "
    "that it is kept with alone, the forget gate's say; 0: it is rewritten at each step.",
    "shut, open": "The share of units and steps at which a gate lets less than a tenth through, "
    "and more than nine tenths.",
    "largest eigenvalue": "Of the Jacobian of a step, in size, as a mean over steps: how much a "
    "step at most stretches a small change of the state. Below 1 it fades, above 1 it grows.",
}


def examination_page(found: Examination) -> str:
    """The whole page, as HTML."""
    names = [(INPUTS, "the loss's gradient at the inputs")]
    names += [
        (slot, f"dashed: the state{_of(layer, found)}")
        for slot, layer in zip(_slots(found), found.layers, strict=True)
    ]
    panels = figure(
        history_chart(found),
        tag("b", HISTORY) + " · the network starts afresh k steps before it is asked",
    ) + figure(
        gradient_chart(found),
        tag("b", BACK) + " · as a share of the greatest; below 1 % counts as nothing",
    )
    sections = [
        Section(
            "pictures", "How far back it looks", legend(names) + tag("div", panels, class_="panels")
        ),
        Section(
            "advice",
            "What to change",
            tag("ul", "".join(tag("li", escape(one)) for one in found.advice)),
        ),
    ]
    if found.channels:
        sections.append(Section("inputs", "Which inputs are read from farthest back", _in(found)))
    if found.layers:
        sections.append(Section("units", "Which units keep longest", _units(found)))
        sections.append(Section("gates", "How far its gates open", _gates(found)))
    words = "".join(tag("dt", escape(name)) + tag("dd", escape(one)) for name, one in WORDS.items())
    sections.append(Section("words", "What the words mean", tag("dl", words)))
    return page(
        f"How far back does it look? {found.network} on {found.data}",
        "Gatewright · the memory of a model",
        f"{found.sequences} sequences of {found.data}, from the part that one learns from, of up "
        f"to {found.steps} steps.",
        found.verdict(),
        sections,
        "gatewright memory MODEL DATA",
    )


def history_chart(found: Examination) -> str:
    """The loss by how much history is seen."""
    points = list(zip(found.histories, found.losses, strict=True))
    top = max(found.losses) * 1.1 or 1.0
    marks = [
        (k, str(k))
        for k in found.histories
        # The last one is said, and with it no other that it would run into.
        if k == found.steps or (k & (k - 1) == 0 and 1.3 * k < found.steps)
    ]
    x = Axis(0.9, max(found.steps * 1.1, 2.0), "k, steps of history", "log", marks)
    line = Line("loss", INPUTS, points, dots=True)
    full = [(found.losses[-1], "all history")]
    return chart([line], x, Axis(0.0, top, "loss"), HISTORY, levels=full)


def gradient_chart(found: Examination) -> str:
    """Gradients by lag: of the loss at the inputs, and what is left of each state."""
    most = max(found.gradient) or 1.0
    curves = [("the loss at the inputs", INPUTS, [one / most for one in found.gradient])]
    for slot, layer in zip(_slots(found), found.layers, strict=True):
        curves.append((f"the state{_of(layer, found)}", slot, list(layer.left)))
    # Where all of them have faded there is nothing more to see.
    last = max(k for _, _, curve in curves for k, one in enumerate(curve) if k == 0 or one > LOWEST)
    lines = [
        Line(
            name,
            slot,
            [(k, one) for k, one in enumerate(curve[: last + 2]) if one > 0],
            dashed=slot != INPUTS,
        )
        for name, slot, curve in curves
    ]
    x = Axis(0, min(max(last + 1, 8), max(len(found.gradient) - 1, 1)), "k, steps back")
    y = Axis(LOWEST, 3.0, "left", "log", PERCENTS)
    return chart(lines, x, y, BACK, levels=[(0.01, "1 %")])


def _slots(found: Examination) -> list[str]:
    return [STATES[at % len(STATES)] for at in range(len(found.layers))]


def _of(layer: Units, found: Examination) -> str:
    """Which layer, where there are several."""
    return f" of {layer.name}" if len(found.layers) > 1 else ""


def _in(found: Examination) -> str:
    return table(
        ["input", "share of the gradient", "read on average, steps back"],
        [[escape(one.name), f"{one.share:.0%}", f"{one.lag:.1f}"] for one in found.channels],
        "The size of the loss's gradient at each input, and the mean of its lag.",
        "inputs",
    )


def _units(found: Examination) -> str:
    return table(
        ["unit", "half-life", "time constant"],
        [
            [
                escape(f"{state}, unit {unit}{_of(layer, found)}"),
                said(half, len(layer.left) - 1),
                f"{own:.1f}",
            ]
            for layer in found.layers
            for state, unit, half, own in layer.longest
        ],
        "In steps: by every path, and by the unit's own factor alone.",
        "units",
    )


def _gates(found: Examination) -> str:
    return table(
        ["gate", "shut (below 0.1)", "open (above 0.9)", "largest eigenvalue"],
        [
            [
                escape(f"{gate}{_of(layer, found)}"),
                "–" if shut is None else f"{shut:.0%}",
                "–" if opened is None else f"{opened:.0%}",
                f"{layer.radius:.2f}",
            ]
            for layer in found.layers
            for gate, shut, opened in layer.gates or (("no gate", None, None),)
        ],
        "Share of units and steps; and the largest eigenvalue of the layer's step.",
        "gates",
    )
