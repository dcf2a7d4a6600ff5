"""A recording on its way through a network: the gates over time, next to the cell's diagram."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatewright.draw.page.elements import drawing, escape, short, tag
from gatewright.draw.page.page import Section
from gatewright.draw.plots.heatmap import HeatMap, heat_map, time_axis


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate: its meaning, its equation, and maps of its values."""

    title: str
    equation: str
    meaning: str
    maps: Sequence[HeatMap]


@dataclass(frozen=True, slots=True)
class Passage:
    """A recording on its way through a network."""

    heading: str
    about: str  # the recording and the model
    diagram: str  # of the cell, as an SVG
    event: HeatMap | None  # the recording, if its events are values
    gates: Sequence[Gate]
    order: str  # the order of the units, in words
    belief: Belief | None = None
    symbols: Sequence[str] = ()  # the recording, if its events are symbols
    step_names: Sequence[str] = ()  # such as times, for the axes

    @property
    def steps(self) -> int:
        """The length of the recording."""
        return len(self.gates[0].maps[0].values)


@dataclass(frozen=True, slots=True)
class Belief:
    """The probabilities that the readout computes after each step."""

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
    belief = "" if passage.belief is None else _beliefs(passage.belief, passage.step_names)
    words = tag(
        "div",
        tag(
            "p",
            "In every map time runs from left to right, and each row is a unit; the units have the "
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
    )
    return Section("passage", passage.heading, markup, lead=passage.about, steps=steps)


def _event(passage: Passage) -> str:
    if passage.event is None:
        steps = "".join(
            tag("span", escape(_visible(symbol)), class_="symbol") for symbol in passage.symbols
        )
        content, words = tag("div", steps, class_="symbols"), "The input: one symbol at each step."
    else:
        content = tag("div", heat_map(passage.event, rows="channels"), class_="maps")
        words = "The input: every channel of the recording, scaled as the network reads it."
    return tag("div", tag("div", tag("h3", "the event") + tag("p", words)) + content, class_="gate")


def _visible(symbol: str) -> str:
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(symbol, symbol)


def _beliefs(belief: Belief, step_names: Sequence[str]) -> str:
    words = tag(
        "p",
        "The probability of each class after every step, the true class in bold. The readout "
        "was trained only on the last step.",
    )
    return tag(
        "div",
        tag("div", tag("h3", "belief after each step") + words)
        + tag("div", _belief(belief, step_names), class_="maps"),
        class_="gate",
    )


def _gate(gate: Gate) -> str:
    words = (
        tag("h3", escape(gate.title))
        + tag("code", escape(gate.equation))
        + tag("p", escape(gate.meaning))
    )
    maps = "".join(map(heat_map, gate.maps))
    return tag("div", tag("div", words) + tag("div", maps, class_="maps"), class_="gate")


def _belief(belief: Belief, step_names: Sequence[str]) -> str:
    """Probabilities by step as lines, over the same time axis as the maps."""
    steps, height = len(belief.shares), 60.0
    width = 4.0 * steps
    lines = []
    for index, name in enumerate(belief.classes):
        # The middle of a step's column, where the cursor is too.
        points = " ".join(
            f"{short(4.0 * (step + 0.5))},{short(height * (1 - row[index]))}"
            for step, row in enumerate(belief.shares)
        )
        kind = "true" if index == belief.true else "other"
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
        width=width,
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
