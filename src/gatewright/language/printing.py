"""Print a cell's equations as text or LaTeX, with the names of the code or of the lesson."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, count

from gatewright.errors import ArgumentError
from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import ADD, CALL, MULTIPLY, NEGATE, OPERATIONS

GREEK = frozenset(
    # One string: as 24 quoted names they would fill a screen.
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "  # noqa: SIM905
    "tau phi chi psi omega".split()
)

#: Operations nested deeper than this are hard to follow, so a part gets a name and a line.
MAX_NESTED = 12


@dataclass(frozen=True)
class Style:
    """The functions and signs with which text, or LaTeX, writes names, numbers and products.

    `before` and `after` write a state before and after the step.
    """

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
    """The equations, one on each line.

    Args:
        names: "code" uses the names of the step, with `h'` for a state after the step;
            "lesson" uses E for the event, STM and LTM for the first and second state.
    """
    lesson = _lesson(equations, names)
    lines = _lines(equations, _text_style(lesson))
    width = max(len(left) for _, left, _ in lines)
    title = equations.name + (f": {equations.about}" if equations.about else "")
    if names == "lesson":
        title += "\n  " + ", ".join(f"{_MEANING[word]}: {word}" for word in lesson.values())
    return "\n".join([title, *(f"  {left:<{width}} = {right}" for _, left, right in lines)])


def _text_style(lesson: dict[str, str]) -> Style:
    """The signs of text; `lesson` has the words for the event and the states."""
    return Style(
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


def latex(equations: Equations, names: str = "code") -> str:
    """The equations as one LaTeX `aligned` block, with time indices on the event and the states."""
    lesson = _lesson(equations, names)

    def indexed(name: str, time: str) -> str:
        return f"{_latex_name(lesson.get(name, name))}_{{{time}}}"

    style = Style(
        event=lambda name: indexed(name, "t"),
        before=lambda name: indexed(name, "t-1"),
        after=lambda name: indexed(name, "t"),
        value=_latex_name,
        weight=lambda letter, name: f"{letter}_{{{_latex_name(name)}}}",
        number=_latex_number,
        times=r" \odot ",
        form="latex",
        brackets=(r"\left(", r"\right)"),
    )
    rows = [f"{left} &= {right}" for _, left, right in _lines(equations, style)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


@dataclass(frozen=True, slots=True)
class FormulaPart:
    """A piece of a printed formula.

    Attributes:
        text: As it is printed.
        node: The operation whose value it names; None for signs, numbers and weights.
        weight: Whether it names a weight.
    """

    text: str
    node: Node | None = None
    weight: bool = False


@dataclass(frozen=True, slots=True)
class Formula:
    """One equation: the operation that it computes, its name, and its right-hand side."""

    node: Node
    name: str
    right: tuple[FormulaPart, ...]


#: Characters around a name that `formulas` looks up: no cell can have them in a name.
OPEN, MIDDLE, CLOSE = "\ue000", "\ue001", "\ue002"


def formulas(equations: Equations, names: str = "code") -> list[Formula]:
    """The equations of `text`, with the operation behind each name of a value.

    >>> import gatewright as gw
    >>> use = formulas(gw.CELLS["lstm"]().equations)[-3]
    >>> use.name, "".join(part.text for part in use.right)
    ('use', 'o * tanh(remember)')

    Args:
        equations: Of a cell.
        names: "code" or "lesson", as for `text`.
    """
    lesson = _lesson(equations, names)

    def marked(kind: str) -> Callable[[str], str]:
        return lambda name: f"{OPEN}{kind}{MIDDLE}{name}{CLOSE}"

    plain = _text_style(lesson)
    style = replace(
        plain,
        event=lambda name: marked(f"before:{name}")(plain.event(name)),
        before=lambda name: marked(f"before:{name}")(plain.before(name)),
        after=lambda name: marked(f"after:{name}")(plain.after(name)),
        value=marked("value"),
        weight=lambda letter, name: marked("weight")(plain.weight(letter, name)),
    )
    lines = _lines(equations, style)
    leaves = {
        f"before:{node.attributes['name']}": node
        for node in equations.nodes
        if node.op in ("event", "input", "state")
    }
    after = {f"after:{name}": node for name, node in equations.updates.items()}
    printed = {left: node for node, left, _ in lines}

    def part(match: re.Match[str]) -> FormulaPart:
        kind, label = match[1], match[2]
        if kind == "weight":
            return FormulaPart(label, weight=True)
        node = printed[match[0]] if kind == "value" else {**leaves, **after}[kind]
        return FormulaPart(label, node)

    named = re.compile(f"{OPEN}(.*?){MIDDLE}(.*?){CLOSE}")
    result = []
    for node, left, right in lines:
        pieces: list[FormulaPart] = []
        end = 0
        for match in named.finditer(right):
            pieces += [FormulaPart(right[end : match.start()]), part(match)]
            end = match.end()
        pieces.append(FormulaPart(right[end:]))
        label = named.sub(lambda match: match[2], left)
        result.append(Formula(node, label, tuple(piece for piece in pieces if piece.text)))
    return result


_MEANING = {"E": "event", "STM": "short-term memory", "LTM": "long-term memory"}


def _lesson(equations: Equations, names: str) -> dict[str, str]:
    if names not in ("code", "lesson"):
        raise ArgumentError(f'names={names!r} is not known; give "code" or "lesson"')
    if names == "code":
        return {}
    return lesson_words(equations)


def lesson_words(equations: Equations) -> dict[str, str]:
    """The lesson's words for the event and the states that they fit.

    The event is E. The first state is STM if it is the output. The second is LTM if the cell
    carries it from step to step by sums and products only.
    """
    words = {equations.event: "E"}
    first, *further = equations.states
    if equations.output is equations.updates[first]:
        words[first] = "STM"
    if further and _carried(equations, further[0]):
        words[further[0]] = "LTM"
    return words


def _carried(equations: Equations, state: str) -> bool:
    """Tell if a state goes into its own next value through sums, products and choices only."""
    pending, seen = [equations.updates[state]], set()
    while pending:
        node = pending.pop()
        if node.op == "state" and node.attributes["name"] == state:
            return True
        if node not in seen and node.op in ("add", "subtract", "multiply", "divide", "where"):
            pending += node.operands
        seen.add(node)
    return False


def _lines(equations: Equations, style: Style) -> list[tuple[Node, str, str]]:
    """The node and both sides of each equation: named values in their order, then the states."""
    after = set(equations.states)
    titles: dict[Node, str] = {}
    for name, node in equations.names.items():
        if name not in after and node.op not in ("event", "input", "state"):
            titles.setdefault(node, style.value(name))
    for name, node in equations.updates.items():
        if node.op not in ("event", "input", "state", "constant"):
            titles.setdefault(node, style.after(name))
    _name_shared(equations, style.value, titles)
    lines = [
        (node, titles[node], _form(node, equations, style, titles, top=True)[0])
        for node in equations.nodes
        if node in titles
    ]
    for name, node in equations.updates.items():
        left = style.after(name)
        if titles.get(node) != left:
            lines.append((node, left, _form(node, equations, style, titles)[0]))
    if equations.output is not equations.updates[equations.states[0]]:
        output = _form(equations.output, equations, style, titles)[0]
        if output != style.value("output"):
            lines.append((equations.output, style.value("output"), output))
    return lines


def _name_shared(
    equations: Equations, write: Callable[[str], str], titles: dict[Node, str]
) -> None:
    """Name values that the step did not name, if they are used twice or are nested too deeply.

    Without a name, a chain of values that are used twice would print in exponentially many
    pieces, and a chain of nested ones as one endless line.
    """
    uses = Counter(operand for node in equations.nodes for operand in node.operands)
    stems = _stems(equations)
    taken = {"", *equations.names}
    depth: dict[Node, int] = {}
    for node in equations.nodes:
        depth[node] = 1 + max((depth[operand] for operand in node.operands), default=0)
        inner = node not in titles and OPERATIONS[node.op].kind != "leaf"
        if inner and (uses[node] > 1 or depth[node] > MAX_NESTED):
            stem = stems.get(node, "")
            numbered = (f"{stem or 't'}{k}" for k in count(1))
            name = next(name for name in chain([stem], numbered) if name not in taken)
            taken.add(name)
            titles[node] = write(name)
        if node in titles:
            depth[node] = 0  # it prints as a name


def _stems(equations: Equations) -> dict[Node, str]:
    """Names for unnamed values, so that micro-steps print as t1, s1, t2, s2.

    A function of one product gets the product's name, any other value the key under which a
    product reads it.
    """
    stems: dict[Node, str] = {}
    for node in equations.nodes:
        for key, source in zip(node.attributes.get("keys", ()), node.operands, strict=False):
            stems.setdefault(source, key.removesuffix("*"))
        if OPERATIONS[node.op].arity == 1 and node.operands[0].op == "linear":
            stems[node] = node.operands[0].attributes["name"]
    return stems


def _form(
    node: Node, equations: Equations, style: Style, titles: dict[Node, str], top: bool = False
) -> tuple[str, int]:
    """The printed form of a node, and its precedence."""
    if node in titles and not top:
        return titles[node], CALL
    attributes = node.attributes
    if node.op in ("event", "input"):
        return style.event(attributes["name"]), CALL
    if node.op == "state":
        return style.before(attributes["name"]), CALL
    if node.op == "constant":
        number = style.number(attributes["value"])
        # -2 and 3 \cdot 10^{4} need brackets in some places.
        scientific = style.form == "latex" and "^" in number
        return number, MULTIPLY if scientific else NEGATE if number[0] == "-" else CALL
    if node.op == "parameter":
        return style.weight("w", attributes["name"]), CALL
    if node.op == "noise":
        return _noise(attributes, style), CALL
    forms = [_form(operand, equations, style, titles) for operand in node.operands]
    if node.op in ("linear", "diagonal"):
        same_name = [
            product
            for product in equations.nodes
            if product.op == node.op and product.attributes["name"] == attributes["name"]
        ]
        return _product(node, forms, style, len(same_name) > 1)
    operation = OPERATIONS[node.op]
    template = operation.latex if style.form == "latex" else operation.text
    operands = []
    for position, (form, precedence) in enumerate(forms):
        # a - (b - c), a / (b * c) and (a ** b) ** c keep their brackets.
        strict = (node.op in ("subtract", "divide") and position == 1) or (
            node.op == "power" and position == 0
        )
        loose = precedence < operation.precedence or (strict and precedence <= operation.precedence)
        # Two signs never follow each other: a * (-b), -(-a).
        loose |= form.startswith("-") and (position > 0 or node.op == "negative")
        # Brackets or a fraction bar already surround these operands.
        enclosed = operation.precedence == CALL or (style.form == "latex" and node.op == "divide")
        operands.append(_bracketed(form, style) if loose and not enclosed else form)
    result = template.format(*operands)
    if "heads" in attributes:
        end = r"\right)" if style.form == "latex" else ")"
        result = result.removesuffix(end) + _heads(node, style) + end
    return result, operation.precedence


def _product(
    node: Node, sources: list[tuple[str, int]], style: Style, several: bool
) -> tuple[str, int]:
    """The form of a product by weights, and its precedence.

    `several` products may have the same name; their letters then include the key as well.
    """
    keys = [key.removesuffix("*") for key in node.attributes["keys"]]
    name = node.attributes["name"] + (f"_{keys[0]}" if several else "")
    if node.op == "diagonal":
        letters = [style.weight("p", name if len(keys) == 1 else f"{name}_{key}") for key in keys]
        factors = [form if tight == CALL else _bracketed(form, style) for form, tight in sources]
        terms = [f"{p}{style.times}{factor}" for p, factor in zip(letters, factors, strict=True)]
        return " + ".join(terms), MULTIPLY if len(terms) == 1 else ADD
    first, precedence = sources[0]
    if len(sources) == 1 and precedence == CALL and (style.form == "latex" or " " not in first):
        column = first
    else:
        joined = ", ".join(form for form, _ in sources)
        column = rf"\left[{joined}\right]" if style.form == "latex" else f"[{joined}]"
    space = r"\, " if style.form == "latex" else " "
    matrix = style.weight("W", name)
    if node.attributes.get("antisymmetric"):
        transposed = matrix + (r"^{\top}" if style.form == "latex" else "^T")
        matrix = _bracketed(f"{matrix} - {transposed}", style)
    if node.attributes["heads"] > 1:
        matrix = _bracketed(matrix + _heads(node, style), style)
    result = f"{matrix}{space}{column}"
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
    # A float has 15 reliable digits: 1 - 0.95 prints as 0.05, not as 0.050000000000000044.
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
