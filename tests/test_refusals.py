"""Cells that cannot be read are refused when they are built, with the cell, the line and a hint.

Each refused step is written as people would write it. The wrong line is marked with `#!`, so
the test knows its number. Hints that are code are tried.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

import gatewright as gw
from gatewright.cells import LSTM
from gatewright.errors import CellError, GatewrightError

HEADER = """
import builtins, dataclasses, math
import numpy as np
import torch
import gatewright as gw
from gatewright import *
from gatewright.cells import LSTM as LSTMCellOfOurs

def step_of(self, x, h):
    return gw.state(h=gw.linear(x, h))
"""


def run_source(source: str) -> Any:
    space: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "<typed>", "exec"), space)
    return space["Mine"]()


def cell_source(body: str, arguments: str = "self, x, h", attributes: str = "") -> str:
    body = textwrap.indent(textwrap.dedent(body).strip(), "        ")
    attributes = textwrap.indent(attributes, "    ")
    return f"{HEADER}\nclass Mine(gw.Cell):\n{attributes}\n    def step({arguments}):\n{body}\n"


def refused(source: str) -> CellError:
    with pytest.raises(CellError) as caught:
        run_source(source)
    error = caught.value
    marked = [k for k, line in enumerate(source.splitlines(), start=1) if "#!" in line]
    if not marked:  # the step as a whole
        marked = [k for k, line in enumerate(source.splitlines(), 1) if "def step(" in line]
    assert str(error).startswith(f"Mine, line {marked[0]}: "), str(error)
    assert error.hint and f"\n  hint: {error.hint}" in str(error)
    assert "Traceback" not in str(error) and "object at 0x" not in str(error)
    return error


TRUTH = "which is unknown until the network runs"
NUMBER = "turned into a number"
WHOLE = "a value is one whole row of units"
TENSORS = "it computes on tensors, and a step has none yet"

# The line, a part of the message, and a part of the hint.
LINES: dict[str, tuple[str, str, str]] = {
    # The truth of a value.
    "if on a gate": ("if f > 0.5: f = 2 * f", TRUTH, "where(condition, a, b)"),
    "if on a value": ("if f: pass", TRUTH, "where(condition, a, b)"),
    "conditional expression": ("f = f if f > 0 else h", TRUTH, "where(condition, a, b)"),
    "while": ("while f > 0: f = f / 2", TRUTH, "where(condition, a, b)"),
    "and": ("f = where(f > 0 and h > 0, f, h)", TRUTH, "`&`"),
    "or": ("f = where(f > 0 or h > 0, f, h)", TRUTH, "`|`"),
    "not": ("f = where(not f > 0, f, h)", TRUTH, "`~`"),
    "chained comparison": ("f = where(0 < f < 1, f, h)", TRUTH, "`&`"),
    "max": ("f = max(f, h)", TRUTH, "gatewright.maximum"),
    "min": ("f = min(f, 1.0)", TRUTH, "minimum"),
    "assert": ("assert f > 0", TRUTH, "where"),
    "in a list": ("f in [h, x]", TRUTH, "where"),
    "any": ("any([f > 0])", TRUTH, "where"),
    "sorted": ("sorted([f, h])", TRUTH, "where"),
    "in": ("h in f", "`in` on a value", "compare with =="),
    "match": ("match f:\n    case 0: pass #!", TRUTH, "where"),
    # Numbers out of values.
    "float": ("float(f)", NUMBER, "gatewright's own functions"),
    "int": ("int(f)", NUMBER, "gatewright's own functions"),
    "complex": ("complex(f)", NUMBER, "gatewright's own functions"),
    "round": ("round(f)", NUMBER, "gatewright's own functions"),
    "range": ("for _ in range(f): pass", NUMBER, "gatewright's own functions"),
    "math.exp": ("f = math.exp(f)", NUMBER, "gatewright.exp in place of math.exp"),
    "math.floor": ("f = math.floor(f)", NUMBER, "gatewright's own functions"),
    "divmod": ("f = divmod(f, 2)", "`//` and `%`", "use / and where"),
    "modulo": ("f = f % 2", "`//` and `%`", "use / and where"),
    "floor division": ("f = 2 // f", "`//` and `%`", "use / and where"),
    "power of three": ("f = pow(f, 2, 3)", "raised TypeError", "correct that line"),
    "xor": ("f = f ^ 2", "`^`", "a power is **"),
    "shift": ("f = f << 2", "`<<`", "a power is **"),
    # Other libraries.
    "numpy.tanh": (
        "f = np.tanh(f)",
        f"numpy.tanh cannot be read: {TENSORS}",
        "use gatewright.tanh",
    ),
    "numpy.maximum": ("f = np.maximum(f, h)", "numpy.maximum cannot be read", "gatewright.maximum"),
    "numpy.sum": ("f = np.sum(f)", "numpy.sum cannot be read", "gatewright.sum"),
    "numpy.where": ("f = np.where(f > 0, f, h)", "numpy.where cannot", "use gatewright.where"),
    "numpy.clip": ("f = np.clip(f, 0, 1)", "numpy.clip cannot be read", "minimum(maximum("),
    "numpy.concatenate": ("f = np.concatenate([f, h])", "numpy.concatenate", "linear(x, h)"),
    "numpy.array": ("f = np.array([f, h])", "into a numpy array", "gatewright's functions"),
    "numpy.asarray": ("f = np.asarray(f)", "into a numpy array", "gatewright's functions"),
    "array times": ("f = np.ones(3) * f", "a numpy.ndarray of shape (3,)", "parameter()"),
    "times array": ("f = f * np.ones(3)", "a numpy.ndarray of shape (3,)", "parameter()"),
    "torch.tanh": ("f = torch.tanh(f)", f"torch.tanh cannot be read: {TENSORS}", "gatewright.tanh"),
    "torch.sigmoid": ("f = torch.sigmoid(f)", "torch.sigmoid", "use gatewright.sigmoid"),
    "torch.cat": ("f = torch.cat([f, h], -1)", "torch.cat cannot be read", "linear(x, h)"),
    "torch.stack": ("f = torch.stack((f, h))", "torch.stack cannot be read", "linear(x, h)"),
    "torch.clamp": ("f = torch.clamp(f, 0, 1)", "torch.clamp cannot", "minimum(maximum("),
    "torch.dropout": ("f = torch.nn.functional.dropout(f)", "torch.dropout", "noise(p)"),
    "torch.where": ("f = torch.where(f > 0, f, h)", "torch.where", "use gatewright.where"),
    "torch.add": ("f = torch.add(f, h)", "torch.add cannot be read", "use the operator +"),
    "nn.Linear": ("f = torch.nn.Linear(3, 4)(f)", "torch.linear cannot", "linear(x, h), which"),
    "tensor times": ("f = torch.ones(3) * f", "a torch.Tensor of shape (3,)", "parameter()"),
    "times tensor": ("f = f * torch.ones(3)", "a torch.Tensor of shape (3,)", "parameter()"),
    "tanh of a tensor": ("f = tanh(torch.ones(3))", "tanh was given a torch.Tensor", "parameter()"),
    # Methods and operators of tensors that values do not have.
    "index": ("f = f[0]", f"indexed or sliced; {WHOLE}", "products or states"),
    "slice": ("f = f[..., :3]", f"indexed or sliced; {WHOLE}", "products or states"),
    "unpack": ("i, f = f", f"iterated over or unpacked; {WHOLE}", "products or states"),
    "star": ("f = linear(*f)", f"iterated over or unpacked; {WHOLE}", "products or states"),
    "for": ("for part in f: pass", f"iterated over or unpacked; {WHOLE}", "products or states"),
    "len": ("n = len(f)", "the length of a value", "size="),
    "reversed": ("n = list(reversed(f))", "the length of a value", "size="),
    "matmul": ("f = f @ h", "a cell owns its matrices", "linear(x, h)"),
    "matrix times": ("f = np.ones((3, 3)) @ f", "matmul cannot be read", "linear(x, h)"),
    "method": ("f = f.tanh()", "no attribute or method `tanh`", "use gatewright.tanh"),
    "abs method": ("f = f.abs()", "no attribute or method `abs`", "use abs(value)"),
    "add method": ("f = f.add(h)", "no attribute or method `add`", "use the operator +"),
    "detach": ("f = f.detach()", "no attribute or method `detach`", "stop_gradient(value)"),
    "clamp": ("f = f.clamp(0, 1)", "no attribute or method `clamp`", "minimum(maximum("),
    "shape": ("n = f.shape[0]", "no attribute or method `shape`", "size="),
    "unknown method": ("f = f.frobnicate()", "`frobnicate`", "help(gatewright)"),
    "set item": ("f[0] = 1", "a part of a value was assigned to", "where(condition, a, b)"),
    "delete item": ("del f[0]", "a part of a value was deleted", "where(condition, a, b)"),
    "set attribute": ("f.flag = 1", "`flag` was set on a value", "local name"),
    "call": ("f = f(h)", "called like a function", "make it a field"),
    # Operands that are not values.
    "None": ("f = f + None", "add was given None", "a constant is a number"),
    "equals None": ("f = where(f == None, f, h)", "equal was given None", "a constant is a number"),
    "string": ("f = f + 'b'", "add was given a str ('b')", "a constant is a number"),
    "list": ("f = f * [1, 2]", "multiply was given a list ([1, 2])", "a constant is a number"),
    "complex number": ("f = f * 1j", "a complex (1j)", "a constant is a number"),
    "NaN": ("f = f * float('nan')", "a constant is NaN", "use a number"),
    "huge": ("f = f * 10**400", "raised OverflowError", "correct that line"),
    "tanh of None": ("f = tanh(None)", "tanh was given None", "a constant is a number"),
    # Comparisons.
    "arithmetic with a comparison": (
        "f = (f > 0) * f",
        "and not a number",
        "where(condition, 1.0, 0.0)",
    ),
    "tanh of a comparison": ("f = tanh(f > 0)", "and not a number", "where(condition, 1.0, 0.0)"),
    "comparison of comparisons": ("f = where((f > 0) == (h > 0), f, h)", "not a number", "where("),
    "product of a comparison": (
        "f = linear(f > 0)",
        "is a comparison",
        "where(condition, 1.0, 0.0)",
    ),
    "number as a condition": ("f = where(f, f, h)", "needs a comparison", "where(mask > 0, a, b)"),
    "truth as a condition": ("f = where(True, f, h)", "needs a comparison", "compare first"),
    "inverse of a number": (
        "f = where(~f, f, h)",
        "logical_not needs a comparison",
        "compare first",
    ),
    "and of numbers": ("f = where(f & h, f, h)", "logical_and needs a comparison", "compare first"),
    # Products.
    "unnamed source": ("f = linear(x, 2 * h)", "a value that has no name", "linear(x, h=r * h)"),
    "same source twice": ("f = linear(h, h)", "two sources with the key `h`", "h2=h"),
    "no source": ("f = linear()", "linear was given no source", "linear(x, h)"),
    "diagonal of nothing": ("f = diagonal()", "diagonal was given no source", "name its sources"),
    "number as a source": (
        "f = linear(x, 1.0)",
        "linear was given a number",
        "its options are name=",
    ),
    "misspelt option": (
        "f = linear(x, sise=3)",
        "linear was given sise=3",
        "size=, bias=, heads=",
    ),
    "size of a diagonal": ("f = diagonal(h, size=3)", "diagonal was given size=3", "name="),
    "None as a source": ("f = linear(x, None)", "linear was given None", "a constant is a number"),
    "string as a source": ("f = linear(x, 'f')", "linear was given a str ('f')", "a constant"),
    "bad name": (
        "f = linear(x, name='f.x')",
        "name='f.x' is not a valid name",
        "letters, digits and _",
    ),
    "empty name": (
        "f = linear(x, name='')",
        "name='' is not a valid name",
        "letters, digits and _",
    ),
    "bias is no flag": ("f = linear(x, bias='no')", "bias='no'", "True or False"),
    "size 0": ("f = linear(x, size=0)", "size=0", '"hidden", "input", a number'),
    "negative size": ("f = linear(x, size=-3)", "size=-3", '"hidden", "input", a number'),
    "float size": ("f = linear(x, size=4.0)", "size=4.0", '"hidden", "input", a number'),
    "true size": ("f = linear(x, size=True)", "size=True", '"hidden", "input", a number'),
    "misspelt size": ("f = linear(x, size='hiden')", "size='hiden'", '"hidden", "input", a number'),
    "value as size": ("f = linear(x, size=h)", "was given size=<value", '"hidden", "input"'),
    "heads 0": ("f = linear(x, heads=0)", "heads=0", "a whole number from 1"),
    "heads of text": ("f = softmax(h, heads='2')", "heads='2'", "a whole number from 1"),
    "heads True": ("f = sum(h, heads=True)", "heads=True", "a whole number from 1"),
    "sizes": (
        "f = linear(x, size=3) + linear(h, size=4, name='q')",
        "size 3 meets size 4",
        "size=",
    ),
    "heads of a product that do not divide": (
        "f = linear(x, size=7, heads=2); f = linear(f)",
        "size 7 cannot be divided into 2 heads",
        "give size= a multiple of 2",
    ),
    "heads that do not divide": (
        "f = softmax(linear(x, size=7), heads=2); f = linear(f)",
        "size 7 cannot be divided into 2 heads",
        "give size= a multiple of 2",
    ),
    "clash": (
        "f = tanh(linear(x)) * sigmoid(linear(x))",
        "two products would share one weight: both are named `f` and read `x`",
        "linear(x, h, name=...)",
    ),
    "clash of an explicit name": (
        "f = linear(x, size=3, name='w'); f = linear(f) + linear(x, size='hidden', name='w')",
        "both are named `w`",
        "give both the same name=",
    ),
    "parameter and product": (
        "f = linear(x) + parameter()",
        "a parameter and a product are both named `f`",
        "name=",
    ),
    # Options of the rest.
    "noise above 1": ("f = f * noise(1.5)", "p = 1.5", "a probability from 0 to 1"),
    "negative noise": ("f = f * noise(-0.1)", "p = -0.1", "a probability from 0 to 1"),
    "NaN noise": ("f = f * noise(float('nan'))", "p = nan", "a probability from 0 to 1"),
    "noise of a value": ("f = f * noise(h)", "noise was given p =", "a probability from 0 to 1"),
    "noise per batch": ("f = f * noise(0.5, per='batch')", "per='batch'", '"step" or "sequence"'),
    "start of a value": (
        "f = f * parameter(start=h)",
        "parameter was given start=",
        "a finite number",
    ),
    "infinite start": ("f = f * parameter(start=1e999)", "start=inf", "a finite number"),
    "negative eps": ("f = layer_norm(f, eps=-1)", "eps=-1", "a small number"),
    "eps of text": ("f = rms_norm(f, eps='x')", "eps='x'", "a small number"),
    "infinite eps": ("f = rms_norm(f, eps=1e999)", "eps=inf", "a small number"),
    "dim of softmax": (
        "f = softmax(f, dim=-1)",
        "unexpected keyword argument 'dim'",
        "correct that line",
    ),
    "two arguments": ("f = tanh(f, h)", "raised TypeError: tanh() takes 1", "correct that line"),
    "no third argument": ("f = where(f > 0, f)", "missing 1 required", "correct that line"),
    # The step's own mistakes.
    "unknown name": (
        "f = sigmod(f)",
        "NameError: name 'sigmod' is not defined",
        "correct that line",
    ),
    "type error": ("f = 'a' + 1", "raised TypeError", "correct that line"),
    "division of numbers": ("f = f / (1 / 0)", "raised ZeroDivisionError", "correct that line"),
    "missing field": ("f = f * self.rate", "no attribute 'rate'", "correct that line"),
    "value kept on self": (
        "self.kept = f",
        "`kept` was set on the cell within its step",
        "a state",
    ),
    "deleted from self": ("del self.step", "`step` was deleted on the cell", "a local name"),
    "long loop": (
        "for _ in range(30_000): f = tanh(f)",
        "more than 20000 operations",
        "micro-steps",
    ),
    "cell in itself": ("f = self(x, f)", "is not a field of the cell", "self.inner(x, h, c)"),
    "own step": (
        "f = self.step(x, f).states['h']",
        "the step calls itself",
        "may not contain itself",
    ),
    "cell made in the step": (
        "f, _ = LSTMCellOfOurs()(x, h, h)",
        "LSTM was called in the step",
        "make it a field",
    ),
    # The result of the step.
    "unknown state": ("return gw.state(h=f, c=f)", "names c, unknown to the step", "state(h=...,"),
    "state without names": ("return gw.state(f)", "raised TypeError", "correct that line"),
    "missing state": ("return gw.state()", "leaves out h", "return state(h=..."),
    "comparison as a state": ("return gw.state(h=f > 0)", "state h is a comparison", "where("),
    "None as a state": (
        "return gw.state(h=None)",
        "state h was given None",
        "a constant is a number",
    ),
    "tuple as an output": (
        "return gw.state(h=f, output=(f, f))",
        "the output was given a tuple",
        "",
    ),
    "comparison as an output": (
        "return gw.state(h=f, output=f > 0)",
        "the output is a comp",
        "where(",
    ),
    "array as a state": ("return gw.state(h=np.ones(3))", "a numpy.ndarray of shape (3,)", "param"),
    "forgotten output": (
        "output = linear(f)",
        "`output` is not the output of the layer",
        "output=output",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_cannot_be_read(name: str):
    line, fact, hint = LINES[name]
    line = line if "#!" in line else f"{line}  #!"
    source = cell_source(f"f = sigmoid(linear(x, h, name='first'))\n{line}\nreturn gw.state(h=f)")
    error = refused(source)
    assert fact in error.fact, error.fact
    assert hint in (error.hint or ""), error.hint


# Steps that are wrong as a whole: arguments, body, attributes, message, hint.
STEPS: dict[str, tuple[str, str, str, str, str]] = {
    "no state": ("self, x", "return gw.state()", "", "step has no state", "def step(self, x, h)"),
    "no self": ("x, h", "return gw.state(h=h)", "", "step has no state", "def step(self, x, h)"),
    "*args": ("self, x, *h", "pass", "", "step takes *h", "name each argument"),
    "**kwargs": ("self, x, h, **more", "pass", "", "step takes **more", "name each argument"),
    "default": ("self, x, h=0", "pass", "", "the argument h has a default", "`initial`"),
    "further default": ("self, x, h, *, d=1", "pass", "", "the argument d has a default", "field"),
    "reserved": ("self, x, h, *, lengths", "pass", "", "`lengths` is taken", "rename it"),
    "output": ("self, x, output", "pass", "", "`output` is taken", "rename it"),
    "generator": (
        "self, x, h",
        "yield h",
        "",
        "step is not a plain function",
        "def step(self, x, h)",
    ),
    "no return": ("self, x, h", "h = tanh(h)", "", "step returned None", "return gw.state(h=...)"),
    "bare value": ("self, x, h", "return h", "", "returned a value of the step", "gw.state(h=...)"),
    "tuple": ("self, x, h, c", "return h, c", "", "returned a tuple", "gw.state(h=..., c=...)"),
    "dict": ("self, x, h", "return {'h': h}", "", "step returned a dict", "gw.state(h=...)"),
    "initial of no state": (
        "self, x, h",
        "return gw.state(h=h)",
        "initial = {'c': 1}",
        "initial names `c`",
        "the states are h",
    ),
    "initial of a list": (
        "self, x, h",
        "return gw.state(h=h)",
        "initial = {'h': [1]}",
        "the start of state h is a list",
        "parameter() for a learned start",
    ),
    "initial NaN": (
        "self, x, h",
        "return gw.state(h=h)",
        "initial = {'h': float('nan')}",
        "the start of state h is a float (nan)",
        "give a number",
    ),
    "initial True": (
        "self, x, h",
        "return gw.state(h=h)",
        "initial = {'h': True}",
        "the start of state h is a bool",
        "give a number",
    ),
    "initial no mapping": (
        "self, x, h",
        "return gw.state(h=h)",
        "initial = 0.5",
        "initial is a float (0.5)",
        "initial = {'h': ...}",
    ),
    "sizes no mapping": (
        "self, x, h",
        "return gw.state(h=h)",
        "sizes = 3",
        "sizes is a int (3)",
        "sizes = {'h': ...}",
    ),
    "sizes of no state": (
        "self, x, h",
        "return gw.state(h=h)",
        "sizes = {'x': 3}",
        "sizes names `x`",
        "the states and inputs are h",
    ),
    "sizes wrong": (
        "self, x, h",
        "return gw.state(h=h)",
        "sizes = {'h': 'big'}",
        "the size of h was given size='big'",
        "a number from 1",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_cannot_be_read(name: str):
    arguments, body, attributes, fact, hint = STEPS[name]
    error = refused(cell_source(body, arguments, attributes))
    assert fact in error.fact, error.fact
    assert hint in (error.hint or ""), error.hint


def test_a_cell_needs_a_step():
    class Empty(gw.Cell):
        pass

    with pytest.raises(CellError, match="Empty: the cell has no step\n  hint: write `def step"):
        Empty()
    with pytest.raises(CellError, match="Cell: the cell has no step"):
        gw.Cell()


@pytest.mark.parametrize("step", [3, "step", LSTM], ids=["number", "text", "class"])
def test_a_step_must_be_a_function(step: Any):
    with pytest.raises(CellError, match=r"Odd.*: step is not a plain function\n  hint: write `def"):
        type("Odd", (gw.Cell,), {"step": step})()


def test_an_async_step_is_refused():
    source = cell_source("return gw.state(h=h)").replace("    def step", "    async def step")
    for body in ("return gw.state(h=h)", "yield h"):
        with pytest.raises(CellError, match=r"Mine, line \d+: step is not a plain function"):
            run_source(source.replace("return gw.state(h=h)", body))


def test_the_hints_for_two_products_with_one_name_work():
    """They are the hints of the most common refusals."""
    wrong = "f = tanh(linear(x)) * sigmoid(linear(x))\nreturn gw.state(h=f + h)"
    named = "f = tanh(linear(x)) * sigmoid(linear(x, name='g'))\nreturn gw.state(h=f + h)"
    bound = "a = tanh(linear(x))\nf = a * sigmoid(linear(x))\nreturn gw.state(h=f + h)"
    with pytest.raises(CellError):
        run_source(cell_source(wrong))
    for repaired in (named, bound):
        assert len(run_source(cell_source(repaired)).graph.weights) == 4


@pytest.mark.parametrize(
    "line",
    [
        "f = where(f > 0.5, 2 * f, f)",
        "f = where((f > 0) & ~(h > 0) | (f < -1), f, h)",
        "f = maximum(f, h) + minimum(f, 1.0)",
        "f = where(f > 0, 1.0, 0.0) * f",
        "f = gw.exp(f)",
        "f = gw.stop_gradient(f)",
        "f = minimum(maximum(f, 0), 1)",
        "f = linear(x, h=2 * h)",
        "f = linear(h, h2=h)",
        "f = f * parameter(name='shift')",
        "f = abs(f)",
        "f = mean(f) * f",
        "f = noise(0.5) * f",
        "output = f",
    ],
)
def test_the_hints_work(line: str):
    run_source(cell_source(f"f = sigmoid(linear(x, h))\n{line}\nreturn gw.state(h=f)"))


def test_the_line_is_that_of_the_step_also_in_helpers():
    source = cell_source(
        """
        twice = lambda value: value[0]
        parts = [part for part in (x, h)]
        f = linear(x, h)
        return gw.state(h=twice(f))  #!
        """
    )
    assert "indexed" in refused(source).fact


def test_in_a_helper_method_the_line_is_the_call_in_the_step():
    source = cell_source("f = self.gate(x)  #!\nreturn gw.state(h=f * h)")
    source += "    def gate(self, x):\n        return x.tanh()\n"
    assert "`tanh`" in refused(source).fact


def test_a_loop_over_lines_names_the_line_at_fault():
    source = cell_source(
        """
        for k in range(3):
            f = linear(
                x,
                h,
                name=f"p{k}",
                size="wrong",
            )
        return gw.state(h=f)
        """
    ).replace("f = linear(", "f = linear(  #!")
    assert "size='wrong'" in refused(source).fact


# Values that leave their step.
def test_a_value_of_another_cells_step_is_refused():
    leaked: list[Any] = []

    class Leaks(gw.Cell):
        def step(self, x: Any, h: Any) -> Any:
            leaked.append(h)
            return gw.state(h=h)

    class Takes(gw.Cell):
        def step(self, x: Any, h: Any) -> Any:
            new = h + leaked[0]
            return gw.state(h=new)

    class TakesOnly(gw.Cell):
        def step(self, x: Any, h: Any) -> Any:
            new = gw.tanh(leaked[0])
            return gw.state(h=new)

    Leaks()
    for cell in (Takes, TakesOnly):
        with pytest.raises(CellError) as caught:
            cell()
        line = cell.step.__code__.co_firstlineno + 1
        assert str(caught.value).startswith(f"{cell.__name__}, line {line}: ")
        assert "a value of another cell's step (Leaks)" in str(caught.value)
        assert "do not keep them" in str(caught.value)
    with pytest.raises(CellError, match="outside a step"):
        leaked[0] + 1
    with pytest.raises(CellError, match="outside a step"):
        gw.tanh(leaked[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: gw.tanh(1.0),
        lambda: gw.linear(1.0),
        lambda: gw.diagonal(1.0),
        lambda: gw.noise(0.5),
        lambda: gw.state(h=1.0),
        lambda: gw.softmax(1.0, heads=2),
        lambda: gw.layer_norm(1.0),
        lambda: gw.where(True, 1.0, 0.0),
    ],
)
def test_functions_are_refused_outside_a_step(call: Any):
    with pytest.raises(CellError, match="outside a step") as caught:
        call()
    assert caught.value.hint


# Fields.
def test_a_built_cell_does_not_change():
    cell = LSTM()
    with pytest.raises(CellError, match=r"LSTM: `projection` was set on a cell that is built"):
        cell.projection = 3
    with pytest.raises(CellError, match=r"dataclasses\.replace"):
        del cell.projection
    assert "h" in cell.graph.values and cell.projection == 0


@pytest.mark.parametrize(
    "line", ["gates: list = []", "a: int = 1\n    b: int", "initial: dict = {}"]
)
def test_fields_that_dataclasses_refuse(line: str):
    source = f"import gatewright as gw\nclass Mine(gw.Cell):\n    {line}\n"
    with pytest.raises(CellError, match="Mine: its fields cannot be read") as caught:
        exec(source, {"__name__": __name__})
    assert "a field is a typed constant" in str(caught.value)


def test_a_learned_start_and_a_product_named_initial():
    source = cell_source(
        "initial = tanh(linear(x, h))  #!\nreturn gw.state(h=initial)",
        attributes="initial = {'h': gw.parameter()}",
    )
    assert "whose learned start has that name too" in refused(source).fact


# Cells within cells.
class Inner(gw.Cell):
    def step(self, x: Any, h: Any, *, d: Any) -> Any:
        return gw.state(h=h * d + gw.linear(x))


@pytest.mark.parametrize("call", ["self.inner(x, h)", "self.inner(x, h, h, d=x)", "self.inner(x)"])
def test_an_inner_cell_with_the_wrong_arguments(call: str):
    line = "from test_refusals import Inner; inner: gw.Cell = Inner()"
    error = refused(cell_source(f"h = {call}  #!\nreturn gw.state(h=h)", attributes=line))
    assert error.fact == "inner was called with the wrong arguments"
    assert error.hint == "write inner(x, h, d=...)"


def test_an_inner_cell_of_the_wrong_size_names_the_outer_line():
    class Three(gw.Cell):
        sizes = {"h": 3}  # noqa: RUF012

        def step(self, x: Any, h: Any) -> Any:
            return gw.state(h=gw.linear(x, h, size=3))

    class Outer(gw.Cell):
        inner: gw.Cell = Three()

        def step(self, x: Any, h: Any) -> Any:
            four = gw.linear(x, size=4)
            new = self.inner(x, four) + four
            return gw.state(h=new)

    with pytest.raises(CellError, match=r"size \d meets size \d") as caught:
        Outer()
    assert caught.value.line == Outer.step.__code__.co_firstlineno + 2


def test_a_failing_step_keeps_its_cause():
    with pytest.raises(CellError) as caught:
        run_source(cell_source("return gw.state(h=undefined)"))
    assert isinstance(caught.value.__cause__, NameError)


def test_after_a_refusal_other_cells_read_as_before():
    with pytest.raises(GatewrightError):
        run_source(cell_source("if h > 0: pass"))
    assert len(LSTM().graph.weights) == 12
    with pytest.raises(CellError, match="outside a step"):
        gw.tanh(1.0)


def test_a_refusal_that_the_step_catches_is_a_refusal_still():
    source = cell_source(
        """
        try:
            if h > 0: h = 2 * h  #!
        except Exception:
            pass
        return gw.state(h=h)
        """
    )
    assert TRUTH in refused(source).fact


def test_keyboard_interrupt_passes_through():
    class Interrupted(gw.Cell):
        def step(self, x: Any, h: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted()
    with pytest.raises(CellError, match="outside a step"):
        gw.tanh(1.0)
