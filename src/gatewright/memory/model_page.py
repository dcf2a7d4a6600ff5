"""The page about a trained model: how far back it looks, and with which inputs and units."""

from __future__ import annotations

from gatewright.draw.page.elements import escape, figure, tag
from gatewright.draw.page.page import Section, legend, page, table
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.memory.examination import Examination
from gatewright.memory.pictures import PERCENTS
from gatewright.memory.units import Units
from gatewright.probes.lags import steps_text

HISTORY = "Loss with only the last k steps"
BACK = "What is left of a gradient k steps back"
#: Smaller values are not drawn.
LOWEST = 1e-4
#: Line colours of the inputs, and of the states of the layers.
INPUTS, STATES = "n2", ("n1", "n3", "n4", "n5")
WORDS = {
    "loss": "The quantity that training made small; lower is better.",
    "gradient at the inputs": "How much the loss at the end changes with a small change of the "
    "input k steps back, as a share of the largest. Where it is near 0, the input has no "
    "influence, and nothing is learnt from it.",
    "gradient of the state": "How much the state at the end changes with a small change of the "
    "state k steps back, as a share of the value at k = 0.",
    "half-life of a unit": "Steps until half of its influence is left, by every path.",
    "time constant of a unit": "Steps until 1/e (37 %) of its value is left, only by the factor "
    "that multiplies it, such as the forget gate; 0 if it is rewritten at each step.",
    "shut, open": "The share of units and steps at which a gate lets less than a tenth through, "
    "or more than nine tenths.",
    "largest eigenvalue": "The largest absolute eigenvalue of the Jacobian of a step, as a mean "
    "over steps. Below 1 a small change of the state fades, above 1 it grows.",
}


def examination_page(examination: Examination) -> str:
    """The page as HTML."""
    names = [(INPUTS, "the loss's gradient at the inputs")]
    names += [
        (slot, f"dashed: the state{_of(layer, examination)}")
        for slot, layer in zip(_slots(examination), examination.layers, strict=True)
    ]
    panels = figure(
        history_chart(examination),
        tag("b", HISTORY) + " · the network starts from a fresh state k steps before the end",
    ) + figure(
        gradient_chart(examination),
        tag("b", BACK) + " · as a share of the largest; below 1 % counts as nothing",
    )
    sections = [
        Section(
            "pictures", "How far back it looks", legend(names) + tag("div", panels, class_="panels")
        ),
        Section(
            "advice",
            "What to change",
            tag("ul", "".join(tag("li", escape(sentence)) for sentence in examination.advice)),
        ),
    ]
    if examination.channels:
        sections.append(
            Section("inputs", "Inputs that are read farthest back", _inputs(examination))
        )
    if examination.layers:
        sections.append(Section("units", "Units with the longest memory", _units(examination)))
        sections.append(Section("gates", "How far its gates open", _gates(examination)))
    words = "".join(tag("dt", escape(term)) + tag("dd", escape(w)) for term, w in WORDS.items())
    sections.append(Section("words", "Glossary", tag("dl", words)))
    return page(
        f"How far back does it look? {examination.network} on {examination.data}",
        "Gatewright · the memory of a model",
        f"{examination.sequences} sequences of {examination.data}, from the training part, of up "
        f"to {examination.steps} steps.",
        examination.verdict(),
        sections,
        "gatewright memory MODEL DATA",
    )


def history_chart(examination: Examination) -> str:
    """The loss by the number of steps that the network sees."""
    points = list(zip(examination.histories, examination.losses, strict=True))
    top = max(examination.losses) * 1.1 or 1.0
    marks = [
        (k, str(k))
        for k in examination.histories
        # Powers of two that do not overlap with the label of the last one.
        if k == examination.steps or (k & (k - 1) == 0 and 1.3 * k < examination.steps)
    ]
    x = Axis(0.9, max(examination.steps * 1.1, 2.0), "k, steps of history", "log", marks)
    line = Line("loss", INPUTS, points, dots=True)
    full = [(examination.losses[-1], "all history")]
    return chart([line], x, Axis(0.0, top, "loss"), HISTORY, levels=full)


def gradient_chart(examination: Examination) -> str:
    """Gradients by lag: of the loss at the inputs, and of the state of each layer."""
    largest = max(examination.gradient) or 1.0
    gradient = [value / largest for value in examination.gradient]
    curves = [("the loss at the inputs", INPUTS, gradient)]
    for slot, layer in zip(_slots(examination), examination.layers, strict=True):
        curves.append((f"the state{_of(layer, examination)}", slot, list(layer.left)))
    # The chart ends where all curves have faded.
    last = max(k for *_, curve in curves for k, v in enumerate(curve) if k == 0 or v > LOWEST)
    lines = [
        Line(
            name,
            slot,
            [(k, value) for k, value in enumerate(curve[: last + 2]) if value > 0],
            dashed=slot != INPUTS,
        )
        for name, slot, curve in curves
    ]
    x = Axis(0, min(max(last + 1, 8), max(len(examination.gradient) - 1, 1)), "k, steps back")
    y = Axis(LOWEST, 3.0, "left", "log", PERCENTS)
    return chart(lines, x, y, BACK, levels=[(0.01, "1 %")])


def _slots(examination: Examination) -> list[str]:
    return [STATES[k % len(STATES)] for k in range(len(examination.layers))]


def _of(layer: Units, examination: Examination) -> str:
    """` of l0.forward`, if there are several layers or directions."""
    return f" of {layer.name}" if len(examination.layers) > 1 else ""


def _inputs(examination: Examination) -> str:
    return table(
        ["input", "share of the gradient", "read on average, steps back"],
        [[escape(c.name), f"{c.share:.0%}", f"{c.lag:.1f}"] for c in examination.channels],
        "The norm of the loss's gradient at each input, and the mean of its lag.",
        "inputs",
    )


def _units(examination: Examination) -> str:
    return table(
        ["unit", "half-life", "time constant"],
        [
            [
                escape(f"{state}, unit {unit}{_of(layer, examination)}"),
                steps_text(half, len(layer.left) - 1),
                f"{constant:.1f}",
            ]
            for layer in examination.layers
            for state, unit, half, constant in layer.longest
        ],
        "In steps: by every path, and only by the factor of the unit.",
        "units",
    )


def _gates(examination: Examination) -> str:
    return table(
        ["gate", "shut (below 0.1)", "open (above 0.9)", "largest eigenvalue"],
        [
            [
                escape(f"{gate}{_of(layer, examination)}"),
                "–" if shut is None else f"{shut:.0%}",
                "–" if open_ is None else f"{open_:.0%}",
                f"{layer.radius:.2f}",
            ]
            for layer in examination.layers
            for gate, shut, open_ in layer.gates or (("no gate", None, None),)
        ],
        "Share of units and steps; and the largest eigenvalue of the layer's step.",
        "gates",
    )
