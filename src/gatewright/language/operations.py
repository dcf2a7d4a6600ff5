"""The operations of the language in one table: their names and printed forms.

The backends compute the operations on tensors, and `graph/adjoint.py` has their derivatives.
Some operations are defined by others, in `graph/definitions.py`, and no backend knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["leaf", "pointwise", "row", "product"]

#: Precedences of the printed forms: an operand with a lower one gets brackets. As in Python,
#: `&` and `|` bind more tightly than the comparisons that they combine.
COMPARE, OR, AND, ADD, MULTIPLY, NEGATE, POWER, CALL = range(8)


@dataclass(frozen=True)
class Operation:
    """An operation; each `{}` in its forms `text` and `latex` is replaced by an operand."""

    name: str
    kind: Kind
    arity: int | None
    text: str
    latex: str
    precedence: int = CALL
    boolean: bool = False
    #: All operands must be comparisons (of `where`, only the first must).
    logical: bool = False


def _call(
    name: str, arity: int = 1, latex: str | None = None, kind: Kind = "pointwise"
) -> Operation:
    holes = ", ".join(["{}"] * arity)
    function = latex or rf"\mathrm{{{name}}}".replace("_", r"\_")
    function = function.replace("{", "{{").replace("}", "}}")  # literal braces in a form
    return Operation(name, kind, arity, f"{name}({holes})", rf"{function}\left({holes}\right)")


def _infix(
    name: str,
    sign: str,
    latex: str,
    precedence: int,
    *,
    boolean: bool = False,
    logical: bool = False,
) -> Operation:
    return Operation(
        name,
        "pointwise",
        2,
        f"{{}} {sign} {{}}",
        f"{{}} {latex} {{}}",
        precedence,
        boolean,
        logical,
    )


_TABLE = (
    # Leaves print by name; see printing.py.
    *(Operation(name, "leaf", 0, "", "") for name in ("event", "input", "state")),
    *(Operation(name, "leaf", 0, "", "") for name in ("constant", "parameter", "noise")),
    Operation("linear", "product", None, "", "", ADD),
    Operation("diagonal", "product", None, "", "", ADD),
    _infix("add", "+", "+", ADD),
    _infix("subtract", "-", "-", ADD),
    _infix("multiply", "*", r"\odot", MULTIPLY),
    Operation("divide", "pointwise", 2, "{} / {}", r"\frac{{{}}}{{{}}}", MULTIPLY),
    Operation("power", "pointwise", 2, "{} ** {}", "{}^{{{}}}", POWER),
    Operation("negative", "pointwise", 1, "-{}", "-{}", NEGATE),
    _call("maximum", 2, r"\max"),
    _call("minimum", 2, r"\min"),
    _infix("less", "<", "<", COMPARE, boolean=True),
    _infix("less_equal", "<=", r"\le", COMPARE, boolean=True),
    _infix("greater", ">", ">", COMPARE, boolean=True),
    _infix("greater_equal", ">=", r"\ge", COMPARE, boolean=True),
    _infix("equal", "==", "=", COMPARE, boolean=True),
    _infix("not_equal", "!=", r"\ne", COMPARE, boolean=True),
    _infix("logical_and", "&", r"\wedge", AND, boolean=True, logical=True),
    _infix("logical_or", "|", r"\vee", OR, boolean=True, logical=True),
    Operation("logical_not", "pointwise", 1, "~{}", r"\neg {}", NEGATE, True, True),
    _call("where", 3),
    _call("sigmoid", latex=r"\sigma"),
    _call("tanh", latex=r"\tanh"),
    _call("exp", latex=r"\exp"),
    _call("expm1"),
    _call("log", latex=r"\log"),
    _call("log1p"),
    Operation("sqrt", "pointwise", 1, "sqrt({})", r"\sqrt{{{}}}"),
    Operation("abs", "pointwise", 1, "abs({})", r"\left|{}\right|"),
    _call("sign", latex=r"\operatorname{sgn}"),
    _call("sin", latex=r"\sin"),
    _call("cos", latex=r"\cos"),
    _call("erf"),
    _call("relu"),
    _call("softplus"),
    _call("stop_gradient"),
    _call("square"),
    _call("silu"),
    _call("gelu"),
    _call("elu"),
    _call("softsign"),
    _call("log_sigmoid"),
    _call("hard_sigmoid"),
    _call("hard_tanh"),
    _call("sum", kind="row"),
    _call("mean", kind="row"),
    _call("softmax", kind="row"),
    _call("layer_norm", kind="row"),
    _call("rms_norm", kind="row"),
)

#: All operations of a cell, by name.
OPERATIONS = {operation.name: operation for operation in _TABLE}

#: Operations whose result has size 1, unless `heads` is set.
REDUCTIONS = frozenset({"sum", "mean"})


def takes_boolean(op: str, position: int) -> bool:
    """Tell if an operand of the operation must be a comparison rather than a number."""
    return OPERATIONS[op].logical or (op == "where" and position == 0)
