"""One recording passing through a network: its gates over time, beside the cell's diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatewright.draw.page.elements import drawing, escape, short, tag
from gatewright.draw.page.page import Section
from gatewright.draw.plots.heatmap import HeatMap, heat_map, time_axis


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: what it does, its equation, and the values that take part in it."""

    title: str
    equation: str
    says: str
    maps: Sequence[HeatMap]


@dataclass(frozen=True, slots=True)
class Passage:
    """One recording on its way through one network."""

    heading: str
    about: str  # which recording, through which model
    diagram: str  # the cell's, as an SVG
    event: HeatMap | None  # the recording itself, where its events are values
    gates: Sequence[Gate]
    order: str  # how the units are ordered
    belief: Belief | None = None
    symbols: Sequence[str] = ()  # the recording itself, where its events are symbols
    step_names: Sequence[str] = ()  # such as times, for the axes

    @property
    def steps(self) -> int:
        """How long it is."""
        return len(self.gates[0].maps[0].values)


@dataclass(frozen=True, slots=True)
class Belief:
    """What the readout would say after each step."""

    shares: Sequence[Sequence[float]]  # [time][class]
    classes: Sequence[str]
    true: int  # position of the true class


def passage_section(passage: Passage) -> Section:
    """The section of the page."""
    steps = passage.steps
    slider = tag(
        "label",
        tag("span", "step " + tag("output", "–", class_="step") + f" of {steps}")
        + tag("input", "", type="range", min=1, max=steps, value=1),
        class_="slider",
    ).replace("></input>", ">")
    gates = "".join(_gate(gate) for gate in passage.gates)
    event = _event(passage)
    belief = "" if passage.belief is None else _asked(passage.belief, passage.step_names)
    words = tag(
        "div",
        tag(
            "p",
            "Time runs from left to right in every map, one row a unit; the units stand in the "
            f"same order everywhere: {escape(passage.order)}. Point at a map, or move the slider, "
            "to follow one step through all of them; the number is the mean over the units.",
        )
        + slider,
        class_="words",
    )
    markup = tag(
        "div",
        tag("div", passage.diagram, class_="diagram")
        + words
        + tag("div", event + gates + belief, class_="gates"),
        class_="beside",
    )
    return Section("passage", passage.heading, markup, said=passage.about, steps=steps)


def _event(passage: Passage) -> str:
    if passage.event is None:
        steps = "".join(
            tag("span", escape(_visible(symbol)), class_="symbol") for symbol in passage.symbols
        )
        shown, said = tag("div", steps, class_="symbols"), "What comes in: one symbol a step."
    else:
        shown = tag("div", heat_map(passage.event, rows="channels"), class_="maps")
        said = "What comes in: every channel of the recording, scaled as the network sees it."
    return tag("div", tag("div", tag("h3", "the event") + tag("p", said)) + shown, class_="gate")


def _visible(symbol: str) -> str:
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(symbol, symbol)


def _asked(belief: Belief, step_names: Sequence[str]) -> str:
    said = tag(
        "p",
        "The readout asked after every step, where it was trained to be asked after the "
        "last one alone: the probability of each class, the true one drawn bold.",
    )
    return tag(
        "div",
        tag("div", tag("h3", "what it would say") + said)
        + tag("div", _belief(belief, step_names), class_="maps"),
        class_="gate",
    )


def _gate(gate: Gate) -> str:
    words = (
        tag("h3", escape(gate.title))
        + tag("code", escape(gate.equation))
        + tag("p", escape(gate.says))
    )
    maps = "".join(heat_map(one) for one in gate.maps)
    return tag("div", tag("div", words) + tag("div", maps, class_="maps"), class_="gate")


def _belief(belief: Belief, step_names: Sequence[str]) -> str:
    """Probabilities by step, as lines over the same time axis as the maps."""
    steps, height = len(belief.shares), 60.0
    wide = 4.0 * steps
    lines = []
    for at, name in enumerate(belief.classes):
        # The middle of a step's column, as the cursor stands there too.
        points = " ".join(
            f"{short(4.0 * (step + 0.5))},{short(height * (1 - row[at]))}"
            for step, row in enumerate(belief.shares)
        )
        kind = "true" if at == belief.true else "other"
        lines.append(
            tag(
                "polyline",
                tag("title", f"class {escape(name)}"),
                points=points,
                class_=kind,
                vector_effect="non-scaling-stroke",
            )
        )
    lines.sort(key=lambda line: 'class="true"' in line)  # the true one on top
    svg = drawing(
        "".join(lines),
        width=wide,
        height=height,
        title="probability of each class after each step",
    ).replace("<svg ", '<svg preserveAspectRatio="none" ', 1)
    values = " ".join(f"{row[belief.true]:.2f}" for row in belief.shares)
    head = tag("b", "belief") + tag(
        "span", f"in class {escape(belief.classes[belief.true])}, the true one"
    )
    return tag(
        "figure",
        tag("figcaption", head)
        + tag("div", svg + tag("div", "", class_="cursor"), class_="cells lines", data_steps=steps)
        + time_axis(steps, step_names)
        + tag(
            "div", "0" + tag("i", "", class_="ramp-line") + "1" + tag("output", ""), class_="scale"
        ),
        class_="map",
        data_means=values,
    )
