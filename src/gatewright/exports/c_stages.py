"""The stages of a network in C: event by event, and over the steps of whole sequences.

A stage reads the row `in` and writes the row `out`. Over whole sequences the rows lie one after
another in buffers of the workspace, which belongs to the caller; `a` is the one that is read next.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from gatewright.exports.c_text import indented, number, over, start_lines
from gatewright.exports.program import StepProgram
from gatewright.exports.stages import (
    Differences,
    Embedding,
    ForecastWindow,
    Linear,
    LinearBase,
    Part,
    Pointwise,
    Quantiles,
    RecurrentLayers,
    Scale,
    Segments,
    SequenceScale,
    Softmax,
    Stage,
    Summary,
    Window,
)


class StageWriter:
    """Writes the stages of a network.

    Args:
        further: The names of the further inputs.
    """

    def __init__(self, further: Sequence[str]) -> None:
        self.further = further

    # One event, or one vector.

    def row(self, stage: Stage, source: str, target: str) -> Iterator[str]:
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
                yield from self._quantiles(stage, source, target)
            case Differences():
                yield from self._differences(stage, source, target)
            case Window():
                yield from self._window(stage, source, target)
            case RecurrentLayers():
                yield from self._step(stage, source, target)
            case Summary():
                yield from self._running(stage, source, target)
            case ForecastWindow():
                yield from self._forecast_step(stage, source, target)
            case _:
                raise AssertionError(stage)  # `why_not_stream` excluded it

    def _differences(self, stage: Differences, source: str, target: str) -> Iterator[str]:
        last, size = f"state->{stage.name}_last", stage.input_size
        yield from over(
            size,
            f"{target}[k] = {source}[k];",
            f"{target}[{size} + k] = state->steps > 1 ? {source}[k] - {last}[k] : 0.0f;",
            f"{last}[k] = {source}[k];",
        )

    def _window(self, stage: Window, source: str, target: str) -> Iterator[str]:
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

    def _step(self, stage: RecurrentLayers, source: str, target: str) -> Iterator[str]:
        row = source
        programs = stage.programs
        for position, program in enumerate(programs):
            own = target
            if position < len(programs) - 1:
                own = f"{program.prefix}after"
                yield f"float {own}[{program.output_size}];"
            states = [f"state->{state.name}" for state in program.states.values()]
            yield self._call(program, states, row, self.further, own)
            row = own
        if stage.joins_input:
            size = programs[-1].output_size
            yield from over(stage.input_size, f"{target}[{size} + k] = {source}[k];")

    @staticmethod
    def _call(
        program: StepProgram, states: Sequence[str], x: str, further: Sequence[str], y: str
    ) -> str:
        return f"{program.prefix}step({', '.join([*states, x, *further, y])});"

    def _running(self, stage: Summary, source: str, target: str) -> Iterator[str]:
        """The summaries of the events so far."""
        start = 0
        for position, part in enumerate(stage.parts):
            own, place = f"state->{stage.part_name(position)}", f"{target}[{start} + k]"
            value = f"{source}[{part.start} + k]"
            if part.kind == "last":
                yield from over(part.size, f"{place} = {value};")
            elif part.kind == "attention":
                yield from self._running_attention(stage, part, own, source, f"{target} + {start}")
            else:
                if part.kind == "max":
                    update = f"{own}[k] = gw_maximum({own}[k], {value});"
                else:
                    if part.kind == "share":
                        value = f"({value} > {stage.name}_thresholds[k] ? 1.0f : 0.0f)"
                    update = f"{own}[k] += ({value} - {own}[k]) / (float)state->steps;"
                yield from over(part.size, update, f"{place} = {own}[k];")
            start += part.size

    def _running_attention(
        self, stage: Summary, part: Part, own: str, source: str, target: str
    ) -> Iterator[str]:
        """The mean of all events so far, weighted by the softmax of their scores."""
        yield "{"
        yield f"    const float score = {self._score(stage, part, source)};"
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

    @staticmethod
    def _score(stage: Summary, part: Part, source: str) -> str:
        name = stage.name
        arrays = f"{name}_weight, {name}_bias, {name}_vector"
        return f"{name}_score({source} + {part.start}, {arrays})"

    def score_function(self, stage: Summary) -> Iterator[str]:
        """The function of a step's score, which an attention turns into weights."""
        assert stage.vector is not None
        size = stage.vector.size
        yield f"static float {stage.name}_score(const float *x, const float *weight,"
        yield "        const float *bias, const float *vector)"
        yield "{"
        yield f"    float hidden[{size}], total = 0.0f;"
        yield f"    gw_product(hidden, weight, x, {size}, {size});"
        yield from indented(over(size, "hidden[k] = gw_tanh(hidden[k] + bias[k]) * vector[k];"))
        yield from indented(over(size, "total += hidden[k];"))
        yield "    return total;"
        yield "}"

    def _quantiles(self, stage: Quantiles, source: str, target: str) -> Iterator[str]:
        horizon, targets = stage.widening.shape
        levels = stage.input_size // (horizon * targets)
        name = stage.name
        yield from over(
            horizon * targets,
            f"const float middle = {source}[row * {levels} + {stage.median}];",
            f"const int target = row % {targets};",
            *over(
                levels,
                f"const float wide = ({source}[row * {levels} + k] - middle) * "
                f"{name}_widening[row];",
                f"{target}[row * {levels} + k] = (middle + wide) * {name}_scale[target] + "
                f"{name}_mean[target];",
            ),
            index="row",
        )
        changes = zip(stage.transforms, stage.floor, strict=True)
        for position, (transform, floor) in enumerate(changes):
            lines = []
            if transform == "log":
                lines.append("*value = gw_exp(*value);")
            elif transform == "root":
                lines.append("*value = gw_maximum(*value, 0.0f) * gw_maximum(*value, 0.0f);")
            if floor is not None:
                lines.append(f"*value = gw_maximum(*value, {number(floor)});")
            if lines:
                place = f"(h * {targets} + {position}) * {levels} + k"
                inner = over(levels, f"float *const value = {target} + {place};", *lines)
                yield from over(horizon, *inner, index="h")

    # Whole sequences.

    def sequence(
        self, chain: Sequence[Stage], source: str, steps: str, target: str
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
                row = target if is_last else f"{stage.name}_row"
                if not is_last:
                    yield f"float {row}[{stage.output_size}];"
                if isinstance(stage, Summary):
                    yield from self._summary(stage, a, steps, row)
                else:
                    yield from self.row(stage, a, row)
                a, has_steps = row, False
            elif isinstance(stage, RecurrentLayers):
                a = yield from self._layers(stage, a, steps, target if is_last else None)
            else:
                b = target if is_last else ("buffer1" if a == "buffer0" else "buffer0")
                if isinstance(stage, Segments):
                    count = f"{stage.name}_count"
                    yield from self._segments(stage, a, steps, b, count)
                    steps = count
                elif isinstance(stage, SequenceScale):
                    yield from self._sequence_scale(stage, a, steps, b)
                else:
                    yield from self._each(stage, follower, a, steps, b)
                a = b
            position += 1 if follower is None else 2

    def _each(
        self, stage: Stage, follower: Stage | None, a: str, steps: str, b: str
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
            size = stage.input_size
            lines += [
                f"float window[{stage.output_size}];",
                f"for (int n = 0; n < {stage.width}; n++) {{",
                f"    int from = t + n - {stage.before};",
            ]
            value = f"in[(from - t) * {size} + k]"
            if stage.repeats:
                lines.append(f"    from = from < 0 ? 0 : (from < {steps} ? from : {steps} - 1);")
            else:
                value = f"from < 0 || from >= {steps} ? 0.0f : {value}"
            lines += indented(over(size, f"window[n * {size} + k] = {value};"))
            lines.append("}")
            lines += self.row(result, "window", "out")
        elif isinstance(stage, Differences):
            size = stage.input_size
            lines += over(
                size,
                "out[k] = in[k];",
                f"out[{size} + k] = t > 0 ? in[k] - in[k - {size}] : 0.0f;",
            )
        else:
            lines += self.row(stage, source, "out")
        yield from over(steps, *lines, index="t")

    @staticmethod
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

    def _sequence_scale(self, stage: SequenceScale, a: str, steps: str, b: str) -> Iterator[str]:
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
        self,
        stage: RecurrentLayers,
        a: str,
        steps: str,
        target: str | None,
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
                    self._call(
                        program,
                        states,
                        f"{below} + (size_t)t * {below_size}",
                        self._further_rows(program),
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

    def _further_rows(self, program: StepProgram) -> list[str]:
        sizes = [array.size for array in program.inputs.values()][1:]
        return [
            f"{name} + (size_t)t * {size}" for name, size in zip(self.further, sizes, strict=False)
        ]

    def _summary(self, stage: Summary, a: str, steps: str, target: str) -> Iterator[str]:
        """The summaries of a whole sequence."""
        start = 0
        for part in stage.parts:
            value = f"{a}[(size_t)t * {stage.input_size} + {part.start} + (size_t)k]"
            place = f"{target}[{start} + k]"
            if part.kind in ("last", "first"):
                step = "0" if part.kind == "first" else f"({steps} - 1)"
                own = value.replace("(size_t)t", f"(size_t){step}")
                yield from over(part.size, f"{place} = {own};")
            elif part.kind == "max":
                loop = over(steps, f"largest = gw_maximum(largest, {value});", index="t")
                yield from over(
                    part.size, "float largest = -INFINITY;", *loop, f"{place} = largest;"
                )
            elif part.kind == "attention":
                yield from self._attention(stage, part, a, steps, f"{target} + {start}")
            else:
                if part.kind == "share":
                    value = f"{value} > {stage.name}_thresholds[k] ? 1.0f : 0.0f"
                yield from over(
                    part.size,
                    "float total = 0.0f;",
                    *over(steps, f"total += {value};", index="t"),
                    f"{place} = total / (float){steps};",
                )
            start += part.size

    def _attention(
        self, stage: Summary, part: Part, a: str, steps: str, target: str
    ) -> Iterator[str]:
        """The mean over the steps, weighted by the softmax of their scores, in one pass."""
        yield "{"
        yield f"    float *const attended = {target};"
        yield "    float largest = -INFINITY, total = 0.0f;"
        yield from indented(over(part.size, "attended[k] = 0.0f;"))
        lines = [
            f"const float *const in = {a} + (size_t)t * {stage.input_size};",
            f"const float score = {self._score(stage, part, 'in')};",
            "const float higher = gw_maximum(largest, score);",
            "const float shrink = gw_exp(largest - higher), weight = gw_exp(score - higher);",
            "largest = higher;",
            "total = total * shrink + weight;",
            *over(
                part.size, f"attended[k] = attended[k] * shrink + weight * in[{part.start} + k];"
            ),
        ]
        yield from indented(over(steps, *lines, index="t"))
        yield from indented(over(part.size, "attended[k] /= total;"))
        yield "}"

    # Forecasts.

    def _forecast_step(self, stage: ForecastWindow, source: str, target: str) -> Iterator[str]:
        window, size = f"state->{stage.name}_window", stage.input_size
        older = (stage.steps - 1) * size
        if older:
            yield from over(older, f"{window}[k] = {window}[k + {size}];")
        yield from over(size, f"{window}[{older} + k] = {source}[k];")
        yield f"if (state->steps < {stage.steps}) {{"
        yield from indented(over(stage.output_size, f"{target}[k] = NAN;"))
        yield "} else {"
        arguments = ", ".join([window, *self.further, "state->workspace", target])
        yield f"    {stage.name}_run({arguments});"
        yield "}"

    def forecast_function(self, stage: ForecastWindow) -> Iterator[str]:
        """The function from a scaled window to its quantiles."""
        name = stage.name
        steps, size = stage.steps, stage.input_size
        horizon, targets, levels = stage.horizon, len(stage.targets), stage.levels
        known = "const float *restrict known, " if stage.known_mean is not None else ""
        yield f"static void {name}_run(const float *restrict x, {known}float *restrict workspace,"
        yield "        float *restrict y)"
        yield "{"
        lines: list[str] = []
        network = "x"
        if stage.in_own_units:
            own = ", ".join(map(str, stage.own))
            lines += [
                f"static const int own[{len(stage.own)}] = {{{own}}};",
                f"float level[{size}], spread[{size}];",
                "float *const scaled = workspace;",
                *over(steps * size, "scaled[k] = x[k];"),
                *over(
                    len(stage.own),
                    "const int channel = own[n];",
                    "float mean = 0.0f, square = 0.0f;",
                    *over(steps, f"mean += x[t * {size} + channel];", index="t"),
                    f"mean /= {number(steps)};",
                    *over(
                        steps,
                        f"const float centred = x[t * {size} + channel] - mean;",
                        "square += centred * centred;",
                        index="t",
                    ),
                    f"level[channel] = x[{(steps - 1) * size} + channel];",
                    f"spread[channel] = gw_maximum(sqrtf(square / {number(steps)}), "
                    f"{name}_smallest[n]);",
                    *over(
                        steps,
                        f"float *const value = scaled + t * {size} + channel;",
                        "*value = (*value - level[channel]) / spread[channel];",
                        index="t",
                    ),
                    index="n",
                ),
            ]
            if stage.scales_network:
                network = "scaled"
        lines += buffer_lines(stage.chain, f"workspace + {steps * size}", str(steps))
        lines.append("{")
        lines += indented(self.sequence(stage.chain, network, str(steps), "y"))
        lines.append("}")
        if stage.known_mean is not None:
            lines += self._known_effect(stage)
        row = f"y + (h * {targets} + n) * {levels}"
        inner = [f"float *const own_y = {row};"]
        if stage.in_own_units:
            places = ", ".join(map(str, stage.targets))
            lines.append(f"static const int targets[{targets}] = {{{places}}};")
            inner.append("const int channel = targets[n];")
        if stage.base is not None:
            inner += self._base(stage, stage.base)
        inner.append(f"gw_sort(own_y, {levels});")
        if stage.in_own_units:
            inner += over(levels, "own_y[k] = own_y[k] * spread[channel] + level[channel];")
        lines += over(horizon, *over(targets, *inner, index="n"), index="h")
        yield from indented(lines)
        yield "}"

    @staticmethod
    def _known_effect(stage: ForecastWindow) -> Iterator[str]:
        """The effect of the known inputs on each step; `ahead` has them scaled."""
        assert stage.known_weight is not None
        name = stage.name
        units, size = stage.known_weight.shape
        outputs = len(stage.targets) * stage.levels
        yield f"float ahead[{stage.horizon * size}];"
        yield from over(
            stage.horizon,
            f"float units[{units}], effect[{outputs}];",
            *over(
                size,
                f"ahead[h * {size} + k] = (known[h * {size} + k] - {name}_known_mean[k]) / "
                f"{name}_known_scale[k];",
            ),
            f"gw_product(units, {name}_known_weight, ahead + h * {size}, {units}, {size});",
            *over(units, f"units[k] = gw_tanh(units[k] + {name}_known_bias[k]);"),
            f"gw_product(effect, {name}_known_effect, units, {outputs}, {units});",
            *over(outputs, f"y[h * {outputs} + k] += effect[k];"),
            index="h",
        )

    @staticmethod
    def _base(stage: ForecastWindow, base: LinearBase) -> Iterator[str]:
        """The simple method for step h and target n, in units of the window."""
        name, size, steps = base.name, stage.input_size, stage.steps
        known = 0 if stage.known_mean is None else stage.known_mean.size
        yield f"const int row = h * {len(base.targets)} + n;"
        yield "const float height = level[channel] / spread[channel];"
        yield f"float point = {name}_bias[row] - height * {name}_mean[row];"
        weight = f"{name}_own[(n * {stage.horizon} + h) * {steps} + t]"
        yield from over(steps, f"point += scaled[t * {size} + channel] * {weight};", index="t")
        if base.past is not None:
            lagged, count = ", ".join(map(str, base.lagged)), len(base.lagged)
            yield f"static const int lagged[{count}] = {{{lagged}}};"
            weight = f"{name}_past[(row * {steps} + t) * {count} + k]"
            inner = over(count, f"point += scaled[t * {size} + lagged[k]] * {weight};")
            yield from over(steps, *inner, index="t")
        place = 0
        common = len(base.static) + len(base.calendar)
        for text, channels in (
            (f"scaled[{(steps - 1) * size} + {{}}]", base.static),
            ("ahead[{}]", base.calendar),
        ):
            for channel in channels:
                weight = f"{name}_common[row * {common} + {place}]"
                yield f"point += {text.format(channel)} * {weight};"
                place += 1
        for place, channel in enumerate(base.ahead):
            weight = f"{name}_known[row * {len(base.ahead)} + {place}]"
            yield f"point += ahead[h * {known} + {channel}] * {weight};"
        levels = stage.levels
        around = f"{name}_quantiles[row * {levels} + k] + {name}_fixed[row * {levels} + k]"
        yield from over(levels, f"own_y[k] += point + {around} / spread[channel];")


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


def forecast_workspace(stage: ForecastWindow) -> int:
    """Numbers of the workspace of a forecast."""
    return stage.steps * (stage.input_size + workspace_width(stage.chain))
