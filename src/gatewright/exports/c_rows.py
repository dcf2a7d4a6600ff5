"""The stages of a network in C, for an event of a stream or for a vector.

A stage reads the row `source` and writes the row `target`; both are expressions of C.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gatewright.exports.c_text import indented, number, over
from gatewright.exports.program import StepProgram
from gatewright.exports.stages import (
    Differences,
    Embedding,
    ForecastWindow,
    Linear,
    Part,
    Pointwise,
    Quantiles,
    RecurrentLayers,
    Scale,
    Softmax,
    Stage,
    Summary,
    Window,
)


def row(stage: Stage, source: str, target: str, further: Sequence[str]) -> Iterator[str]:
    """The lines of a stage that reads the row `source` and writes the row `target`."""
    name, size = stage.name, stage.output_size
    match stage:
        case Scale():
            values = source
            if stage.transforms:
                yield f"float raw[{size}];"
                yield from over(size, f"raw[k] = {source}[k];")
                values = "raw"
            for channel, transform, lowest in stage.transforms:
                function = "gw_log" if transform == "log" else "sqrtf"
                bounded = f"gw_maximum(raw[{channel}], {number(lowest)})"
                yield f"raw[{channel}] = {function}({bounded});"
            scaled = f"({values}[k] - {name}_mean[k]) / {name}_scale[k]"
            yield from over(size, f"{target}[k] = {scaled};")
        case Embedding():
            start = f"(size_t){source} * {size} + (size_t)k"
            yield from over(size, f"{target}[k] = {name}_weight[{start}];")
        case Linear():
            yield f"gw_product({target}, {name}_weight, {source}, {size}, {stage.input_size});"
            yield from over(size, f"{target}[k] += {name}_bias[k];")
        case Pointwise():
            yield from over(size, f"{target}[k] = gw_{stage.function}({source}[k]);")
        case Softmax():
            yield f"gw_softmax({target}, {source}, {size});"
        case Quantiles():
            yield from _quantiles(stage, source, target)
        case Differences():
            yield from _differences(stage, source, target)
        case Window():
            yield from _window(stage, source, target)
        case RecurrentLayers():
            yield from _step(stage, source, target, further)
        case Summary():
            yield from _running_summary(stage, source, target)
        case ForecastWindow():
            yield from _forecast_step(stage, source, target, further)
        case _:
            raise AssertionError(stage)  # `why_not_stream` excluded it


def _differences(stage: Differences, source: str, target: str) -> Iterator[str]:
    last, size = f"state->{stage.name}_last", stage.input_size
    yield from over(
        size,
        f"{target}[k] = {source}[k];",
        f"{target}[{size} + k] = state->steps > 1 ? {source}[k] - {last}[k] : 0.0f;",
        f"{last}[k] = {source}[k];",
    )


def _window(stage: Window, source: str, target: str) -> Iterator[str]:
    past, size = f"state->{stage.name}_past", stage.input_size
    older = stage.before * size
    if older:
        if stage.repeats:
            yield "if (state->steps == 1) {"
            yield from indented(over(older, f"{past}[k] = {source}[k % {size}];"))
            yield "}"
        yield from over(older, f"{target}[k] = {past}[k];")
    yield from over(size, f"{target}[{older} + k] = {source}[k];")
    if older:
        yield from over(older, f"{past}[k] = {target}[{size} + k];")


def _step(
    stage: RecurrentLayers, source: str, target: str, further: Sequence[str]
) -> Iterator[str]:
    row = source
    programs = stage.programs
    for position, program in enumerate(programs):
        own = target
        if position < len(programs) - 1:
            own = f"{program.prefix}after"
            yield f"float {own}[{program.output_size}];"
        states = [f"state->{state.name}" for state in program.states.values()]
        yield call(program, states, row, further, own)
        row = own
    if stage.joins_input:
        size = programs[-1].output_size
        yield from over(stage.input_size, f"{target}[{size} + k] = {source}[k];")


def call(
    program: StepProgram, states: Sequence[str], x: str, further: Sequence[str], y: str
) -> str:
    """The call of a layer's step with expressions of its states, inputs and output."""
    return f"{program.prefix}advance({', '.join([*states, x, *further, y])});"


def _running_summary(stage: Summary, source: str, target: str) -> Iterator[str]:
    """The summaries of the events so far."""
    start = 0
    for position, part in enumerate(stage.parts):
        own, place = f"state->{stage.part_name(position)}", f"{target}[{start} + k]"
        value = f"{source}[{part.start} + k]"
        if part.kind == "last":
            yield from over(part.size, f"{place} = {value};")
        elif part.kind == "attention":
            yield from _running_attention(stage, part, own, source, f"{target} + {start}")
        else:
            if part.kind == "max":
                update = f"{own}[k] = gw_maximum({own}[k], {value});"
            else:
                if part.kind == "share":
                    threshold = f"{stage.name}_thresholds[{stage.first_threshold(position)} + k]"
                    value = f"({value} > {threshold} ? 1.0f : 0.0f)"
                update = f"{own}[k] += ({value} - {own}[k]) / (float)state->steps;"
            yield from over(part.size, update, f"{place} = {own}[k];")
        start += part.size


def _running_attention(
    stage: Summary, part: Part, own: str, source: str, target: str
) -> Iterator[str]:
    """The mean of all events so far, weighted by the softmax of their scores."""
    yield "{"
    yield f"    const float score = {score(stage, part, source)};"
    yield f"    const float largest = gw_maximum({own}_largest[0], score);"
    yield f"    const float shrink = gw_exp({own}_largest[0] - largest);"
    yield "    const float weight = gw_exp(score - largest);"
    yield f"    float *const attended = {target};"
    yield f"    {own}_largest[0] = largest;"
    yield f"    {own}_total[0] = {own}_total[0] * shrink + weight;"
    value = f"{own}[k] * shrink + weight * {source}[{part.start} + k]"
    lines = over(part.size, f"{own}[k] = {value};", f"attended[k] = {own}[k] / {own}_total[0];")
    yield from indented(lines)
    yield "}"


def score(stage: Summary, part: Part, source: str) -> str:
    """The score of a step that lies in the row `source`, which attention weighs it by."""
    name = stage.name
    arrays = f"{name}_weight, {name}_bias, {name}_vector"
    return f"{name}score({source} + {part.start}, {arrays})"


def score_function(stage: Summary) -> Iterator[str]:
    """The function of a step's score, which an attention turns into weights."""
    assert stage.vector is not None
    size = stage.vector.size
    yield f"static float {stage.name}score(const float *x, const float *weight,"
    yield "        const float *bias, const float *vector)"
    yield "{"
    yield f"    float hidden[{size}], total = 0.0f;"
    yield f"    gw_product(hidden, weight, x, {size}, {size});"
    yield from indented(over(size, "hidden[k] = gw_tanh(hidden[k] + bias[k]) * vector[k];"))
    yield from indented(over(size, "total += hidden[k];"))
    yield "    return total;"
    yield "}"


def _quantiles(stage: Quantiles, source: str, target: str) -> Iterator[str]:
    horizon, targets = stage.widening.shape
    levels = stage.input_size // (horizon * targets)
    name = stage.name
    yield from over(
        horizon * targets,
        f"const float middle = {source}[row * {levels} + {stage.median}];",
        f"const int target = row % {targets};",
        *over(
            levels,
            f"const float wide = ({source}[row * {levels} + k] - middle) * {name}_widening[row];",
            f"{target}[row * {levels} + k] = (middle + wide) * {name}_scale[target] + "
            f"{name}_mean[target];",
        ),
        index="row",
    )
    changes = zip(stage.transforms, stage.floor, stage.rounds, strict=True)
    for position, (transform, floor, rounds) in enumerate(changes):
        lines = []
        if transform == "log":
            lines.append("*value = gw_exp(*value);")
        elif transform == "root":
            lines.append("*value = gw_maximum(*value, 0.0f) * gw_maximum(*value, 0.0f);")
        if floor is not None:
            lines.append(f"*value = gw_maximum(*value, {number(floor)});")
        if rounds:
            lines.append("*value = floorf(*value + 0.5f);")
        if lines:
            place = f"(h * {targets} + {position}) * {levels} + k"
            inner = over(levels, f"float *const value = {target} + {place};", *lines)
            yield from over(horizon, *inner, index="h")


def _forecast_step(
    stage: ForecastWindow, source: str, target: str, further: Sequence[str]
) -> Iterator[str]:
    window, size = f"state->{stage.name}_window", stage.input_size
    older = (stage.steps - 1) * size
    if older:
        yield from over(older, f"{window}[k] = {window}[k + {size}];")
    yield from over(size, f"{window}[{older} + k] = {source}[k];")
    yield f"if (state->steps < {stage.steps}) {{"
    yield from indented(over(stage.output_size, f"{target}[k] = NAN;"))
    yield "} else {"
    arguments = ", ".join([window, *further, "state->workspace", target])
    yield f"    {stage.name}_answer({arguments});"
    yield "}"
