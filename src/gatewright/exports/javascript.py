"""A network as one ES module that needs nothing else, with its types beside it.

Numbers are computed in float64 from weights in float32, so that the results are those of the
layer within float32's rounding. Weights are base64 of little-endian float32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from gatewright.exports.int8 import JAVASCRIPT_FUNCTIONS, javascript_constants
from gatewright.exports.javascript_stages import FUNCTIONS as STAGE_FUNCTIONS
from gatewright.exports.javascript_stages import (
    forecast_lines,
    sequence_lines,
    step_lines,
    variables,
)
from gatewright.exports.network import ExportedNetwork, in_base64, value_name
from gatewright.exports.program import Array, Element, Product, StepProgram
from gatewright.exports.stages import ForecastWindow, RecurrentLayers
from gatewright.exports.statements import Dialect

#: Functions of the module, from `FUNCTIONS` or JavaScript's Math.
OPERATIONS: Mapping[str, str] = {
    "equal": "{0} === {1}",
    "not_equal": "{0} !== {1}",
    "power": "Math.pow({0}, {1})",
    "maximum": "Math.max({0}, {1})",
    "minimum": "Math.min({0}, {1})",
    "sigmoid": "sigmoid({0})",
    "tanh": "Math.tanh({0})",
    "exp": "Math.exp({0})",
    "expm1": "Math.expm1({0})",
    "log": "Math.log({0})",
    "log1p": "Math.log1p({0})",
    "sqrt": "Math.sqrt({0})",
    "abs": "Math.abs({0})",
    "sign": "Math.sign({0})",
    "sin": "Math.sin({0})",
    "cos": "Math.cos({0})",
    "erf": "erf({0})",
    "relu": "Math.max({0}, 0)",
    "softplus": "softplus({0})",
}

#: The functions that a module may call.
FUNCTIONS: Mapping[str, str] = {
    **JAVASCRIPT_FUNCTIONS,
    "sigmoid": """\
function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}
""",
    "softplus": """\
function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}
""",
    "erf": """\
// erf(x) = 2 / sqrt(pi) exp(-x^2) x (1 + 2 x^2 / 3 + (2 x^2)^2 / (3 * 5) + ...): all terms of one
// sign, so nothing cancels.
function erf(x) {
  if (!(Math.abs(x) < 6)) return x > 0 ? 1 : x < 0 ? -1 : x;
  let term = x, total = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    total += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
}
""",
    "flat": """\
// The numbers of `rows` rows, which may be one row already.
function flat(values, rows, columns) {
  if (values[0]?.length === undefined) return values;
  if (values.length !== rows || Array.from(values).some((row) => row.length !== columns)) {
    throw new RangeError(`expected ${rows} rows of ${columns} numbers`);
  }
  return Array.from(values).flatMap((row) => Array.from(row));
}
""",
    "product": """\
// y = W x from positions of the arrays on, the rows of W one after another.
function product(y, yStart, w, wStart, x, xStart, rows, columns) {
  for (let k = 0; k < rows; k++) {
    const row = wStart + k * columns;
    let total = 0;
    for (let j = 0; j < columns; j++) total += w[row + j] * x[xStart + j];
    y[yStart + k] = total;
  }
}
""",
}


def number(value: float) -> str:
    """A number of JavaScript."""
    if np.isnan(value):
        return "NaN"
    if np.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value)).removesuffix(".0")


JAVASCRIPT = Dialect(
    number=number, index="let", temporary="", truth="", operations=OPERATIONS, share="(k / {} | 0)"
)


def source_files(network: ExportedNetwork) -> dict[str, str]:
    """The texts of the module and of its types, by the ending of their names."""
    return {".js": module(network), ".d.ts": types(network)}


def module(network: ExportedNetwork) -> str:
    """The module: constants, one function a layer, `run`, and `create` for a stream."""
    constants = _joined(_constants(network))
    lines = [*_layers(network), *_forecasts(network), *_run(network)]
    body = _joined([*lines, *_create(network)] if network.streams else lines)
    table = {**STAGE_FUNCTIONS, **FUNCTIONS}
    called = _called(constants + body, table)
    functions = [table[name] for name in table if name in called]
    states = [name for name, _ in network.states()] if network.streams else []
    states += ["steps"] if network.streams and network.counts_steps else []
    forecast = network.forecast
    shape = [network.output_size]
    if forecast is not None:
        shape = [forecast.horizon, len(forecast.targets), forecast.levels]
    return f"""\
// {network.about}
//
{_joined(f"// {line}".rstrip() for line in _usage(network))}

export const inputSize = {network.input_size};
export const outputSize = {network.output_size};
export const outputShape = {json.dumps(shape)};
export const stateNames = {json.dumps(states)};
export const valueNames = {json.dumps(_value_names(network))};
export const labels = {json.dumps(list(network.labels))};

{_joined(functions)}
function numbers(text) {{
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float64Array(new Float32Array(bytes.buffer));
}}

{constants}

{body}
"""


def _called(text: str, table: Mapping[str, str]) -> set[str]:
    """The functions of a table that a text calls, and those that these call."""
    called: set[str] = set()
    texts = [text]
    while texts:
        latest = texts.pop()
        for name in table.keys() - called:
            if re.search(rf"(?<![\w.]){name}\(", latest):
                called.add(name)
                texts.append(table[name])
    return called


def _usage(network: ExportedNetwork) -> Iterator[str]:
    """The lines of the module's head: what it exports."""
    further = _further(network)
    event = "the number of a symbol" if network.symbols else f"{network.input_size} numbers"
    answer = "the answer" if network.chains.answers_once else "the answers after each step"
    yield f"An answer: {network.output}."
    yield from network.notes
    yield ""
    lines = [
        (f"run(xs{further})", f"{answer} of a sequence of events, each {event}"),
        ("runAll([xs, ...])", "the same for several sequences"),
    ]
    if network.streams:
        lines += [
            ("const stream = create()", "a stream at its start"),
            (f"stream.step(x{further})", "the answer after one event"),
            (f"stream.run(xs{further})", "the answers after each of several events"),
            ("stream.reset()", "back to the start"),
            ("stream.state", "every number that the stream remembers, to be read and written"),
            ("stream.values", "the named values of the last step, where they were exported"),
        ]
    width = max(len(code) for code, _ in lines)
    yield from (f"{code:{width}}  {text}" for code, text in lines)


def _further(network: ExportedNetwork) -> str:
    """The arguments of the further inputs, such as ", dt"."""
    return "".join(f", {array.name}" for array in network.further)


def types(network: ExportedNetwork) -> str:
    """The types of the module, for TypeScript."""
    numbers = "ArrayLike<number>"
    if network.forecast is not None:
        numbers = f"{numbers} | {numbers}[]"
    further = "".join(f", {array.name}: {numbers}" for array in network.further)
    event = "number" if network.symbols else "ArrayLike<number>"
    run_further = "".join(f", {array.name}: ({numbers})[]" for array in network.further)
    whole_further = further if network.forecast is not None else run_further
    answer = "Float64Array" if network.chains.answers_once else "Float64Array[]"
    several = "".join(f", {array.name}: ({numbers})[][]" for array in network.further)
    if network.forecast is not None:
        several = run_further
    stream = f"""
export interface Stream {{
  state: Record<string, Float64Array>;
  values: Record<string, Float64Array>;
  reset(): void;
  step(x: {event}{further}): Float64Array;
  run(xs: {event}[]{run_further}): Float64Array[];
}}

export function create(): Stream;
"""
    return f"""\
// {network.about}

export const inputSize: number;
export const outputSize: number;
export const outputShape: number[];
export const stateNames: string[];
export const valueNames: string[];
export const labels: string[];

export function run(xs: {event}[]{whole_further}): {answer};
export function runAll(sequences: {event}[][]{several}): {answer}[];
{stream if network.streams else ""}"""


def _value_names(network: ExportedNetwork) -> list[str]:
    return [value_name(layer, name) for layer in network.programs for name in layer.values]


def _constants(network: ExportedNetwork) -> Iterator[str]:
    for name, values in network.constants():
        yield _constant(name, values)
    for name, matrix in network.int8_matrices():
        yield from javascript_constants(name, matrix)


def _constant(name: str, values: NDArray[np.float32]) -> str:
    text = in_base64(values)
    return f'const {name} = numbers("{text}");'


def _layers(network: ExportedNetwork) -> Iterator[str]:
    """The functions of each layer and direction: its states at their start, and one step."""
    for program in network.programs:
        inputs = ", ".join(array.name for array in program.inputs.values())
        yield f"function {program.prefix}start() {{"
        yield "  return {"
        for name, state in program.states.items():
            yield f"    {state.name}: {_row_of(program.starts[name])},"
        yield "  };"
        yield "}"
        yield ""
        yield f"function {program.prefix}step(stream, {inputs}) {{"
        yield from _indented(_layer_body(program))
        yield "}"
        yield ""


def _layer_body(program: StepProgram) -> Iterator[str]:
    for state in program.states.values():
        yield f"const {state.name} = stream.state.{state.name};"
    for array in program.locals:
        yield f"const {array.name} = new Float64Array({array.size});"
    for statement in program.statements:
        if isinstance(statement, Product):
            yield from product(statement, program)
        else:
            yield from JAVASCRIPT.lines(statement)
    yield f"const output = {row(program.output, program.output_size)};"
    for name, (element, size) in program.values.items():
        yield f'stream.values["{value_name(program, name)}"] = {row(element, size)};'
    # All new states are complete before any is written: each is an array of its own.
    for name, element in program.updates.items():
        state = program.states[name]
        if element != Element(state):
            yield f"stream.state.{state.name} = {row(element, state.size)};"
    yield "return output;"


def product(statement: Product, program: StepProgram) -> Iterator[str]:
    """The calls of a product, one for each head."""
    target, source, matrix = statement.target, statement.source, statement.matrix
    heads, rows, columns = program.shape(statement)
    if matrix in program.int8_matrices:
        yield (
            f"int8Product({target.name}, {target.start}, {matrix}, {matrix}_scales, {source.name}, "
            f"{source.start}, {heads}, {rows}, {columns}, {str(statement.bounded).lower()});"
        )
        return
    if heads == 1:
        yield (
            f"product({target.name}, {target.start}, {matrix}, 0, {source.name}, {source.start}, "
            f"{rows}, {columns});"
        )
        return
    yield f"for (let head = 0; head < {heads}; head++) {{"
    yield (
        f"  product({target.name}, {target.start} + head * {rows}, {matrix}, "
        f"head * {rows * columns}, {source.name}, {source.start} + head * {columns}, "
        f"{rows}, {columns});"
    )
    yield "}"


def row(element: Element, size: int) -> str:
    """A new array of an element at every unit."""
    array = element.array
    if element.share == 1:
        return f"new Float64Array({_slice(array)})"
    return f"Float64Array.from({{ length: {size} }}, (_, k) => {JAVASCRIPT.element(element)})"


def _slice(array: Array) -> str:
    if not array.is_part:
        return array.name
    return f"{array.name}.slice({array.start}, {array.start + array.size})"


def _row_of(values: NDArray[np.float32]) -> str:
    """A new row of numbers."""
    if np.all(values == values[0]):
        value = number(float(values[0]))
        fill = "" if value in ("0", "-0") else f".fill({value})"
        return f"new Float64Array({values.size}){fill}"
    return f"Float64Array.of({', '.join(number(float(value)) for value in values)})"


def _forecasts(network: ExportedNetwork) -> Iterator[str]:
    """The constant of each window of a forecast."""
    for stage in network.chains.stages:
        if isinstance(stage, ForecastWindow):
            yield from forecast_lines(stage)
            yield ""


def _run(network: ExportedNetwork) -> Iterator[str]:
    """The functions of whole sequences."""
    forecast = network.forecast
    least = 1 if forecast is None else forecast.steps
    yield f"export function run(xs{_further(network)}) {{"
    yield from _flat(network)
    yield f"  if (xs.length < {least}) {{"
    yield f"    throw new RangeError(`${{xs.length}} steps; expected at least {least}`);"
    yield "  }"
    if forecast is None:
        each = "".join(f", {array.name}[t]" for array in network.further)
        yield f"  xs.forEach((x, t) => check(x{each}));"
    else:
        yield f"  xs.forEach((x) => check(x{_further(network)}));"
    yield "  let x = xs;" if network.symbols else "  let x = xs.map((x) => new Float64Array(x));"
    yield from _indented(_answer(network, whole=True))
    yield "}"
    yield ""
    yield "export function runAll(sequences, ...further) {"
    yield "  return sequences.map((xs, n) => run(xs, ...further.map((rows) => rows[n])));"
    yield "}"
    yield ""
    yield f"function check(x{_further(network)}) {{"
    yield from _indented(_checks(network))
    yield "}"
    yield ""


def _answer(network: ExportedNetwork, *, whole: bool) -> Iterator[str]:
    """The lines from an event or a sequence `x` to the answer, the mean of all members."""
    chains, further = network.chains, _further(network)
    several = len(chains.members) > 1
    if several:
        yield "const raw = x, answers = [];"
    yield from variables(chains.stages)
    for chain in chains.members:
        if several:
            yield "x = raw;"
        has_steps = True
        for stage in chain:
            if whole:
                yield from sequence_lines(stage, further, has_steps=has_steps)
            else:
                yield from step_lines(stage, further)
            has_steps = has_steps and not stage.ends_steps
        if several:
            yield "answers.push(x);"
    if several:
        if whole and not chains.answers_once:
            yield "x = raw.map((_, t) => mean(answers.map((ys) => ys[t])));"
        else:
            yield "x = mean(answers);"
    for stage in chains.ending:
        if whole:
            yield from sequence_lines(stage, further, has_steps=not chains.answers_once)
        else:
            yield from step_lines(stage, further)
    yield "return x;"


def _flat(network: ExportedNetwork) -> Iterator[str]:
    """The line that lets the values known ahead come as rows, one for each step."""
    if network.forecast is not None and network.further:
        horizon, size = network.forecast.horizon, network.further[0].size
        yield f"  known = flat(known, {horizon}, {size // horizon});"


def _checks(network: ExportedNetwork) -> Iterator[str]:
    """The lines that refuse inputs of other lengths, and numbers that are no symbol."""
    lengths = [("x", network.input_size), *((a.name, a.size) for a in network.further)]
    for name, size in lengths[network.symbols is not None :]:
        yield f"if ({name}.length !== {size}) {{"
        yield f"  throw new RangeError(`{name} has ${{{name}.length}} numbers; expected {size}`);"
        yield "}"
    if network.symbols is not None:
        yield f"if (!(Number.isInteger(x) && x >= 0 && x < {network.symbols})) {{"
        yield (
            "  throw new RangeError(`symbol ${x}; expected a whole number below "
            f"{network.symbols}`);"
        )
        yield "}"


def _create(network: ExportedNetwork) -> Iterator[str]:
    further = _further(network)
    each = "".join(f", {array.name}[t]" for array in network.further)
    yield "export function create() {"
    yield "  const stream = { state: {}, values: {} };"
    yield "  stream.reset = () => {"
    if network.counts_steps:
        yield "    stream.state.steps = new Float64Array(1);"
    for stage in network.chains.stages:
        if isinstance(stage, RecurrentLayers):
            for program in stage.programs:
                yield f"    Object.assign(stream.state, {program.prefix}start());"
        else:
            for name, start in stage.states():
                yield f"    stream.state.{name} = {_row_of(start)};"
    yield "  };"
    yield f"  stream.step = (x{further}) => {{"
    yield from _indented(_flat(network))
    yield f"    check(x{further});"
    if network.counts_steps:
        yield "    stream.state.steps[0] += 1;"
    if network.symbols is None:
        yield "    x = new Float64Array(x); // of numbers of any kind"
    yield from _indented(_indented(_answer(network, whole=False)))
    yield "  };"
    yield f"  stream.run = (xs{further}) => xs.map((x, t) => stream.step(x{each}));"
    yield "  stream.reset();"
    yield "  return stream;"
    yield "}"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines)
