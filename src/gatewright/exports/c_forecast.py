"""The function of a forecast in C: from a scaled window to its quantiles."""

from __future__ import annotations

from collections.abc import Iterator

from gatewright.exports.c_sequences import buffer_lines, sequence, workspace_width
from gatewright.exports.c_text import indented, number, over
from gatewright.exports.stages import (
    ForecastWindow,
    LinearBase,
)


def forecast_function(stage: ForecastWindow) -> Iterator[str]:
    """The function from a scaled window to its quantiles."""
    name = stage.name
    steps, size = stage.steps, stage.input_size
    horizon, targets, levels = stage.horizon, len(stage.targets), stage.levels
    known = "const float *restrict known, " if stage.known_mean is not None else ""
    yield f"static void {name}_answer(const float *restrict x, {known}float *restrict workspace,"
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
    lines += indented(sequence(stage.chain, network, str(steps), "y", ()))
    lines.append("}")
    if stage.known_mean is not None:
        lines += _known_effect(stage)
    row = f"y + (h * {targets} + n) * {levels}"
    inner = [f"float *const own_y = {row};"]
    if stage.in_own_units:
        places = ", ".join(map(str, stage.targets))
        lines.append(f"static const int targets[{targets}] = {{{places}}};")
        inner.append("const int channel = targets[n];")
    if stage.base is not None:
        inner += _base(stage, stage.base)
    inner.append(f"gw_sort(own_y, {levels});")
    if stage.in_own_units:
        inner += over(levels, "own_y[k] = own_y[k] * spread[channel] + level[channel];")
    lines += over(horizon, *over(targets, *inner, index="n"), index="h")
    yield from indented(lines)
    yield "}"


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


def forecast_workspace(stage: ForecastWindow) -> int:
    """Numbers of the workspace of a forecast."""
    return stage.steps * (stage.input_size + workspace_width(stage.chain))
