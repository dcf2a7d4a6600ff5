"""A network as one file of Python that needs only NumPy, for places where torch is too large.

Every line works on arrays (..., size), so that one call advances one stream or a batch of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from gatewright.exports.int8 import PYTHON_FUNCTIONS, python_constants
from gatewright.exports.network import ExportedNetwork, in_base64, value_name
from gatewright.exports.program import (
    Array,
    Element,
    Operand,
    Product,
    Reduction,
    StepProgram,
    UnitLoop,
    UnitOperation,
)
from gatewright.exports.python_stages import (
    FUNCTIONS,
    forecast_lines,
    sequence_lines,
    step_lines,
)
from gatewright.exports.stages import Floats, ForecastWindow, RecurrentLayers, Stage

#: The texts of operations; `{0}` is the first operand.
OPERATIONS: Mapping[str, str] = {
    "add": "{0} + {1}",
    "subtract": "{0} - {1}",
    "multiply": "{0} * {1}",
    "divide": "{0} / {1}",
    "power": "{0} ** {1}",
    "negative": "-{0}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "logical_and": "np.logical_and({0}, {1})",
    "logical_or": "np.logical_or({0}, {1})",
    "logical_not": "np.logical_not({0})",
    "where": "np.where({0}, {1}, {2})",
    "stop_gradient": "{0}",
    "expand": "{0}",
    "maximum": "np.maximum({0}, {1})",
    "minimum": "np.minimum({0}, {1})",
    "sigmoid": "0.5 * np.tanh(0.5 * {0}) + 0.5",
    "tanh": "np.tanh({0})",
    "exp": "np.exp({0})",
    "expm1": "np.expm1({0})",
    "log": "np.log({0})",
    "log1p": "np.log1p({0})",
    "sqrt": "np.sqrt({0})",
    "abs": "np.abs({0})",
    "sign": "np.sign({0})",
    "sin": "np.sin({0})",
    "cos": "np.cos({0})",
    "erf": "np.vectorize(math.erf, otypes=[np.float32])({0})",
    "relu": "np.maximum({0}, 0.0)",
    "softplus": "np.logaddexp({0}, 0.0)",
}


def source_files(network: ExportedNetwork) -> dict[str, str]:
    """The text of the file, by the ending of its name."""
    return {".py": source(network)}


def source(network: ExportedNetwork) -> str:
    """The file: constants, one function a layer, `run`, and the class `Stream` of a stream."""
    text = "\n".join([*_layers(network), *_starts(network), *_forecasts(network), *_run(network)])
    if network.streams:
        text += "\n" + "\n".join(_stream(network))
    helpers = "\n\n".join(body for name, body in FUNCTIONS.items() if _calls(text, name))
    gap = "\n\n"
    imports = "import base64\n" + ("import math\n" if "math." in text else "")
    return f'''\
"""{network.about}

{_usage(network)}
"""

{imports}
import numpy as np

INPUT_SIZE = {network.input_size}
OUTPUT_SIZE = {network.output_size}
LABELS = {list(network.labels)!r}


def _numbers(text, *shape):
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(shape)


{PYTHON_FUNCTIONS + gap if network.is_int8 else ""}{_joined(_constants(network))}


{helpers}
{text}
'''


def _calls(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){name}\(", text) is not None


def _usage(network: ExportedNetwork) -> str:
    """The lines of the file's head: the functions and the shapes of their arguments."""
    event = "the number of a symbol" if network.symbols else f"(..., {network.input_size})"
    steps = "numbers of symbols, (T,)" if network.symbols else f"(T, {network.input_size})"
    further = "".join(f", {array.name}" for array in network.further)
    answer = "y" if network.chains.answers_once else "ys"
    after = "of a sequence" if network.chains.answers_once else "of each step"
    lines = [
        (f"{answer} = run(xs{further})", f"the answer {after}; xs is {steps}"),
        ("answers = run_all([xs, ...])", "those of several sequences"),
    ]
    if network.streams:
        lines += [
            ("stream = Stream()", "at its start; a batch of streams begins at its first step"),
            (f"y = stream.step(x{further})", f"the answer after one event; x is {event}"),
            (f"ys = stream.run(xs{further})", "the answers after each of several events"),
            ("stream.reset()", "back to the start"),
            ("stream.state", "every number that the stream remembers, to be read and written"),
            ("stream.values", "the named values of the last step, where they were exported"),
        ]
    width = max(len(code) for code, _ in lines)
    notes = [f"An answer: {network.output}.", *network.notes]
    return "\n".join([*notes, "", *(f"{code:{width}}  # {text}" for code, text in lines)])


def _constants(network: ExportedNetwork) -> Iterator[str]:
    for name, values in network.constants():
        yield _constant(name, values)
    for name, matrix in network.int8_matrices():
        yield from python_constants(name, matrix)


def _constant(name: str, values: NDArray[np.float32]) -> str:
    text = in_base64(values)
    return f'{name} = _numbers("{text}", {", ".join(map(str, values.shape))})'


def number(value: float) -> str:
    """A number of Python, as NumPy keeps it from raising the precision of an array."""
    if np.isnan(value):
        return "np.nan"
    if np.isinf(value):
        return "np.inf" if value > 0 else "-np.inf"
    return repr(float(np.float32(value)))


def _layers(network: ExportedNetwork) -> Iterator[str]:
    for layer in network.programs:
        inputs = ", ".join(array.name for array in layer.inputs.values())
        yield f"def {layer.prefix}step(state, values, {inputs}):"
        yield from _indented(_layer_body(layer))
        yield ""
        yield ""


def _layer_body(program: StepProgram) -> Iterator[str]:
    for state in program.states.values():
        yield f'{state.name} = state["{state.name}"]'
    for statement in program.statements:
        if isinstance(statement, Product):
            yield _product(statement, program)
        elif isinstance(statement, Reduction):
            yield _reduction(statement)
        else:
            yield from _loop(statement)
    for name, (element, size) in program.values.items():
        yield f'values["{value_name(program, name)}"] = {_row(element, size)}'
    yield f"output = {_row(program.output, program.output_size)}"
    updates = {program.states[name]: element for name, element in program.updates.items()}
    written = ", ".join(
        f'"{state.name}": {_row(element, state.size)}' for state, element in updates.items()
    )
    yield f"state.update({{{written}}})"
    yield "return output"


def _loop(loop: UnitLoop) -> Iterator[str]:
    for operation in loop.operations:
        yield f"{operation.temporary} = {_formula(operation)}"
        if operation.target is not None:
            yield f"{operation.target.name} = {operation.temporary}"


def _formula(operation: UnitOperation) -> str:
    return OPERATIONS[operation.op].format(*map(_operand, operation.operands))


def _operand(operand: Operand) -> str:
    if isinstance(operand, Element):
        return _read(operand)
    return operand if isinstance(operand, str) else f"({number(operand)})"


def _read(element: Element) -> str:
    """An element as a row; one number is left as it is, and spreads over the units by itself."""
    row = _whole(element.array)
    return row if element.share in (0, 1) else f"np.repeat({row}, {element.share}, -1)"


def _row(element: Element, size: int) -> str:
    """A whole row of an element, with all its units."""
    row = _read(element)
    return row if element.share else f"np.repeat({row}, {size}, -1)"


def _whole(array: Array) -> str:
    """All numbers of an array; those of a part are cut out of what has its name."""
    if not array.is_part:
        return array.name
    return f"{array.name}[..., {array.start} : {array.start + array.size}]"


def _product(statement: Product, program: StepProgram) -> str:
    target, source = statement.target.name, _whole(statement.source)
    if statement.matrix in program.int8_matrices:
        matrix = f"{statement.matrix}, {statement.matrix}_scales"
        return f"{target} = _int8_product({source}, {matrix}, {statement.bounded})"
    if statement.heads == 1:
        return f"{target} = {source} @ {statement.matrix}.T"
    parts = f"{source}.reshape(*{source}.shape[:-1], {statement.heads}, 1, -1)"
    product = f"({parts} @ {statement.matrix}.transpose(0, 2, 1))"
    return f"{target} = {product}.reshape(*{source}.shape[:-1], -1)"


def _reduction(reduction: Reduction) -> str:
    source = _whole(reduction.source)
    parts = f"{source}.reshape(*{source}.shape[:-1], {reduction.target.size}, -1)"
    return f"{reduction.target.name} = {parts}.{'sum' if reduction.op == 'sum' else 'max'}(-1)"


def _starts(network: ExportedNetwork) -> Iterator[str]:
    """The functions that make the states of a layer, and of a whole stream, at their start."""
    for program in network.programs:
        yield f"def {program.prefix}start():"
        yield "    return {"
        for name, state in program.states.items():
            yield f'        "{state.name}": {_row_of(program.starts[name])},'
        yield "    }"
        yield ""
        yield ""
    if not network.streams:
        return
    yield "def start():"
    yield "    return {"
    if network.counts_steps:
        yield '        "steps": np.zeros(1, np.int64),'
    for stage in network.chains.stages:
        if isinstance(stage, RecurrentLayers):
            for program in stage.programs:
                yield f"        **{program.prefix}start(),"
        else:
            for name, start in stage.states():
                yield f'        "{name}": {_row_of(start)},'
    yield "    }"
    yield ""
    yield ""


def _row_of(values: Floats) -> str:
    """A new row of numbers."""
    if np.all(values == values[0]):
        return f"np.full({values.size}, {number(float(values[0]))}, np.float32)"
    return f"np.array([{', '.join(number(float(v)) for v in values)}], np.float32)"


def _forecasts(network: ExportedNetwork) -> Iterator[str]:
    """The function of each window of a forecast."""
    for stage in network.chains.stages:
        if isinstance(stage, ForecastWindow):
            yield f"def {stage.name}(x{_further(network)}):"
            yield from _indented(forecast_lines(stage))
            yield ""
            yield ""


def _run(network: ExportedNetwork) -> Iterator[str]:
    """The functions of whole sequences."""
    further = _further(network)
    yield f"def run(x{further}):"
    yield from _indented(_checks(network, "steps"))
    forecast = network.forecast
    least = 1 if forecast is None else forecast.steps
    yield f"    if len(x) < {least}:"
    yield f'        raise ValueError(f"x has {{len(x)}} steps; expected at least {least}")'
    yield from _indented(_answer(network, sequence_lines))
    yield ""
    yield ""
    yield "def run_all(sequences, *further):"
    yield "    return [run(*arrays) for arrays in zip(sequences, *further, strict=True)]"


def _answer(
    network: ExportedNetwork, lines: Callable[[Stage, str], Iterator[str]]
) -> Iterator[str]:
    """The lines from an event or a sequence `x` to the answer, the mean of all members."""
    chains, further = network.chains, _further(network)
    several = len(chains.members) > 1
    if several:
        yield "raw, answers = x, []"
    for chain in chains.members:
        if several:
            yield "x = raw"
        for stage in chain:
            yield from lines(stage, further)
        if several:
            yield "answers.append(x)"
    if several:
        yield f"x = sum(answers) / {len(chains.members)}"
    for stage in chains.ending:
        yield from lines(stage, further)
    yield "return x"


def _checks(network: ExportedNetwork, leading: str) -> Iterator[str]:
    """The lines that turn the inputs into arrays, and refuse those of other shapes."""
    lengths = [("x", network.input_size), *((a.name, a.size) for a in network.further)]
    for name, size in lengths[network.symbols is not None :]:
        yield f"{name} = np.asarray({name}, np.float32)"
        expected = f"({leading if name == 'x' else '...'}, {size})"
        if name == "known" and network.forecast is not None:
            horizon = network.forecast.horizon
            rows = f"({horizon}, {size // horizon})"
            # With one step ahead, a batch of rows has the same last axes.
            axes = f" and known.ndim > x.ndim - {int(leading == 'steps')}" if horizon == 1 else ""
            yield f"if known.shape[-2:] == {rows}{axes}:"
            yield f"    known = known.reshape(*known.shape[:-2], {size})"
            expected = f"(..., {horizon}, {size // horizon}) or {expected}"
        yield f"if {name}.shape[-1:] != ({size},):"
        yield f'    raise ValueError(f"{name} has shape {{{name}.shape}}; expected {expected}")'
    if network.symbols is not None:
        yield "x = np.asarray(x)"
        yield f"if not ((x >= 0) & (x < {network.symbols})).all():"
        yield (
            f'    raise ValueError(f"symbol {{x}}; expected whole numbers below {network.symbols}")'
        )


def _further(network: ExportedNetwork) -> str:
    """The arguments of the further inputs, such as ", dt"."""
    return "".join(f", {array.name}" for array in network.further)


def _stream(network: ExportedNetwork) -> Iterator[str]:
    further = _further(network)
    each = "".join(f", {array.name}[t]" for array in network.further)
    yield ""
    yield ""
    yield "class Stream:"
    yield "    def __init__(self):"
    yield "        self.reset()"
    yield ""
    yield "    def reset(self):"
    yield "        self.state, self.values = start(), {}"
    yield ""
    yield f"    def step(self, x{further}):"
    yield from _indented(_indented(_checks(network, "...")))
    yield "        state, values = self.state, self.values"
    if network.counts_steps:
        yield '        state["steps"] = state["steps"] + 1'
    yield from _indented(_indented(_answer(network, step_lines)))
    yield ""
    yield f"    def run(self, xs{further}):"
    yield f"        return np.stack([self.step(x{each}) for t, x in enumerate(xs)])"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"    {line}" for line in lines)


def _joined(lines: Iterator[str]) -> str:
    return "\n".join(lines)
