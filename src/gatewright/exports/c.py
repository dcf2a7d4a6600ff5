"""A network as C99: a header and a source that need nothing but libm, no heap and no globals.

The step is written from the cell's program (`export/program.py`). Weights are constants; a
stream's state is a struct of fixed arrays that the caller owns, so that any number of streams run
at once. exp and tanh are approximations of our own, the same on every platform.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.exports.int8 import C_FUNCTIONS, c_codes, c_product
from gatewright.exports.network import ExportedNetwork
from gatewright.exports.program import Array, Element, Product, StepProgram
from gatewright.exports.statements import Dialect

#: Functions of the source, from `MATHEMATICS` or libm.
OPERATIONS: Mapping[str, str] = {
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "power": "powf({0}, {1})",
    "maximum": "gw_maximum({0}, {1})",
    "minimum": "gw_minimum({0}, {1})",
    "sigmoid": "gw_sigmoid({0})",
    "tanh": "gw_tanh({0})",
    "exp": "gw_exp({0})",
    "expm1": "expm1f({0})",
    "log": "logf({0})",
    "log1p": "log1pf({0})",
    "sqrt": "sqrtf({0})",
    "abs": "fabsf({0})",
    "sign": "gw_sign({0})",
    "sin": "sinf({0})",
    "cos": "cosf({0})",
    "erf": "erff({0})",
    "relu": "gw_relu({0})",
    "softplus": "gw_softplus({0})",
}

#: The functions that a source may call, each with those that it calls itself.
FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    **C_FUNCTIONS,
    "gw_exp": (
        (),
        """\
/* e to the power of x: 2^n times a polynomial (Cephes), within 2 units in the last place. */
static inline float gw_exp(float x)
{
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    union { uint32_t bits; float value; } shifted, power;
    shifted.value = x * 1.44269504f + 12582912.0f; /* n is in the lowest bits */
    const float n = shifted.value - 12582912.0f;
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    power.bits = (shifted.bits - 0x4B400000u + 127u) << 23;
    return ((p * r) * r + r + 1.0f) * power.value;
}
""",
    ),
    "gw_sigmoid": (
        ("gw_exp",),
        """\
static inline float gw_sigmoid(float x)
{
    return 1.0f / (1.0f + gw_exp(-x));
}
""",
    ),
    "gw_tanh": (
        (),
        """\
/* tanh(x) = x P(x^2) / Q(x^2), the rational approximation of Eigen. */
static inline float gw_tanh(float x)
{
    x = x > 7.90531110763549805f ? 7.90531110763549805f : x;
    x = x < -7.90531110763549805f ? -7.90531110763549805f : x;
    const float s = x * x;
    float p = -2.76076847742355e-16f;
    p = p * s + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    float q = 1.19825839466702e-06f;
    q = q * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * p / q;
}
""",
    ),
    "gw_softplus": (
        ("gw_exp", "gw_maximum"),
        """\
static inline float gw_softplus(float x)
{
    return gw_maximum(x, 0.0f) + log1pf(gw_exp(-fabsf(x)));
}
""",
    ),
    "gw_maximum": (
        (),
        """\
/* NaN where either is NaN, as everywhere else in this file. */
static inline float gw_maximum(float a, float b)
{
    return a > b || a != a ? a : b;
}
""",
    ),
    "gw_minimum": (
        (),
        """\
static inline float gw_minimum(float a, float b)
{
    return a < b || a != a ? a : b;
}
""",
    ),
    "gw_relu": (
        (),
        """\
static inline float gw_relu(float x)
{
    return x < 0.0f ? 0.0f : x;
}
""",
    ),
    "gw_sign": (
        (),
        """\
static inline float gw_sign(float x)
{
    return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x);
}
""",
    ),
    "gw_product": (
        (),
        """\
/* y = W x, with the columns of W one after another: four at a time, so that y is loaded and stored
   a quarter as often. Compilers use vector instructions for the inner loop. */
static void gw_product(float *restrict y, const float *restrict w, const float *restrict x,
                       int rows, int columns)
{
    int j = 0;
    for (int k = 0; k < rows; k++) {
        y[k] = 0.0f;
    }
    for (; j + 4 <= columns; j += 4) {
        const float *restrict a = w + (size_t)j * (size_t)rows;
        const float *restrict b = a + rows, *restrict c = b + rows, *restrict d = c + rows;
        const float p = x[j], q = x[j + 1], r = x[j + 2], s = x[j + 3];
        for (int k = 0; k < rows; k++) {
            y[k] += (a[k] * p + b[k] * q) + (c[k] * r + d[k] * s);
        }
    }
    for (; j < columns; j++) {
        const float *restrict a = w + (size_t)j * (size_t)rows;
        const float p = x[j];
        for (int k = 0; k < rows; k++) {
            y[k] += a[k] * p;
        }
    }
}
""",
    ),
}


def number(value: float) -> str:
    """A number of C, exact in float32."""
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def product(statement: Product, program: StepProgram) -> list[str]:
    """The calls of a product, one for each head."""
    target, source = statement.target, statement.source
    heads, rows, columns = program.shape(statement)
    if statement.matrix in program.int8_matrices:
        addresses = pointer(target), pointer(source), statement.matrix
        return c_product(*addresses, (heads, rows, columns), bounded=statement.bounded)
    if heads == 1:
        call = f"{pointer(target)}, {statement.matrix}, {pointer(source)}, {rows}, {columns}"
        return [f"gw_product({call});"]
    return [
        f"for (int head = 0; head < {heads}; head++) {{",
        f"    gw_product({pointer(target)} + head * {rows}, "
        f"{statement.matrix} + head * {rows * columns}, {pointer(source)} + head * {columns}, "
        f"{rows}, {columns});",
        "}",
    ]


def pointer(array: Array) -> str:
    """The address of an array's first number."""
    return f"{array.name} + {array.start}" if array.start else array.name


C = Dialect(
    number=number,
    index="int",
    temporary="float ",
    truth="int ",
    operations=OPERATIONS,
    share="k / {}",
)


def source_files(network: ExportedNetwork) -> dict[str, str]:
    """The texts of the header and the source, by the ending of their names."""
    return {".h": header(network), ".c": source(network)}


def header(network: ExportedNetwork) -> str:
    """The header: sizes as macros, the state, and the two functions."""
    name, upper = network.name, network.name.upper()
    state_lines = [
        f"    float {state.name}[{state.size}];"
        for layer in network.layers
        for state in layer.states.values()
    ]
    further = "".join(
        f"\n#define {upper}_{array.name.upper()} {array.size}" for array in network.further
    )
    return f"""/* {network.about}
 *
 * A stream: {name}_reset(&state), then {name}_step(&state, {_arguments(network)}) for every event.
 * Each stream has a state of its own, and may be used by one thread at a time.
 *
 * State: {4 * network.state_size} bytes. Weights: {network.weight_bytes} bytes.
 * A step: {network.multiply_adds} multiply-adds.
 */
#ifndef {upper}_H
#define {upper}_H

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_INPUT {network.input_size}
#define {upper}_OUTPUT {network.output_size}{further}

{_labels(network)}typedef struct {{
{_joined(state_lines)}
}} {name}_state;

/* Put a stream at its start. */
void {name}_reset({name}_state *state);

/* Read one event, and write the output after it. */
void {name}_step({name}_state *state, {_parameters(network)}, float *y);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _labels(network: ExportedNetwork) -> str:
    """The declaration of the names of the outputs."""
    if not network.labels:
        return ""
    return (
        "/* The outputs are the probabilities of these. */\n"
        f"extern const char *const {network.name}_labels[{network.output_size}];\n\n"
    )


def source(network: ExportedNetwork) -> str:
    """The source: constants, the functions that they need, the layers, and the replay test."""
    body = [line for layer in range(len(network.layers)) for line in _layer(network, layer)]
    body += _step(network)
    text = _joined(body)
    parts = [
        f'#include "{network.name}.h"\n\n#include <math.h>\n#include <stddef.h>\n'
        "#include <stdint.h>",
        _functions(text),
        _joined(_constants(network)),
        _joined(_reset(network)),
        text,
        replay(network),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _functions(text: str) -> str:
    """The functions that a text calls, after those that they call."""
    needed: dict[str, None] = {}

    def add(name: str) -> None:
        for other in FUNCTIONS[name][0]:
            add(other)
        needed[name] = None

    for name in FUNCTIONS:
        if f"{name}(" in text:
            add(name)
    return "\n".join(FUNCTIONS[name][1] for name in needed)


def _constants(network: ExportedNetwork) -> Iterator[str]:
    if network.labels:
        yield f"const char *const {network.name}_labels[{network.output_size}] = {{"
        for label in network.labels:
            yield f"    {_literal(label)},"
        yield "};"
    for name, int8 in network.int8_matrices():
        yield from c_codes(name, int8)
        yield from _constant(f"{name}_scales", int8.scales.numpy())
    for layer in network.layers:
        for name, matrix in layer.matrices.items():
            blocks = matrix if matrix.ndim == 3 else matrix[None]
            yield from _constant(name, np.concatenate([block.T.ravel() for block in blocks]))
        for name, vector in layer.vectors.items():
            yield from _constant(name, vector)
    for name, values in network.constants.items():
        yield from _constant(name, values.T if name == "readout" else values)


def _literal(text: str) -> str:
    """A literal of C in UTF-8; three octal digits end an escape by themselves."""
    plain = set(f"{string.ascii_letters}{string.digits} _-.,:;()".encode())
    letters = (chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(letters)}"'


def _constant(name: str, values: NDArray[np.float32]) -> Iterator[str]:
    flat = [number(float(value)) for value in values.ravel()]
    yield f"static const float {name}[{len(flat)}] = {{"
    for start in range(0, len(flat), 6):
        yield f"    {', '.join(flat[start : start + 6])},"
    yield "};"


def _reset(network: ExportedNetwork) -> Iterator[str]:
    yield f"void {network.name}_reset({network.name}_state *state)"
    yield "{"
    for layer in network.layers:
        for name, state in layer.states.items():
            start = layer.starts[name]
            if np.all(start == start[0]):
                value = number(float(start[0]))
                yield f"    for (int k = 0; k < {state.size}; k++) {{"
                yield f"        state->{state.name}[k] = {value};"
                yield "    }"
            else:
                yield f"    static const float {state.name}_start[{state.size}] = {{"
                yield f"        {', '.join(number(float(value)) for value in start)}"
                yield "    };"
                yield f"    for (int k = 0; k < {state.size}; k++) {{"
                yield f"        state->{state.name}[k] = {state.name}_start[k];"
                yield "    }"
    yield "}"


def _layer(network: ExportedNetwork, position: int) -> Iterator[str]:
    program = network.layers[position]
    inputs = ", ".join(f"const float *restrict {array.name}" for array in program.inputs.values())
    yield f"static void {network.name}_layer{position}({network.name}_state *state, {inputs},"
    yield "        float *restrict output)"
    yield "{"
    yield from _indented(_layer_body(program))
    yield "}"
    yield ""


def _layer_body(program: StepProgram) -> Iterator[str]:
    for state in program.states.values():
        yield f"float *restrict {state.name} = state->{state.name};"
    for array in program.locals:
        yield f"float {array.name}[{array.size}];"
    for statement in program.statements:
        if isinstance(statement, Product):
            yield from product(statement, program)
        else:
            yield from C.lines(statement)
    yield from copy("output", program.output, program.output_size)
    yield from state_updates(program)
    for array in (*program.inputs.values(), *program.states.values()):
        yield f"(void){array.name};"


def state_updates(program: StepProgram) -> Iterator[str]:
    """The lines that write the new states, after all that is read from the old ones."""
    names = {state.name: state for state in program.states.values()}
    writes = []
    for name, element in program.updates.items():
        state = program.states[name]
        if element == Element(state):
            continue  # it stays as it is
        origin = element
        if element.array.name in names:  # of another state, which may be written first
            moved = Array(f"{state.name}_next", state.size)
            yield f"float {moved.name}[{moved.size}];"
            yield from copy(moved.name, element, state.size)
            origin = Element(moved)
        writes.append((state, origin))
    for state, origin in writes:
        yield from copy(state.name, origin, state.size)


def copy(target: str, element: Element, size: int) -> Iterator[str]:
    """A loop that copies an element at every unit."""
    yield f"for (int k = 0; k < {size}; k++) {{"
    yield f"    {target}[k] = {C.element(element)};"
    yield "}"


def _step(network: ExportedNetwork) -> Iterator[str]:
    yield f"void {network.name}_step({network.name}_state *state, {_parameters(network)}, float *y)"
    yield "{"
    yield from _indented(_step_body(network))
    yield "}"


def _step_body(network: ExportedNetwork) -> Iterator[str]:
    event = "x"
    if network.reads_symbols:
        event = f"embedding + (size_t)symbol * {network.constants['embedding'].shape[1]}"
    if "scale" in network.constants:
        yield f"float scaled[{network.input_size}];"
        yield f"for (int k = 0; k < {network.input_size}; k++) {{"
        yield "    scaled[k] = (x[k] - mean[k]) / scale[k];"
        yield "}"
        event = "scaled"
    further = "".join(f", {array.name}" for array in network.further)
    last = len(network.layers) - 1
    for position, program in enumerate(network.layers):
        target = "y"
        if position < last or network.has_readout:
            target = f"after{position}"
            yield f"float {target}[{program.output_size}];"
        yield f"{network.name}_layer{position}(state, {event}{further}, {target});"
        event = target
    if network.has_readout:
        rows, columns = network.constants["readout"].shape
        yield f"gw_product(y, readout, {event}, {rows}, {columns});"
        yield f"for (int k = 0; k < {rows}; k++) {{"
        yield "    y[k] += readout_bias[k];"
        yield "}"
    if network.is_probability:
        size = network.output_size
        yield "float largest = y[0], total = 0.0f;"
        yield f"for (int k = 1; k < {size}; k++) {{"
        yield "    largest = y[k] > largest ? y[k] : largest;"
        yield "}"
        yield f"for (int k = 0; k < {size}; k++) {{"
        yield "    y[k] = gw_exp(y[k] - largest);"
        yield "    total += y[k];"
        yield "}"
        yield f"for (int k = 0; k < {size}; k++) {{"
        yield "    y[k] /= total;"
        yield "}"


def replay(network: ExportedNetwork) -> str:
    """The replay test: recorded steps of two streams, which a reset separates."""
    record = network.record
    name, upper = network.name, network.name.upper()
    arrays = [line for key, values in record.arrays() for line in _constant(key, values)]
    further = "".join(f", recorded_{array.name} + step * {array.size}" for array in network.further)
    event = f"recorded_x + step * {upper}_INPUT"
    if network.reads_symbols:
        event = "(int)recorded_x[step]"
    return f"""#ifdef {upper}_TEST
/* {record.steps} recorded steps: the stream is reset before the first one and in the middle. */
#include <stdio.h>

{_joined(arrays)}

int main(void)
{{
    static {name}_state state;
    float y[{upper}_OUTPUT], worst = 0.0f;
    for (int step = 0; step < {record.steps}; step++) {{
        if (step % {record.steps // 2} == 0) {{
            {name}_reset(&state);
        }}
        {name}_step(&state, {event}{further}, y);
        for (int k = 0; k < {upper}_OUTPUT; k++) {{
            const float expected = recorded_y[step * {upper}_OUTPUT + k];
            const float off = fabsf(y[k] - expected) / (1.0f + fabsf(expected));
            worst = off > worst || off != off ? off : worst;
        }}
    }}
    printf("largest difference: %g\\n", (double)worst);
    return worst < {number(network.tolerance)} ? 0 : 1;
}}
#endif"""


def _parameters(network: ExportedNetwork) -> str:
    event = "int symbol" if network.reads_symbols else "const float *x"
    return ", ".join([event, *(f"const float *{a.name}" for a in network.further)])


def _arguments(network: ExportedNetwork) -> str:
    event = "symbol" if network.reads_symbols else "x"
    return ", ".join([event, *(array.name for array in network.further), "y"])


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _joined(lines: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(lines)
