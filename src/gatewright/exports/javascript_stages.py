"""The stages of a network in JavaScript: event by event, and over the steps of whole sequences.

Both forms work on a variable `x`: a row of numbers, or an array with a row for each step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from gatewright.exports.stages import (
    Differences,
    Embedding,
    ForecastWindow,
    Linear,
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

#: The functions that a module may call; each is written where its name and a bracket occur.
FUNCTIONS: Mapping[str, str] = {
    "forecastOf": """\
// The quantiles after a window of scaled events, from the network and the simple method in it.
function forecastOf(x, known, f) {
  const last = x[x.length - 1], level = [], spread = [];
  let scaled = x;
  if (f.inOwnUnits) {
    scaled = x.map((row) => new Float64Array(row));
    f.own.forEach((channel, k) => {
      const values = x.map((row) => row[channel]);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      level[channel] = last[channel];
      spread[channel] = Math.max(Math.sqrt(squares / values.length), f.smallest[k]);
      for (const row of scaled) row[channel] = (row[channel] - level[channel]) / spread[channel];
    });
  }
  const y = f.network(f.scalesNetwork ? scaled : x);
  const { horizon, targets, levels } = f, count = targets.length;
  let ahead = [];
  if (f.knownMean) {
    const size = f.knownMean.length;
    for (let h = 0; h < horizon; h++) {
      const raw = Float64Array.from({ length: size }, (_, k) => known[h * size + k]);
      ahead.push(raw.map((value, k) => (value - f.knownMean[k]) / f.knownScale[k]));
    }
    ahead.forEach((row, h) => {
      const units = linear(row, f.knownWeight, f.knownBias).map(Math.tanh);
      const effect = new Float64Array(count * levels);
      product(effect, 0, f.knownEffect, 0, units, 0, count * levels, units.length);
      effect.forEach((value, k) => (y[h * count * levels + k] += value));
    });
  }
  for (let h = 0; h < horizon; h++) {
    for (let k = 0; k < count; k++) {
      const row = h * count + k, channel = targets[k];
      const own = y.subarray(row * levels, (row + 1) * levels);
      if (f.base) {
        const point = basePoint(f.base, scaled, ahead, h, k, level[channel] / spread[channel]);
        for (let q = 0; q < levels; q++) {
          const fixed = f.base.fixed[row * levels + q] / spread[channel];
          own[q] += point + f.base.quantiles[row * levels + q] + fixed;
        }
      }
      own.sort();
      if (f.inOwnUnits) {
        for (let q = 0; q < levels; q++) own[q] = own[q] * spread[channel] + level[channel];
      }
    }
  }
  return y;
}
""",
    "basePoint": """\
// The simple method for step h and target k: linear in the window, in its own units.
function basePoint(base, scaled, ahead, h, k, level) {
  const row = h * base.targets.length + k, steps = scaled.length, horizon = base.horizon;
  let point = base.bias[row] - level * base.mean[row];
  for (let t = 0; t < steps; t++) {
    point += scaled[t][base.targets[k]] * base.own[(k * horizon + h) * steps + t];
    for (let c = 0; c < base.lagged.length; c++) {
      const weight = base.past[(row * steps + t) * base.lagged.length + c];
      point += scaled[t][base.lagged[c]] * weight;
    }
  }
  const common = base.static.map((channel) => scaled[steps - 1][channel]);
  common.push(...base.calendar.map((place) => ahead[0][place]));
  common.forEach((value, s) => (point += value * base.common[row * common.length + s]));
  base.ahead.forEach((place, a) => {
    point += ahead[h][place] * base.known[row * base.ahead.length + a];
  });
  return point;
}
""",
    "quantiles": """\
// Quantiles in the units of the data: stretched around their median, not below the floor, and
// whole for a count.
function quantiles(x, u) {
  const count = u.mean.length, levels = x.length / u.widening.length;
  return x.map((value, n) => {
    const row = Math.floor(n / levels), k = row % count;
    const middle = x[row * levels + u.median];
    let raw = (middle + (value - middle) * u.widening[row]) * u.scale[k] + u.mean[k];
    if (u.transforms[k] === "log") raw = Math.exp(Math.min(raw, 700));
    if (u.transforms[k] === "root") raw = Math.max(raw, 0) ** 2;
    if (u.floor[k] !== null) raw = Math.max(raw, u.floor[k]);
    return u.rounds[k] ? Math.floor(raw + 0.5) : raw;
  });
}
""",
    "scaled": """\
function scaled(x, mean, scale, transforms) {
  const values = new Float64Array(x);
  for (const [k, transform, lowest] of transforms) {
    const value = Math.max(values[k], lowest);
    values[k] = transform === "log" ? Math.log(value) : Math.sqrt(value);
  }
  return values.map((value, k) => (value - mean[k]) / scale[k]);
}
""",
    "attention": """\
// The mean over the steps, weighted by the softmax of their scores.
function attention(xs, scores) {
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const weights = scores.map((score) => Math.exp(score - largest));
  const total = weights.reduce((a, b) => a + b);
  return xs[0].map((_, k) => xs.reduce((sum, x, t) => sum + weights[t] * x[k], 0) / total);
}
""",
    "runningAttention": """\
// The mean of all events so far, weighted by the softmax of their scores.
function runningAttention(state, name, x, score) {
  const largest = Math.max(state[name + "_largest"][0], score);
  const shrink = Math.exp(state[name + "_largest"][0] - largest);
  const weight = Math.exp(score - largest);
  state[name + "_largest"] = Float64Array.of(largest);
  const total = state[name + "_total"][0] * shrink + weight;
  state[name + "_total"] = Float64Array.of(total);
  state[name] = state[name].map((value, k) => value * shrink + weight * x[k]);
  return state[name].map((value) => value / total);
}
""",
    "score": """\
function score(x, weight, bias, vector) {
  return linear(x, weight, bias).reduce((sum, value, k) => sum + Math.tanh(value) * vector[k], 0);
}
""",
    "runningMean": """\
function runningMean(state, name, x) {
  state[name] = state[name].map((value, k) => value + (x[k] - value) / state.steps[0]);
  return state[name];
}
""",
    "runningMax": """\
function runningMax(state, name, x) {
  state[name] = state[name].map((value, k) => Math.max(value, x[k]));
  return state[name];
}
""",
    "mean": """\
function mean(xs) {
  return xs[0].map((_, k) => xs.reduce((sum, x) => sum + x[k], 0) / xs.length);
}
""",
    "max": """\
function max(xs) {
  return xs[0].map((_, k) => xs.reduce((most, x) => Math.max(most, x[k]), -Infinity));
}
""",
    "above": """\
function above(x, thresholds, first) {
  return x.map((value, k) => (value > thresholds[first + k] ? 1 : 0));
}
""",
    "withChange": """\
// An event joined with its change since the one before.
function withChange(state, name, x) {
  const last = state[name];
  state[name] = x;
  return joined(x, x.map((value, k) => (state.steps[0] > 1 ? value - last[k] : 0)));
}
""",
    "withPast": """\
// An event after the ones before it, as many as are remembered.
function withPast(state, name, x, repeats) {
  let past = state[name];
  if (repeats && state.steps[0] === 1) past = past.map((_, k) => x[k % x.length]);
  const window = joined(past, x);
  state[name] = window.slice(x.length);
  return window;
}
""",
    "scaledByItself": """\
function scaledByItself(xs, smallest) {
  const centre = mean(xs);
  const centred = xs.map((x) => x.map((value, k) => value - centre[k]));
  const spread = mean(centred.map((x) => x.map((value) => value * value)));
  const divisor = spread.map((value) => Math.max(Math.sqrt(value), smallest));
  return centred.map((x) => x.map((value, k) => value / divisor[k]));
}
""",
    "withChanges": """\
function withChanges(xs) {
  return xs.map((x, t) => joined(x, x.map((value, k) => (t ? value - xs[t - 1][k] : 0))));
}
""",
    "segments": """\
// Joins a number of steps to one, counted from the end, with zeros before the first step.
function segments(xs, steps) {
  const count = Math.ceil(xs.length / steps), missing = count * steps - xs.length;
  const zeros = xs[0].map(() => 0);
  const row = (t) => (t < missing ? zeros : xs[t - missing]);
  return Array.from({ length: count }, (_, n) =>
    joined(...Array.from({ length: steps }, (_, k) => row(n * steps + k))));
}
""",
    "windows": """\
// Joins the steps at offsets from each; beyond the ends are zeros, or the first and last step.
function windows(xs, offsets, repeats) {
  const zeros = xs[0].map(() => 0), last = xs.length - 1;
  const row = (t) => repeats ? xs[Math.min(Math.max(t, 0), last)] : xs[t] ?? zeros;
  return xs.map((_, t) => joined(...offsets.map((offset) => row(t + offset))));
}
""",
    "over": """\
// The outputs of a layer at every step, from its start on, or backwards from the end.
function over(start, step, xs, further, backwards) {
  const stream = { state: start(), values: {} }, ys = new Array(xs.length);
  for (let n = 0; n < xs.length; n++) {
    const t = backwards ? xs.length - 1 - n : n;
    ys[t] = step(stream, xs[t], ...further.map((rows) => rows[t]));
  }
  return ys;
}
""",
    "joined": """\
function joined(...rows) {
  const values = new Float64Array(rows.reduce((size, row) => size + row.length, 0));
  let start = 0;
  for (const row of rows) {
    values.set(row, start);
    start += row.length;
  }
  return values;
}
""",
    "softmax": """\
function softmax(x) {
  const largest = x.reduce((a, b) => Math.max(a, b));
  const grown = x.map((value) => Math.exp(value - largest));
  const total = grown.reduce((sum, value) => sum + value, 0);
  return grown.map((value) => value / total);
}
""",
    "linear": """\
function linear(x, weight, bias) {
  const y = new Float64Array(bias.length);
  product(y, 0, weight, 0, x, 0, bias.length, x.length);
  return y.map((value, k) => value + bias[k]);
}
""",
}


def row_text(stage: Stage) -> str | None:
    """A stage that works on every row in the same way, as an expression of the row `x`."""
    name = stage.name
    match stage:
        case Scale():
            transforms = json.dumps([list(entry) for entry in stage.transforms])
            return f"scaled(x, {name}_mean, {name}_scale, {transforms})"
        case Embedding():
            size = stage.output_size
            return f"{name}_weight.slice(x * {size}, (x + 1) * {size})"
        case Linear():
            return f"linear(x, {name}_weight, {name}_bias)"
        case Pointwise():
            inner = "Math.max(value, 0)" if stage.function == "relu" else "Math.tanh(value)"
            return f"x.map((value) => {inner})"
        case Softmax():
            return "softmax(x)"
        case Quantiles():
            fields = (
                f"widening: {name}_widening, mean: {name}_mean, scale: {name}_scale, "
                f"median: {stage.median}, transforms: {json.dumps(stage.transforms)}, "
                f"floor: {json.dumps(stage.floor)}, rounds: {json.dumps(stage.rounds)}"
            )
            return f"quantiles(x, {{ {fields} }})"
    return None


def step_lines(stage: Stage, further: str) -> Iterator[str]:
    """The lines of a stage that reads one event of a stream.

    Args:
        further: The arguments of the further inputs, such as ", dt".
    """
    text, name = row_text(stage), stage.name
    if text is not None:
        yield f"x = {text};"
        return
    match stage:
        case Differences():
            yield f'x = withChange(stream.state, "{name}_last", x);'
        case Window():
            if stage.before:
                repeats = json.dumps(stage.repeats)
                yield f'x = withPast(stream.state, "{name}_past", x, {repeats});'
        case RecurrentLayers():
            if stage.joins_input:
                yield "below = x;"
            for program in stage.programs:
                yield f"x = {program.prefix}step(stream, x{further});"
            if stage.joins_input:
                yield "x = joined(x, below);"
        case Summary():
            parts = [_running_part(stage, number) for number in range(len(stage.parts))]
            yield f"x = {_joined(parts)};"
        case ForecastWindow():
            size, whole = stage.input_size, stage.steps * stage.input_size
            window = f'stream.state["{name}_window"]'
            yield f"{window} = joined({window}, x).slice({size});"
            yield f"if (stream.state.steps[0] < {stage.steps}) {{"
            yield f"  x = new Float64Array({stage.output_size}).fill(NaN);"
            yield "} else {"
            yield f"  x = Array.from({{ length: {stage.steps} }}, (_, t) =>"
            yield f"    {window}.slice(t * {size}, (t + 1) * {size}));"
            yield f"  x = forecastOf(x{further or ', null'}, {name}); // {whole} numbers"
            yield "}"
        case _:
            raise AssertionError(stage)  # `why_not_stream` excluded it


def sequence_lines(stage: Stage, further: str, *, has_steps: bool) -> Iterator[str]:
    """The lines of a stage that reads the steps of a whole sequence, or a vector.

    Args:
        has_steps: Whether `x` still has the steps of the sequence.
    """
    text = row_text(stage)
    if text is not None:
        yield f"x = x.map((x) => {text});" if has_steps else f"x = {text};"
        return
    match stage:
        case SequenceScale():
            yield f"x = scaledByItself(x, {stage.smallest});"
        case Differences():
            yield "x = withChanges(x);"
        case Segments():
            yield f"x = segments(x, {stage.steps});"
        case Window():
            yield f"x = windows(x, {list(stage.offsets)}, {json.dumps(stage.repeats)});"
        case RecurrentLayers():
            yield from _layers(stage, further)
        case Summary():
            parts = [_whole_part(stage, number) for number in range(len(stage.parts))]
            yield f"x = {_joined(parts)};"
        case ForecastWindow():
            yield f"x = forecastOf(x.slice(-{stage.steps}){further or ', null'}, {stage.name});"
        case _:
            raise AssertionError(stage)


def variables(stages: Sequence[Stage]) -> Iterator[str]:
    """The declaration of the variables that recurrent layers need in addition to `x`."""
    layers = [stage for stage in stages if isinstance(stage, RecurrentLayers)]
    names = ["below"] if any(stage.joins_input for stage in layers) else []
    names += ["ahead", "back"] if any(stage.is_bidirectional for stage in layers) else []
    if names:
        yield f"let {', '.join(names)};"


def _layers(stage: RecurrentLayers, further: str) -> Iterator[str]:
    if stage.joins_input:
        yield "below = x;"
    rows = f"[{further.removeprefix(', ')}]"
    for programs in stage.layers:
        texts = [
            f"over({program.prefix}start, {program.prefix}step, x, {rows}, {json.dumps(bool(k))})"
            for k, program in enumerate(programs)
        ]
        if len(texts) == 1:
            yield f"x = {texts[0]};"
        else:
            yield f"ahead = {texts[0]};"
            yield f"back = {texts[1]};"
            yield "x = ahead.map((row, t) => joined(row, back[t]));"
    if stage.joins_input:
        yield "x = x.map((row, t) => joined(row, below[t]));"


def _running_part(stage: Summary, number: int) -> str:
    """A summary of the events so far."""
    part, name = stage.parts[number], stage.part_name(number)
    own = _part(stage, number)
    match part.kind:
        case "last":
            return own
        case "mean":
            return f'runningMean(stream.state, "{name}", {own})'
        case "max":
            return f'runningMax(stream.state, "{name}", {own})'
        case "share":
            return f'runningMean(stream.state, "{name}", {_above(stage, number)})'
        case "attention":
            return f'runningAttention(stream.state, "{name}", {own}, {_score(stage, own)})'
    raise AssertionError(part)  # "first" is of two directions only


def _whole_part(stage: Summary, number: int) -> str:
    """A summary of a whole sequence."""
    own = _part(stage, number)
    rows = "x" if own == "x" else f"x.map((x) => {own})"
    match stage.parts[number].kind:
        case "last":
            return f"{rows}[x.length - 1]"
        case "first":
            return f"{rows}[0]"
        case "mean":
            return f"mean({rows})"
        case "max":
            return f"max({rows})"
        case "share":
            return f"mean(x.map((x) => {_above(stage, number)}))"
        case "attention":
            return f"attention({rows}, x.map((x) => {_score(stage, own)}))"


def _part(stage: Summary, number: int) -> str:
    part = stage.parts[number]
    if part.size == stage.input_size:
        return "x"
    return f"x.slice({part.start}, {part.start + part.size})"


def _above(stage: Summary, number: int) -> str:
    first = stage.first_threshold(number)
    return f"above({_part(stage, number)}, {stage.name}_thresholds, {first})"


def _score(stage: Summary, own: str) -> str:
    name = stage.name
    return f"score({own}, {name}_weight, {name}_bias, {name}_vector)"


def forecast_lines(stage: ForecastWindow) -> Iterator[str]:
    """The constant of a forecast: its sizes and arrays, and its network as a function."""
    name = stage.name
    yield f"const {name} = {{"
    for field, value in (
        ("steps", stage.steps),
        ("horizon", stage.horizon),
        ("targets", stage.targets),
        ("levels", stage.levels),
        ("own", stage.own),
        ("scalesNetwork", stage.scales_network),
        ("inOwnUnits", stage.in_own_units),
    ):
        yield f"  {field}: {json.dumps(value)},"
    if stage.in_own_units:
        yield f"  smallest: {name}_smallest,"
    if stage.known_mean is not None:
        for field in ("mean", "scale", "weight", "bias", "effect"):
            yield f"  known{field.capitalize()}: {name}_known_{field},"
    base = stage.base
    if base is not None:
        yield "  base: {"
        yield f"    horizon: {stage.horizon},"
        for field in ("targets", "lagged", "static", "calendar", "ahead"):
            yield f"    {field}: {json.dumps(getattr(base, field))},"
        for array, _ in base.arrays():
            yield f"    {array.removeprefix(f'{base.name}_')}: {array},"
        yield "  },"
    yield "  network: (x) => {"
    yield from (f"    {line}" for line in variables(stage.chain))
    has_steps = True
    for inner in stage.chain:
        for line in sequence_lines(inner, "", has_steps=has_steps):
            yield f"    {line}"
        has_steps = has_steps and not inner.ends_steps
    yield "    return x;"
    yield "  },"
    yield "};"


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"joined({', '.join(texts)})"
