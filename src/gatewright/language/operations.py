"""The operations of the language, as one table: what each is called and how it prints.

What an operation computes on tensors stands in the backends, its derivative in
`graph/adjoint.py`. Operations of kind `defined` are made of others; their definition
stands in `graph/definitions.py`, so no backend has to know them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["leaf", "pointwise", "row", "product"]

#: Precedence of a printed form: an operand that binds less tightly gets brackets. As in
#: Python, where `&` and `|` bind more tightly than the comparisons that they combine.
COMPARE, OR, AND, ADD, MULTIPLY, NEGATE, POWER, CALL = range(8)


@dataclass(frozen=True)
class Operation:
    """One operation: `{}` in a form stands for an operand, in order."""

    name: str
    kind: Kind
    arity: int | None
    text: str
    latex: str
    precedence: int = CALL
    boolean: bool = False
    #: Operands must be boolean (`where` asks this of its first operand alone).
    logical: bool = False


def _call(
    name: str, arity: int = 1, latex: str | None = None, kind: Kind = "pointwise"
) -> Operation:
    holes = ", ".join(["{}"] * arity)
    written = latex or rf"\mathrm{{{name}}}".replace("_", r"\_")
    written = written.replace("{", "{{").replace("}", "}}")  # a form's own braces
    return Operation(name, kind, arity, f"{name}({holes})", rf"{written}\left({holes}\right)")


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

#: Name to operation: everything that may stand in a cell.
OPERATIONS = {operation.name: operation for operation in _TABLE}

#: Operations whose result has one value a row, where `heads` is not given.
REDUCTIONS = frozenset({"sum", "mean"})


def takes_boolean(op: str, position: int) -> bool:
    """Whether an operation's operand must be a comparison rather than a number."""
    return OPERATIONS[op].logical or (op == "where" and position == 0)
