"""A network as C99: a header and a source that need nothing but libm, no heap and no globals.

The step is written from the cell's program (`export/program.py`). Weights are constants; a
stream's state is a struct of fixed arrays that the caller owns, so that any number of streams run
at once. exp and tanh are approximations of our own, the same on every platform.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gatewright.exports.c_forecast import forecast_function, forecast_workspace
from gatewright.exports.c_replay import replay
from gatewright.exports.c_rows import row, score_function
from gatewright.exports.c_sequences import buffer_lines, sequence, workspace_width
from gatewright.exports.c_text import constant, indented, joined, number, over, start_lines
from gatewright.exports.int8 import C_FUNCTIONS, c_codes, c_product
from gatewright.exports.network import ExportedNetwork
from gatewright.exports.program import Array, Element, Product, StepProgram
from gatewright.exports.stages import Embedding, ForecastWindow, Stage, Summary
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
    "expm1": "gw_expm1({0})",
    "log": "gw_log({0})",
    "log1p": "gw_log1p({0})",
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
    "gw_clamp": (
        (),
        """\
/* x between -limit and limit, NaN if it is NaN. It compares integers: with comparisons of numbers,
   which may trap, some compilers use no vector instructions for a loop that calls this. */
static inline float gw_clamp(float x, float limit)
{
    union { float value; int32_t bits; } number, bound;
    number.value = x;
    bound.value = limit;
    const int32_t size = number.bits & 0x7FFFFFFF;
    const int32_t least = size > bound.bits ? bound.bits : size;
    number.bits = (size > 0x7F800000 ? size : least) | (number.bits & ~0x7FFFFFFF);
    return number.value;
}
""",
    ),
    "gw_exp": (
        ("gw_clamp",),
        """\
/* e to the power of x: 2^n times a polynomial (Cephes), within 2 units in the last place; 0 below
   2^-126. */
static inline float gw_exp(float x)
{
    x = gw_clamp(x, 88.0f);
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
        ("gw_clamp",),
        """\
/* tanh(x) = x P(x^2) / Q(x^2), the rational approximation of Eigen. */
static inline float gw_tanh(float x)
{
    x = gw_clamp(x, 7.90531110763549805f);
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
    "gw_log": (
        (),
        """\
/* The natural logarithm: that of the exponent, and a polynomial for the rest (Cephes). */
static inline float gw_log(float x)
{
    const int is_tiny = x < 1.17549435e-38f;
    union { float value; uint32_t bits; } number, rest;
    number.value = is_tiny ? x * 8388608.0f : x;
    /* The rest is between the roots of 1/2 and of 2. */
    const uint32_t shifted = number.bits + (0x3F800000u - 0x3F3504F3u);
    rest.bits = (shifted & 0x007FFFFFu) + 0x3F3504F3u;
    const float n = (float)((int)(shifted >> 23) - (is_tiny ? 127 + 23 : 127));
    const float r = rest.value - 1.0f, s = r * r;
    float p = 7.0376836292e-2f;
    p = p * r + -1.1514610310e-1f;
    p = p * r + 1.1676998740e-1f;
    p = p * r + -1.2420140846e-1f;
    p = p * r + 1.4249322787e-1f;
    p = p * r + -1.6668057665e-1f;
    p = p * r + 2.0000714765e-1f;
    p = p * r + -2.4999993993e-1f;
    p = p * r + 3.3333331174e-1f;
    p = p * r * s + n * -2.12194440e-4f - 0.5f * s;
    const float result = r + p + n * 0.693359375f;
    return x > 0.0f ? (x < INFINITY ? result : x) : (x == 0.0f ? -INFINITY : NAN);
}
""",
    ),
    "gw_log1p": (
        ("gw_log",),
        """\
/* log(1 + x), also of small x: the rounding of 1 + x is corrected by x / ((1 + x) - 1). */
static inline float gw_log1p(float x)
{
    const float u = 1.0f + x, d = u - 1.0f;
    return d == 0.0f || u == INFINITY ? x : gw_log(u) * (x / d);
}
""",
    ),
    "gw_expm1": (
        ("gw_exp", "gw_log"),
        """\
/* exp(x) - 1, also of small x, by the same correction. */
static inline float gw_expm1(float x)
{
    const float u = gw_exp(x), d = u - 1.0f;
    return u == 1.0f ? x : (d == -1.0f || u > 1e38f ? d : d * (x / gw_log(u)));
}
""",
    ),
    "gw_softplus": (
        ("gw_exp", "gw_log1p", "gw_maximum"),
        """\
static inline float gw_softplus(float x)
{
    return gw_maximum(x, 0.0f) + gw_log1p(gw_exp(-fabsf(x)));
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
    "gw_softmax": (
        ("gw_exp",),
        """\
static void gw_softmax(float *y, const float *x, int size)
{
    float largest = x[0], total = 0.0f;
    for (int k = 1; k < size; k++) {
        largest = x[k] > largest ? x[k] : largest;
    }
    for (int k = 0; k < size; k++) {
        y[k] = gw_exp(x[k] - largest);
        total += y[k];
    }
    for (int k = 0; k < size; k++) {
        y[k] /= total;
    }
}
""",
    ),
    "gw_sort": (
        (),
        """\
static void gw_sort(float *x, int size)
{
    for (int k = 1; k < size; k++) {
        const float value = x[k];
        int place = k;
        for (; place > 0 && x[place - 1] > value; place--) {
            x[place] = x[place - 1];
        }
        x[place] = value;
    }
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
    """The header: sizes as macros, the state, and the functions."""
    upper = network.name.upper()
    further = "".join(
        f"\n#define {upper}_{array.name.upper()} {array.size}" for array in network.further
    )
    notes = "".join(f" * {line}\n" for line in network.notes)
    declared = _run_header(network) + (_stream_header(network) if network.streams else "")
    return f"""/* {network.about}
 *
{joined(f" * {line}".rstrip() for line in _usage(network))}
 *
 * An answer: {network.output}.
{notes} *
 * Weights: {network.weight_bytes} bytes. A step: {network.multiply_adds} multiply-adds.
 */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_INPUT {network.input_size}
#define {upper}_OUTPUT {network.output_size}{further}

{_labels(network)}{declared}
#ifdef __cplusplus
}}
#endif

#endif
"""


def _usage(network: ExportedNetwork) -> Iterator[str]:
    name, upper = network.name, network.name.upper()
    if network.streams:
        yield f"A stream: {name}_reset(&state), then {name}_step(&state, {_arguments(network)})"
        yield "for every event. Each stream has a state of its own, and may be used by one thread"
        yield f"at a time. State: {4 * network.state_size} bytes{_and_workspace(network)}."
        if network.forecast is not None:
            yield f"The answer is NAN until {network.forecast.steps} events have been read."
        yield ""
    least = _least_steps(network)
    event = "the number of a symbol" if network.symbols else f"{upper}_INPUT numbers"
    several = f"at least {least} steps" if least > 1 else "one or more steps"
    yield f"A whole sequence: {name}_run({_run_arguments(network)}), where x has {event}"
    yield f"for each of {several}. The workspace belongs to the caller, and may have any numbers"
    yield f"at first: {upper}_WORKSPACE(steps) floats. With fewer steps, nothing is written."
    if not network.streams:
        yield f"There is no answer event by event: {network.chains.why_not_stream}."


def _and_workspace(network: ExportedNetwork) -> str:
    size = _stream_workspace(network)
    return f", and {4 * size} of a workspace" if size else ""


def _stream_workspace(network: ExportedNetwork) -> int:
    """Numbers of the workspace of a stream's step: of a forecast, which reads its window anew."""
    return max((forecast_workspace(stage) for stage in _forecasts(network)), default=0)


def _stream_header(network: ExportedNetwork) -> str:
    name = network.name
    rows = [f"    float {state}[{start.size}];" for state, start in network.states()]
    if network.counts_steps:
        rows.insert(0, "    uint32_t steps; /* events that were read */")
    size = _stream_workspace(network)
    if size:
        rows.append(f"    float workspace[{size}]; /* nothing in it outlasts a step */")
    return f"""
typedef struct {{
{joined(rows)}
}} {name}_state;

/* Put a stream at its start. */
void {name}_reset({name}_state *state);

/* Read one event, and write the answer after it. */
void {name}_step({name}_state *state, {_parameters(network)}, float *y);
"""


def _run_header(network: ExportedNetwork) -> str:
    upper = network.name.upper()
    size = f"(size_t)(steps) * {_workspace(network)}"
    if network.forecast is not None:
        size += f" + {_stream_workspace(network)}"
    answer = f"{upper}_OUTPUT numbers for each step"
    if network.chains.answers_once:
        answer = "the answer after its end"
    return f"""#define {upper}_WORKSPACE(steps) ({size})

/* Read a sequence from the start, and write {answer}. */
void {network.name}_run({_run_parameters(network)});
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
    body = [line for program in network.programs for line in _layer(program)]
    for stage in [*network.chains.stages, *(s for f in _forecasts(network) for s in f.chain)]:
        if isinstance(stage, Summary) and stage.vector is not None:
            body += [*score_function(stage), ""]
    for stage in _forecasts(network):
        body += [*forecast_function(stage), ""]
    if network.streams:
        body += [*_step(network), ""]
    body += _run(network)
    text = joined(body)
    parts = [
        f'#include "{network.stem or network.name}.h"\n\n#include <math.h>',
        functions(text),
        joined(_constants(network)),
        joined(_reset(network)) if network.streams else "",
        text,
        replay(network),
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _forecasts(network: ExportedNetwork) -> list[ForecastWindow]:
    return [stage for stage in network.chains.stages if isinstance(stage, ForecastWindow)]


def functions(text: str) -> str:
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
        yield from constant(f"{name}_scales", int8.scales.numpy())
    for program in network.programs:
        for name, matrix in program.matrices.items():
            blocks = matrix if matrix.ndim == 3 else matrix[None]
            yield from constant(name, np.concatenate([block.T.ravel() for block in blocks]))
        for name, vector in program.vectors.items():
            yield from constant(name, vector)
    for stage in network.chains.stages:
        embedded = f"{stage.name}_weight" if isinstance(stage, Embedding) else None
        for name, values in stage.arrays():
            # Matrices have their columns one after another, as `gw_product` reads them.
            is_matrix = name.endswith(("_weight", "_effect")) and name != embedded
            yield from constant(name, values.T if is_matrix else values)


def _literal(text: str) -> str:
    """A literal of C in UTF-8; three octal digits end an escape by themselves."""
    plain = set(f"{string.ascii_letters}{string.digits} _-.,:;()".encode())
    letters = (chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(letters)}"'


def _reset(network: ExportedNetwork) -> Iterator[str]:
    yield f"void {network.name}_reset({network.name}_state *state)"
    yield "{"
    if network.counts_steps:
        yield "    state->steps = 0;"
    for name, start in network.states():
        yield from indented(start_lines(f"state->{name}", start))
    yield "}"


def _layer(program: StepProgram) -> Iterator[str]:
    states = [f"float *restrict {state.name}" for state in program.states.values()]
    inputs = [f"const float *restrict {array.name}" for array in program.inputs.values()]
    yield f"static void {program.prefix}advance({', '.join([*states, *inputs])},"
    yield "        float *restrict output)"
    yield "{"
    yield from indented(_layer_body(program))
    yield "}"
    yield ""


def _layer_body(program: StepProgram) -> Iterator[str]:
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
    if network.counts_steps:
        yield "    state->steps += state->steps < UINT32_MAX;"
    event = "x" if network.symbols is None else "symbol"
    lines = _members(network, lambda chain, y: _rows(network, chain, event, y), is_row=True)
    yield from indented(lines)
    yield "}"


def _rows(network: ExportedNetwork, chain: Sequence[Stage], x: str, y: str) -> Iterator[str]:
    """The lines of a chain that reads one event, or one vector."""
    source = x
    for position, stage in enumerate(chain):
        target = y if position == len(chain) - 1 else f"{stage.name}_row"
        if target != y:
            yield f"float {target}[{stage.output_size}];"
        yield "{"
        yield from indented(row(stage, source, target, _further(network)))
        yield "}"
        source = target


def _members(
    network: ExportedNetwork,
    lines: Callable[[Sequence[Stage], str], Iterator[str]],
    *,
    is_row: bool,
) -> Iterator[str]:
    """The lines of all members, whose answers are averaged, and of what follows the mean.

    Args:
        lines: From a chain and the name of its answer to its lines.
        is_row: Whether an answer is one row, and not one for each step.
    """
    chains = network.chains.members
    size = chains[0][-1].output_size
    if len(chains) == 1:
        yield from lines(chains[0], "y")
    for position, chain in enumerate(chains if len(chains) > 1 else ()):
        yield "{"
        if is_row:
            yield f"    float answer[{size}];"
            count, kind = str(size), "int"
        else:
            yield f"    float *const answer = workspace + (size_t)steps * {workspace_width(chain)};"
            count, kind = f"(size_t)steps * {size}", "size_t"
        yield from indented(lines(chain, "answer"))
        addition = "+=" if position else "="
        mean = f"y[k] {addition} answer[k] / {number(len(chains))};"
        yield from indented(over(count, mean, kind=kind))
        yield "}"
    if network.chains.ending:
        yield from _rows(network, network.chains.ending, "y", "y")


def _workspace(network: ExportedNetwork) -> int:
    """Numbers of the workspace for each step of a sequence."""
    width = max(workspace_width(chain) for chain in network.chains.members)
    has_answers = len(network.chains.members) > 1 and not network.chains.answers_once
    return width + (network.output_size if has_answers else 0)


def _run(network: ExportedNetwork) -> Iterator[str]:
    yield f"void {network.name}_run({_run_parameters(network)})"
    yield "{"
    yield f"    if (steps < {_least_steps(network)}) {{"
    yield "        return;"
    yield "    }"
    is_row = network.chains.answers_once
    lines = _members(network, lambda chain, y: _sequence(network, chain, y), is_row=is_row)
    yield from indented(lines)
    yield "}"


def _least_steps(network: ExportedNetwork) -> int:
    """The fewest steps of a sequence that has an answer."""
    return 1 if network.forecast is None else network.forecast.steps


def _sequence(network: ExportedNetwork, chain: Sequence[Stage], y: str) -> Iterator[str]:
    yield from buffer_lines(chain, "workspace", "steps")
    yield from sequence(chain, "x", "steps", y, _further(network))


def _further(network: ExportedNetwork) -> list[str]:
    """The names of the further inputs."""
    return [array.name for array in network.further]


def _parameters(network: ExportedNetwork) -> str:
    event = "const float *x" if network.symbols is None else "int symbol"
    return ", ".join([event, *(f"const float *{a.name}" for a in network.further)])


def _arguments(network: ExportedNetwork) -> str:
    event = "x" if network.symbols is None else "symbol"
    return ", ".join([event, *(array.name for array in network.further), "y"])


def _run_parameters(network: ExportedNetwork) -> str:
    kind = "float" if network.symbols is None else "int"
    further = [f"const float *{array.name}" for array in network.further]
    return ", ".join([f"const {kind} *x", *further, "int steps", "float *workspace", "float *y"])


def _run_arguments(network: ExportedNetwork) -> str:
    further = [array.name for array in network.further]
    return ", ".join(["x", *further, "steps", "workspace", "y"])
