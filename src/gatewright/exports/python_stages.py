"""The stages of a network in Python: event by event, and over the steps of whole sequences.

Both forms work on a variable `x`: values (..., C) of an event, or (T, ..., C) of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gatewright.exports.stages import (
    Differences,
    Embedding,
    ForecastWindow,
    Linear,
    LinearBase,
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

#: The functions that a file may call; each is written where its name and a bracket occur.
FUNCTIONS: Mapping[str, str] = {
    "softmax": """\
def softmax(x):
    grown = np.exp(x - x.max(-1, keepdims=True))
    return grown / grown.sum(-1, keepdims=True)
""",
    "with_change": '''\
def with_change(state, name, x):
    """An event joined with its change since the one before."""
    change = x - state[name] if state["steps"] > 1 else np.zeros_like(x)
    state[name] = x
    return np.concatenate([x, change], -1)
''',
    "with_past": '''\
def with_past(state, name, x, before, repeats):
    """An event after the `before` ones before it."""
    past = state[name]
    if repeats and state["steps"] == 1:
        past = np.concatenate([x] * before, -1)
    past = np.broadcast_to(past, (*x.shape[:-1], before * x.shape[-1]))
    window = np.concatenate([past, x], -1)
    state[name] = window[..., x.shape[-1] :]
    return window
''',
    "running_mean": """\
def running_mean(state, name, x):
    state[name] = state[name] + (x - state[name]) / np.float32(state["steps"])
    return state[name]
""",
    "running_max": """\
def running_max(state, name, x):
    state[name] = np.maximum(state[name], x)
    return state[name]
""",
    "running_attention": '''\
def running_attention(state, name, x, scores):
    """The mean of all events so far, weighted by the softmax of their scores."""
    largest = np.maximum(state[name + "_largest"], scores[..., None])
    shrink = np.exp(state[name + "_largest"] - largest)
    weight = np.exp(scores[..., None] - largest)
    state[name + "_largest"] = largest
    state[name + "_total"] = state[name + "_total"] * shrink + weight
    state[name] = state[name] * shrink + weight * x
    return state[name] / state[name + "_total"]
''',
    "scaled_by_itself": """\
def scaled_by_itself(x, smallest):
    centred = x - x.mean(0)
    return centred / np.maximum(np.sqrt((centred * centred).mean(0)), smallest)
""",
    "with_changes": """\
def with_changes(x):
    return np.concatenate([x, np.concatenate([np.zeros_like(x[:1]), x[1:] - x[:-1]])], -1)
""",
    "segments": '''\
def segments(x, steps):
    """Joins `steps` steps to one, counted from the end, with zeros before the first step."""
    count = -(-len(x) // steps)
    missing = np.zeros((count * steps - len(x), *x.shape[1:]), x.dtype)
    parts = np.concatenate([missing, x]).reshape(count, steps, *x.shape[1:])
    return np.concatenate(list(np.moveaxis(parts, 1, 0)), -1)
''',
    "windows": '''\
def windows(x, offsets, repeats):
    """Joins the steps at offsets from each; beyond the ends are zeros, or the first and last."""
    first, last = (x[:1], x[-1:]) if repeats else (np.zeros_like(x[:1]),) * 2
    padded = np.concatenate([*[first] * -offsets[0], x, *[last] * offsets[-1]])
    starts = [offset - offsets[0] for offset in offsets]
    return np.concatenate([padded[start : start + len(x)] for start in starts], -1)
''',
    "over": '''\
def over(start, step, x, *further):
    """The outputs of a layer at every step, from its start on."""
    state, outputs = start(), []
    for t in range(len(x)):
        outputs.append(step(state, {}, x[t], *(rows[t] for rows in further)))
    return np.stack(outputs)
''',
    "attention": '''\
def attention(x, scores):
    """The mean over the steps, weighted by the softmax of their scores."""
    weights = np.exp(scores - scores.max(0))
    return ((weights / weights.sum(0))[..., None] * x).sum(0)
''',
}


def both_lines(stage: Stage) -> Iterator[str] | None:
    """The lines of a stage that are the same for an event and for a sequence, or None."""
    name = stage.name
    match stage:
        case Scale():
            return _scale(stage)
        case Embedding():
            return iter([f"x = {name}_weight[x]"])
        case Linear():
            return iter([f"x = x @ {name}_weight.T + {name}_bias"])
        case Pointwise():
            text = "np.maximum(x, 0.0)" if stage.function == "relu" else "np.tanh(x)"
            return iter([f"x = {text}"])
        case Softmax():
            return iter(["x = softmax(x)"])
        case Quantiles():
            return _quantiles(stage)
    return None


def step_lines(stage: Stage, further: str) -> Iterator[str]:
    """The lines of a stage that reads one event of a stream.

    Args:
        further: The arguments of the further inputs, such as ", dt".
    """
    same = both_lines(stage)
    if same is not None:
        yield from same
        return
    name = stage.name
    match stage:
        case Differences():
            yield f'x = with_change(state, "{name}_last", x)'
        case Window():
            if stage.before:
                yield f'x = with_past(state, "{name}_past", x, {stage.before}, {stage.repeats})'
        case RecurrentLayers():
            below = "below" if stage.joins_input else "x"
            if stage.joins_input:
                yield "below = x"
            for program in stage.programs:
                yield f"x = {program.prefix}step(state, values, x{further})"
            if stage.joins_input:
                yield f"x = np.concatenate([x, {below}], -1)"
        case Summary():
            yield from _summary(stage, _running_part)
        case ForecastWindow():
            yield f'x = with_past(state, "{name}_window", x, {stage.steps}, False)'
            yield f"x = x[..., {stage.input_size} :]"
            yield f'state["{name}_window"] = x'
            yield f'if state["steps"] < {stage.steps}:'
            yield f"    x = np.full((*x.shape[:-1], {stage.output_size}), np.nan, np.float32)"
            yield "else:"
            yield f"    x = x.reshape(*x.shape[:-1], {stage.steps}, {stage.input_size})"
            yield f"    x = {name}(np.moveaxis(x, -2, 0){further})"
        case _:
            raise AssertionError(stage)  # `why_not_stream` excluded it


def sequence_lines(stage: Stage, further: str) -> Iterator[str]:
    """The lines of a stage that reads the steps of a whole sequence, or a vector."""
    same = both_lines(stage)
    if same is not None:
        yield from same
        return
    match stage:
        case SequenceScale():
            yield f"x = scaled_by_itself(x, {stage.smallest})"
        case Differences():
            yield "x = with_changes(x)"
        case Segments():
            yield f"x = segments(x, {stage.steps})"
        case Window():
            yield f"x = windows(x, {list(stage.offsets)}, {stage.repeats})"
        case RecurrentLayers():
            yield from _layers(stage, further)
        case Summary():
            yield from _summary(stage, _whole_part)
        case ForecastWindow():
            yield f"x = {stage.name}(x[-{stage.steps} :]{further})"
        case _:
            raise AssertionError(stage)


def _scale(stage: Scale) -> Iterator[str]:
    if stage.transforms:
        yield "x = np.array(x)"
    for channel, transform, lowest in stage.transforms:
        function = "np.log" if transform == "log" else "np.sqrt"
        yield f"x[..., {channel}] = {function}(np.maximum(x[..., {channel}], {lowest!r}))"
    yield f"x = (x - {stage.name}_mean) / {stage.name}_scale"


def _layers(stage: RecurrentLayers, further: str) -> Iterator[str]:
    if stage.joins_input:
        yield "below = x"
    backwards = ", ".join(f"{name}[::-1]" for name in further.split(", ") if name)
    backwards = f", {backwards}" if backwards else ""
    for programs in stage.layers:
        layers = [f"{program.prefix}start, {program.prefix}step" for program in programs]
        texts = [f"over({layers[0]}, x{further})"]
        texts += [f"over({layer}, x[::-1]{backwards})[::-1]" for layer in layers[1:]]
        yield f"x = {_joined(texts)}"
    if stage.joins_input:
        yield "x = np.concatenate([x, below], -1)"


def _summary(stage: Summary, text_of: object) -> Iterator[str]:
    assert callable(text_of)
    yield f"x = {_joined([text_of(stage, number) for number in range(len(stage.parts))])}"


def _running_part(stage: Summary, number: int) -> str:
    """A summary of the events so far."""
    part, name = stage.parts[number], stage.part_name(number)
    own = _part(stage, number)
    match part.kind:
        case "last":
            return own
        case "mean":
            return f'running_mean(state, "{name}", {own})'
        case "max":
            return f'running_max(state, "{name}", {own})'
        case "share":
            return f'running_mean(state, "{name}", {_above(stage, number)})'
        case "attention":
            return f'running_attention(state, "{name}", {own}, {_scores(stage, own)})'
    raise AssertionError(part)  # "first" is of two directions only


def _whole_part(stage: Summary, number: int) -> str:
    """A summary of a whole sequence."""
    own = _part(stage, number)
    match stage.parts[number].kind:
        case "last":
            return f"{own}[-1]"
        case "first":
            return f"{own}[0]"
        case "mean":
            return f"{own}.mean(0)"
        case "max":
            return f"{own}.max(0)"
        case "share":
            return f"{_above(stage, number)}.mean(0)"
        case "attention":
            return f"attention({own}, {_scores(stage, own)})"


def _part(stage: Summary, number: int) -> str:
    part = stage.parts[number]
    if part.size == stage.input_size:
        return "x"
    return f"x[..., {part.start} : {part.start + part.size}]"


def _above(stage: Summary, number: int) -> str:
    first = stage.first_threshold(number)
    thresholds = f"{stage.name}_thresholds[{first} : {first + stage.parts[number].size}]"
    return f"np.float32({_part(stage, number)} > {thresholds})"


def _scores(stage: Summary, own: str) -> str:
    name = stage.name
    return f"np.tanh({own} @ {name}_weight.T + {name}_bias) @ {name}_vector"


def _quantiles(stage: Quantiles) -> Iterator[str]:
    name = stage.name
    horizon, targets = stage.widening.shape
    levels = stage.input_size // (horizon * targets)
    yield f"x = x.reshape(*x.shape[:-1], {horizon}, {targets}, {levels})"
    yield f"middle = x[..., {stage.median} : {stage.median + 1}]"
    yield f"x = middle + (x - middle) * {name}_widening[..., None]"
    yield f"x = x * {name}_scale[:, None] + {name}_mean[:, None]"
    changes = zip(stage.transforms, stage.floor, stage.rounds, strict=True)
    for target, (transform, floor, rounds) in enumerate(changes):
        own = f"x[..., {target}, :]"
        if transform == "log":
            yield f"{own} = np.exp(np.minimum({own}, 88.0))"
        elif transform == "root":
            yield f"{own} = np.maximum({own}, 0.0) ** 2"
        if floor is not None:
            yield f"{own} = np.maximum({own}, {floor!r})"
        if rounds:
            yield f"{own} = np.floor({own} + 0.5)"


def forecast_lines(stage: ForecastWindow) -> Iterator[str]:
    """The body of the function from a scaled window `x`, (W, ..., I), to its quantiles."""
    own, name = list(stage.own), stage.name
    shape = f"{stage.horizon}, {len(stage.targets)}, {stage.levels}"
    if stage.in_own_units:
        places = [own.index(target) for target in stage.targets]
        yield f"own = {own}"
        yield "level = x[-1][..., own]"
        yield f"spread = np.maximum(x[..., own].std(0), {name}_smallest)"
        yield "scaled = np.array(x)"
        yield "scaled[..., own] = (x[..., own] - level) / spread"
        yield f"level, spread = (a[..., None, {places}] for a in (level, spread))"
        if stage.scales_network:
            yield "x = scaled"
    for inner in stage.chain:
        yield from sequence_lines(inner, "")
    yield f"x = x.reshape(*x.shape[:-1], {shape})"
    if stage.known_mean is not None:
        size = len(stage.known_mean)
        yield f"ahead = known.reshape(*known.shape[:-1], {stage.horizon}, {size})"
        yield f"ahead = (ahead - {name}_known_mean) / {name}_known_scale"
        yield f"effect = np.tanh(ahead @ {name}_known_weight.T + {name}_known_bias)"
        yield f"x = x + (effect @ {name}_known_effect.T).reshape(*ahead.shape[:-2], {shape})"
    if stage.base is not None:
        yield from _base(stage.base)
    yield "x = np.sort(x, -1)"
    if stage.in_own_units:
        yield "x = x * spread[..., None] + level[..., None]"
    yield f"return x.reshape(*x.shape[:-3], {stage.output_size})"


def _base(base: LinearBase) -> Iterator[str]:
    name = base.name
    own = f"scaled[..., {list(base.targets)}]"
    yield f'point = np.einsum("w...k,khw->...hk", {own}, {name}_own) + {name}_bias'
    yield f"point = point - level / spread * {name}_mean"
    if base.past is not None:
        shape = f"{base.past.shape[0]}, {base.past.shape[1]}, -1, {len(base.lagged)}"
        past, lagged = f"{name}_past.reshape({shape})", f"scaled[..., {list(base.lagged)}]"
        yield f'point = point + np.einsum("w...c,hkwc->...hk", {lagged}, {past})'
    if base.common is not None:
        common = [f"scaled[-1][..., {list(base.static)}]"] if base.static else []
        common += [f"ahead[..., 0, {list(base.calendar)}]"] if base.calendar else []
        yield f'point = point + np.einsum("...s,hks->...hk", {_joined(common)}, {name}_common)'
    if base.known is not None:
        ahead = f"ahead[..., {list(base.ahead)}]"
        yield f'point = point + np.einsum("...ha,hka->...hk", {ahead}, {name}_known)'
    yield f"x = x + point[..., None] + {name}_quantiles + {name}_fixed / spread[..., None]"


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"np.concatenate([{', '.join(texts)}], -1)"
