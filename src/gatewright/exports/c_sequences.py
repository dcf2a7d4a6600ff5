"""The stages of a network in C, over the steps of a whole sequence.

The rows of the steps lie one after another in buffers of the workspace, which belongs to the
caller; `a` is the buffer that is read next.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from gatewright.exports.c_rows import call, row, score
from gatewright.exports.c_text import indented, number, over, start_lines
from gatewright.exports.program import StepProgram
from gatewright.exports.stages import (
    Differences,
    Embedding,
    ForecastWindow,
    Part,
    RecurrentLayers,
    Segments,
    SequenceScale,
    Stage,
    Summary,
    Window,
)


def sequence(
    chain: Sequence[Stage], source: str, steps: str, target: str, further: Sequence[str]
) -> Iterator[str]:
    """The lines of a chain over the steps of a sequence.

    Args:
        source: The rows of the sequence.
        steps: The number of steps, an expression.
        target: The row of the answer, or the rows of the answers at each step.
    """
    a, has_steps, position = source, True, 0
    last = len(chain) - 1
    while position <= last:
        stage = chain[position]
        follower = chain[position + 1] if isinstance(stage, Window) else None
        is_last = position + (follower is not None) == last
        if stage.ends_steps or not has_steps:
            into = target if is_last else f"{stage.name}_row"
            if not is_last:
                yield f"float {into}[{stage.output_size}];"
            if isinstance(stage, Summary):
                yield from _summary(stage, a, steps, into)
            elif isinstance(stage, ForecastWindow):
                window = f"{a} + (size_t)({steps} - {stage.steps}) * {stage.input_size}"
                free = f"workspace + (size_t){steps} * {workspace_width(chain)}"
                yield f"{stage.name}_answer({', '.join([window, *further, free, into])});"
            else:
                yield from row(stage, a, into, further)
            a, has_steps = into, False
        elif isinstance(stage, RecurrentLayers):
            a = yield from _layers(stage, a, steps, target if is_last else None, further)
        else:
            b = target if is_last else ("buffer1" if a == "buffer0" else "buffer0")
            if isinstance(stage, Segments):
                count = f"{stage.name}_count"
                yield from _segments(stage, a, steps, b, count)
                steps = count
            elif isinstance(stage, SequenceScale):
                yield from _sequence_scale(stage, a, steps, b)
            else:
                yield from _each(stage, follower, a, steps, b, further)
            a = b
        position += 1 if follower is None else 2


def _each(
    stage: Stage, follower: Stage | None, a: str, steps: str, b: str, further: Sequence[str]
) -> Iterator[str]:
    """A stage that works on every step in the same way, or knows its neighbours.

    Args:
        follower: Of a window the stage after it, which reads the window at once.
    """
    result = stage if follower is None else follower
    lines = [f"float *const out = {b} + (size_t)t * {result.output_size};"]
    source = f"{a}[t]"
    if not isinstance(stage, Embedding):
        source = "in"
        lines.append(f"const float *const in = {a} + (size_t)t * {stage.input_size};")
    if isinstance(stage, Window):
        size, count = stage.input_size, len(stage.offsets)
        offsets = ", ".join(map(str, stage.offsets))
        lines += [
            f"static const int offsets[{count}] = {{{offsets}}};",
            f"float window[{stage.output_size}];",
            f"for (int n = 0; n < {count}; n++) {{",
            "    int from = t + offsets[n];",
        ]
        value = f"in[(from - t) * {size} + k]"
        if stage.repeats:
            lines.append(f"    from = from < 0 ? 0 : (from < {steps} ? from : {steps} - 1);")
        else:
            value = f"from < 0 || from >= {steps} ? 0.0f : {value}"
        lines += indented(over(size, f"window[n * {size} + k] = {value};"))
        lines.append("}")
        lines += row(result, "window", "out", further)
    elif isinstance(stage, Differences):
        size = stage.input_size
        lines += over(
            size,
            "out[k] = in[k];",
            f"out[{size} + k] = t > 0 ? in[k] - in[k - {size}] : 0.0f;",
        )
    else:
        lines += row(stage, source, "out", further)
    yield from over(steps, *lines, index="t")


def _segments(stage: Segments, a: str, steps: str, b: str, count: str) -> Iterator[str]:
    size, joined = stage.input_size, stage.steps
    yield f"const int {count} = ({steps} + {joined - 1}) / {joined};"
    yield from over(
        f"{count} * {joined}",
        f"const int from = t - ({count} * {joined} - {steps});",
        f"float *const out = {b} + (size_t)t * {size};",
        *over(size, f"out[k] = from < 0 ? 0.0f : {a}[(size_t)from * {size} + (size_t)k];"),
        index="t",
    )


def _sequence_scale(stage: SequenceScale, a: str, steps: str, b: str) -> Iterator[str]:
    size = stage.input_size
    place = f"[(size_t)t * {size} + (size_t)k]"
    yield from over(
        size,
        "float mean = 0.0f, square = 0.0f;",
        *over(steps, f"mean += {a}{place};", index="t"),
        f"mean /= (float){steps};",
        *over(
            steps,
            f"const float centred = {a}{place} - mean;",
            "square += centred * centred;",
            f"{b}{place} = centred;",
            index="t",
        ),
        f"const float spread = gw_maximum(sqrtf(square / (float){steps}), "
        f"{number(stage.smallest)});",
        *over(steps, f"{b}{place} /= spread;", index="t"),
    )


def _layers(
    stage: RecurrentLayers,
    a: str,
    steps: str,
    target: str | None,
    further: Sequence[str],
) -> Generator[str, None, str]:
    """All layers, in turns between two buffers; returns the name of the last one.

    What is joined to the output has to stay, so a third buffer takes its place.
    """
    free = [f"buffer{number}" for number in range(3)]
    if a in free:
        free.remove(a)
    if a in ("buffer0", "buffer1") and not stage.joins_input:
        free[1] = a
    below, below_size = a, stage.input_size
    for position, programs in enumerate(stage.layers):
        is_last = position == len(stage.layers) - 1
        size = sum(program.output_size for program in programs)
        stride = stage.output_size if is_last else size
        into = target if target is not None and is_last else free[position % 2]
        start = 0
        for direction, program in enumerate(programs):
            yield "{"
            for name, state in program.states.items():
                yield f"    float {state.name}[{state.size}];"
                yield from indented(start_lines(state.name, program.starts[name]))
            states = [state.name for state in program.states.values()]
            order = f"{steps} - 1 - n" if direction else "n"
            step = over(
                steps,
                f"const int t = {order};",
                call(
                    program,
                    states,
                    f"{below} + (size_t)t * {below_size}",
                    _further_rows(program, further),
                    f"{into} + (size_t)t * {stride} + {start}",
                ),
                index="n",
            )
            yield from indented(step)
            yield "}"
            start += program.output_size
        below, below_size = into, size
    if stage.joins_input:
        size = stage.input_size
        yield from over(
            steps,
            f"const float *const in = {a} + (size_t)t * {size};",
            f"float *const out = {below} + (size_t)t * {stage.output_size} + {start};",
            *over(size, "out[k] = in[k];"),
            index="t",
        )
    return below


def _further_rows(program: StepProgram, further: Sequence[str]) -> list[str]:
    sizes = [array.size for array in program.inputs.values()][1:]
    return [f"{name} + (size_t)t * {size}" for name, size in zip(further, sizes, strict=True)]


def _summary(stage: Summary, a: str, steps: str, target: str) -> Iterator[str]:
    """The summaries of a whole sequence."""
    start = 0
    for position, part in enumerate(stage.parts):
        value = f"{a}[(size_t)t * {stage.input_size} + {part.start} + (size_t)k]"
        place = f"{target}[{start} + k]"
        if part.kind in ("last", "first"):
            step = "0" if part.kind == "first" else f"({steps} - 1)"
            own = value.replace("(size_t)t", f"(size_t){step}")
            yield from over(part.size, f"{place} = {own};")
        elif part.kind == "max":
            loop = over(steps, f"largest = gw_maximum(largest, {value});", index="t")
            yield from over(part.size, "float largest = -INFINITY;", *loop, f"{place} = largest;")
        elif part.kind == "attention":
            yield from _attention(stage, part, a, steps, f"{target} + {start}")
        else:
            if part.kind == "share":
                threshold = f"{stage.name}_thresholds[{stage.first_threshold(position)} + k]"
                value = f"{value} > {threshold} ? 1.0f : 0.0f"
            yield from over(
                part.size,
                "float total = 0.0f;",
                *over(steps, f"total += {value};", index="t"),
                f"{place} = total / (float){steps};",
            )
        start += part.size


def _attention(stage: Summary, part: Part, a: str, steps: str, target: str) -> Iterator[str]:
    """The mean over the steps, weighted by the softmax of their scores, in one pass."""
    yield "{"
    yield f"    float *const attended = {target};"
    yield "    float largest = -INFINITY, total = 0.0f;"
    yield from indented(over(part.size, "attended[k] = 0.0f;"))
    lines = [
        f"const float *const in = {a} + (size_t)t * {stage.input_size};",
        f"const float score = {score(stage, part, 'in')};",
        "const float higher = gw_maximum(largest, score);",
        "const float shrink = gw_exp(largest - higher), weight = gw_exp(score - higher);",
        "largest = higher;",
        "total = total * shrink + weight;",
        *over(part.size, f"attended[k] = attended[k] * shrink + weight * in[{part.start} + k];"),
    ]
    yield from indented(over(steps, *lines, index="t"))
    yield from indented(over(part.size, "attended[k] /= total;"))
    yield "}"


def buffer_width(chain: Sequence[Stage]) -> int:
    """Numbers of the largest row that a chain writes for a step of a sequence."""
    width = 0
    for stage in chain:
        if stage.ends_steps:
            break
        if not isinstance(stage, Window):  # whose rows are used at once
            width = max(width, stage.output_size)
    return width


def buffer_count(chain: Sequence[Stage]) -> int:
    """Buffers that a chain works in: three where the input of several layers is joined."""
    layers = [stage for stage in chain if isinstance(stage, RecurrentLayers)]
    return 3 if any(stage.joins_input and len(stage.layers) > 1 for stage in layers) else 2


def buffer_lines(chain: Sequence[Stage], start: str, steps: str) -> Iterator[str]:
    """The declarations of the buffers of a chain."""
    width = buffer_width(chain)
    for position in range(buffer_count(chain)):
        place = f" + {position} * ((size_t){steps} * {width})" if position else ""
        yield f"float *const buffer{position} = {start}{place};"
        yield f"(void)buffer{position};"


def workspace_width(chain: Sequence[Stage]) -> int:
    """Numbers of the workspace of a chain, for each step."""
    return buffer_width(chain) * buffer_count(chain)
