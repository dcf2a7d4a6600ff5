"""Printing: a cell's equations as text or LaTeX, in the code's names or the lesson's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatewright.errors import ArgumentError
from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import ADD, CALL, MULTIPLY, NEGATE, OPERATIONS
from gatewright.language.titles import name_shared

GREEK = frozenset(
    # One string: as 24 quoted names they would fill a screen.
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "  # noqa: SIM905
    "tau phi chi psi omega".split()
)


@dataclass(frozen=True)
class Style:
    """How one form of print writes names, numbers and products."""

    event: Callable[[str], str]
    before: Callable[[str], str]
    after: Callable[[str], str]
    value: Callable[[str], str]
    weight: Callable[[str, str], str]
    number: Callable[[float], str]
    times: str
    form: str
    brackets: tuple[str, str]


def text(equations: Equations, names: str = "code") -> str:
    """The equations, one a line.

    Args:
        names: "code" writes the step's own names, with `h'` for a state after the step;
            "lesson" writes E for the event, STM and LTM for the first and second state.
    """
    lesson = _lesson(equations, names)
    style = Style(
        event=lambda name: lesson.get(name, name),
        before=lambda name: lesson.get(name, name),
        after=lambda name: f"new {lesson[name]}" if name in lesson else f"{name}'",
        value=str,
        weight=lambda letter, name: f"{letter}_{name}",
        number=_number,
        times=" * ",
        form="text",
        brackets=("(", ")"),
    )
    lines = _lines(equations, style)
    width = max(len(left) for left, _ in lines)
    title = equations.name + (f": {equations.about}" if equations.about else "")
    if names == "lesson":
        title += "\n  " + ", ".join(f"{_MEANING[word]}: {word}" for word in lesson.values())
    return "\n".join([title, *(f"  {left:<{width}} = {right}" for left, right in lines)])


def latex(equations: Equations, names: str = "code") -> str:
    """The equations as one LaTeX `aligned` block; the time index stands at x, h and c."""
    lesson = _lesson(equations, names)

    def at(name: str, when: str) -> str:
        return f"{_latex_name(lesson.get(name, name))}_{{{when}}}"

    style = Style(
        event=lambda name: at(name, "t"),
        before=lambda name: at(name, "t-1"),
        after=lambda name: at(name, "t"),
        value=_latex_name,
        weight=lambda letter, name: f"{letter}_{{{_latex_name(name)}}}",
        number=_latex_number,
        times=r" \odot ",
        form="latex",
        brackets=(r"\left(", r"\right)"),
    )
    rows = [f"{left} &= {right}" for left, right in _lines(equations, style)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


_MEANING = {"E": "event", "STM": "short-term memory", "LTM": "long-term memory"}


def _lesson(equations: Equations, names: str) -> dict[str, str]:
    if names not in ("code", "lesson"):
        raise ArgumentError(f'names={names!r} is not known; give "code" or "lesson"')
    if names == "code":
        return {}
    return lesson_words(equations)


def lesson_words(equations: Equations) -> dict[str, str]:
    """The lesson's names, where they fit.

    The event is E; the first state is STM if it is the output, and the second LTM if the cell
    carries it on, by sums and products alone.
    """
    words = {equations.event: "E"}
    first, *others = equations.states
    if equations.output is equations.updates[first]:
        words[first] = "STM"
    if others and _carried(equations, others[0]):
        words[others[0]] = "LTM"
    return words


def _carried(equations: Equations, state: str) -> bool:
    """Tell if a state reaches itself after the step through sums, products and choices only."""
    waiting, seen = [equations.updates[state]], set()
    while waiting:
        node = waiting.pop()
        if node.op == "state" and node.attributes["name"] == state:
            return True
        if node not in seen and node.op in ("add", "subtract", "multiply", "divide", "where"):
            waiting += node.operands
        seen.add(node)
    return False


def _lines(equations: Equations, style: Style) -> list[tuple[str, str]]:
    """Left and right side of each equation: the named values in their order, then the states."""
    after = set(equations.states)
    titles: dict[Node, str] = {}
    for name, node in equations.names.items():
        if name not in after and node.op not in ("event", "input", "state"):
            titles.setdefault(node, style.value(name))
    for name, node in equations.updates.items():
        if node.op not in ("event", "input", "state", "constant"):
            titles.setdefault(node, style.after(name))
    name_shared(equations, style.value, titles)
    lines = [
        (titles[node], _written(node, equations, style, titles, top=True)[0])
        for node in equations.nodes
        if node in titles
    ]
    for name, node in equations.updates.items():
        left = style.after(name)
        if titles.get(node) != left:
            lines.append((left, _written(node, equations, style, titles)[0]))
    if equations.output is not equations.updates[equations.states[0]]:
        output = _written(equations.output, equations, style, titles)[0]
        if output != style.value("output"):
            lines.append((style.value("output"), output))
    return lines


def _written(
    node: Node, equations: Equations, style: Style, titles: dict[Node, str], top: bool = False
) -> tuple[str, int]:
    """A node's printed form and how tightly it binds."""
    if node in titles and not top:
        return titles[node], CALL
    attributes = node.attributes
    if node.op in ("event", "input"):
        return style.event(attributes["name"]), CALL
    if node.op == "state":
        return style.before(attributes["name"]), CALL
    if node.op == "constant":
        number = style.number(attributes["value"])
        # A number that is written with a sign, or as a product, may need brackets.
        scientific = style.form == "latex" and "^" in number
        return number, MULTIPLY if scientific else NEGATE if number[0] == "-" else CALL
    if node.op == "parameter":
        return style.weight("w", attributes["name"]), CALL
    if node.op == "noise":
        return _noise(attributes, style), CALL
    written = [_written(one, equations, style, titles) for one in node.operands]
    if node.op in ("linear", "diagonal"):
        alike = [
            one
            for one in equations.nodes
            if one.op == node.op and one.attributes["name"] == attributes["name"]
        ]
        return _product(node, written, style, len(alike) > 1)
    operation = OPERATIONS[node.op]
    form = operation.latex if style.form == "latex" else operation.text
    inside = []
    for position, (one, tightness) in enumerate(written):
        # a - (b - c), a / (b * c) and (a ** b) ** c keep their brackets.
        strict = (node.op in ("subtract", "divide") and position == 1) or (
            node.op == "power" and position == 0
        )
        loose = tightness < operation.precedence or (strict and tightness <= operation.precedence)
        # No sign stands beside another: a * (-b), -(-a).
        loose |= one.startswith("-") and (position > 0 or node.op == "negative")
        bare = operation.precedence == CALL or (style.form == "latex" and node.op == "divide")
        inside.append(one if bare or not loose else _bracketed(one, style))
    result = form.format(*inside)
    if "heads" in attributes:
        end = r"\right)" if style.form == "latex" else ")"
        result = result.removesuffix(end) + _heads(node, style) + end
    return result, operation.precedence


def _product(
    node: Node, sources: list[tuple[str, int]], style: Style, several: bool
) -> tuple[str, int]:
    """A product's form; where several have one name, their letters also carry the key."""
    keys = [key.removesuffix("*") for key in node.attributes["keys"]]
    name = node.attributes["name"] + (f"_{keys[0]}" if several else "")
    if node.op == "diagonal":
        letters = [style.weight("p", name if len(keys) == 1 else f"{name}_{key}") for key in keys]
        # A factor of several parts is bracketed.
        factors = [one if tight == CALL else _bracketed(one, style) for one, tight in sources]
        terms = [f"{one}{style.times}{two}" for one, two in zip(letters, factors, strict=True)]
        return " + ".join(terms), MULTIPLY if len(terms) == 1 else ADD
    first, tightness = sources[0]
    if len(sources) == 1 and tightness == CALL and (style.form == "latex" or " " not in first):
        inside = first
    else:
        joined = ", ".join(one for one, _ in sources)
        inside = rf"\left[{joined}\right]" if style.form == "latex" else f"[{joined}]"
    space = r"\, " if style.form == "latex" else " "
    matrix = style.weight("W", name)
    if node.attributes.get("antisymmetric"):
        turned = matrix + (r"^{\top}" if style.form == "latex" else "^T")
        matrix = _bracketed(f"{matrix} - {turned}", style)
    if node.attributes["heads"] > 1:
        matrix = _bracketed(matrix + _heads(node, style), style)
    result = f"{matrix}{space}{inside}"
    if node.attributes["bias"]:
        return f"{result} + {style.weight('b', name)}", ADD
    return result, MULTIPLY


def _heads(node: Node, style: Style) -> str:
    heads = r";\ {}\ \text{{heads}}" if style.form == "latex" else "; {} heads"
    return heads.format(node.attributes["heads"])


def _bracketed(form: str, style: Style) -> str:
    return style.brackets[0] + form + style.brackets[1]


def _noise(attributes: dict[str, object], style: Style) -> str:
    p = style.number(float(attributes["p"]))  # type: ignore[arg-type]
    if style.form == "latex":
        return rf"\mathrm{{noise}}\left({p}\right)"
    return f"noise({p}, per {attributes['per']})"


def _number(number: float) -> str:
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    # 15 digits are what a float holds of any number: 1 - 0.95 is 0.05, not 0.050000000000000044.
    return f"{number:.15g}"


def _latex_number(number: float) -> str:
    mantissa, _, exponent = _number(number).replace("inf", r"\infty").partition("e")
    if not exponent:
        return mantissa
    power = f"10^{{{int(exponent)}}}"
    return power if mantissa == "1" else rf"{mantissa} \cdot {power}"


def _latex_name(name: str) -> str:
    if name in GREEK:
        return rf"\{name}"
    if len(name) == 1:
        return name
    return rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}"
