"""A network as one ES module that needs nothing else, with its types beside it.

Numbers are computed in float64 from weights in float32, so that the results are those of the
layer within float32's rounding. Weights are base64 of little-endian float32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from gatewright.exports.int8 import JAVASCRIPT_FUNCTIONS, javascript_constants
from gatewright.exports.network import ExportedNetwork, in_base64, value_name
from gatewright.exports.program import Array, Element, Product, StepProgram
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
    """The module: constants, one function a layer, and `create`."""
    constants = _joined(_constants(network))
    body = "\n".join(
        [*(line for layer in network.layers for line in _layer(layer)), *_create(network)]
    )
    functions = "\n".join(
        text for name, text in FUNCTIONS.items() if f"{name}(" in constants + body
    )
    states = [state.name for layer in network.layers for state in layer.states.values()]
    return f"""\
// {network.about}
//
// const stream = create();
// stream.step(x)     the output after one event, a Float64Array(outputSize)
// stream.run(xs)     the outputs after each of several events
// stream.reset()     back to the start
// stream.state       every number that the stream remembers, to be read and written
// stream.values      the named values of the last step, where they were exported

export const inputSize = {network.input_size};
export const outputSize = {network.output_size};
export const stateNames = {json.dumps(states)};
export const valueNames = {json.dumps(_value_names(network))};
export const labels = {json.dumps(list(network.labels))};

{functions}
function numbers(text) {{
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Float64Array.from(new Float32Array(bytes.buffer));
}}

{constants}

{body}
"""


def types(network: ExportedNetwork) -> str:
    """The types of the module, for TypeScript."""
    further = "".join(f", {array.name}: ArrayLike<number>" for array in network.further)
    event = "number" if network.reads_symbols else "ArrayLike<number>"
    run_further = "".join(f", {array.name}: ArrayLike<number>[]" for array in network.further)
    return f"""\
// {network.about}

export const inputSize: number;
export const outputSize: number;
export const stateNames: string[];
export const valueNames: string[];
export const labels: string[];

export interface Stream {{
  state: Record<string, Float64Array>;
  values: Record<string, Float64Array>;
  reset(): void;
  step(x: {event}{further}): Float64Array;
  run(xs: {event}[]{run_further}): Float64Array[];
}}

export function create(): Stream;
"""


def _value_names(network: ExportedNetwork) -> list[str]:
    return [value_name(layer, name) for layer in network.layers for name in layer.values]


def _constants(network: ExportedNetwork) -> Iterator[str]:
    for name, values in network.named_constants():
        yield _constant(name, values)
    for name, matrix in network.int8_matrices():
        yield from javascript_constants(name, matrix)


def _constant(name: str, values: NDArray[np.float32]) -> str:
    text = in_base64(values)
    return f'const {name} = numbers("{text}");'


def _layer(program: StepProgram) -> Iterator[str]:
    inputs = ", ".join(array.name for array in program.inputs.values())
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
        return f"Float64Array.from({_slice(array)})"
    return f"Float64Array.from({{ length: {size} }}, (_, k) => {JAVASCRIPT.element(element)})"


def _slice(array: Array) -> str:
    if not array.is_part:
        return array.name
    return f"{array.name}.slice({array.start}, {array.start + array.size})"


def _create(network: ExportedNetwork) -> Iterator[str]:
    further = "".join(f", {array.name}" for array in network.further)
    yield "export function create() {"
    yield "  const stream = { state: {}, values: {} };"
    yield "  stream.reset = () => {"
    for layer in network.layers:
        for name, state in layer.states.items():
            start = layer.starts[name]
            if np.all(start == start[0]):
                fill = f"new Float64Array({state.size})"
                value = number(float(start[0]))
                fill += "" if value in ("0", "-0") else f".fill({value})"
            else:
                fill = f"Float64Array.of({', '.join(number(float(v)) for v in start)})"
            yield f"    stream.state.{state.name} = {fill};"
    yield "  };"
    yield f"  stream.step = (x{further}) => {{"
    yield from _indented(_indented(_step(network)))
    yield "  };"
    several = "".join(f", {array.name}" for array in network.further)
    each = "".join(f", {array.name}[t]" for array in network.further)
    yield f"  stream.run = (xs{several}) => xs.map((x, t) => stream.step(x{each}));"
    yield "  stream.reset();"
    yield "  return stream;"
    yield "}"


def _step(network: ExportedNetwork) -> Iterator[str]:
    further = "".join(f", {array.name}" for array in network.further)
    lengths = [("x", network.input_size), *((a.name, a.size) for a in network.further)]
    for name, size in lengths[network.reads_symbols :]:
        yield f"if ({name}.length !== {size}) {{"
        yield f"  throw new RangeError(`{name} has ${{{name}.length}} numbers; expected {size}`);"
        yield "}"
    if network.reads_symbols:
        symbols, size = network.constants["embedding"].shape
        yield f"if (!(Number.isInteger(x) && x >= 0 && x < {symbols})) {{"
        yield f"  throw new RangeError(`symbol ${{x}}; expected a whole number below {symbols}`);"
        yield "}"
        yield f"let after = embedding.subarray(x * {size}, (x + 1) * {size});"
    elif "scale" in network.constants:
        yield "let after = Float64Array.from(x, (value, k) => (value - mean[k]) / scale[k]);"
    else:
        yield "let after = x;"
    for layer in network.layers:
        yield f"after = {layer.prefix}step(stream, after{further});"
    if network.has_readout:
        rows, columns = network.constants["readout"].shape
        yield f"const y = new Float64Array({rows});"
        yield f"product(y, 0, readout, 0, after, 0, {rows}, {columns});"
        yield f"for (let k = 0; k < {rows}; k++) y[k] += readout_bias[k];"
        yield "after = y;"
    if network.is_probability:
        yield "const largest = Math.max(...after);"
        yield "const grown = after.map((value) => Math.exp(value - largest));"
        yield "const total = grown.reduce((sum, value) => sum + value, 0);"
        yield "after = grown.map((value) => value / total);"
    yield "return after;"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _joined(lines: Iterator[str]) -> str:
    return "\n".join(lines)
