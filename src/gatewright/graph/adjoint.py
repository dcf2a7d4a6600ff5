"""The adjoint: the gradient of a step, derived from its terms by one rule an operation.

For upstream gradients of the states after the step, of the output and of any named value
(the seeds) it gives the gradients of the states before the step, of the inputs and of every
weight. It is a graph like that of the step, so a backend prints both the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from gatewright.graph.recompute import split_needed
from gatewright.graph.terms import Term
from gatewright.language.node import closure

Gradients = tuple[Term | None, ...]
#: What has no gradient, since nobody can change it.
NUMBERS = frozenset({"constant", "inverse_size"})


def _where(condition: Term, a: Term | float, b: Term | float, like: Term) -> Term:
    return like.terms.make("where", condition, a, b, size=like.size)


def _compare(op: str, a: Term, b: Term | float) -> Term:
    return a.terms.make(op, a, b)


def _f(op: str, a: Term) -> Term:
    return a.terms.make(op, a)


def _power(g: Term, y: Term, a: Term, b: Term) -> Gradients:
    if b.op == "constant":
        exponent = float(b.attributes["value"])
        if exponent == 0.0:
            return None, None
        return g * exponent * a.terms.make("power", a, exponent - 1.0), None
    # At a = 0 the logarithm is infinite, yet the power does not depend on b.
    log = _where(_compare("equal", a, 0.0), 0.0, _f("log", a), y)
    base = a.terms.make("power", a, b - 1.0)
    return g * _where(_compare("equal", b, 0.0), 0.0, b * base, y), g * y * log


def _choose(op: str) -> Callable[[Term, Term, Term, Term], Gradients]:
    """maximum and minimum: to the one that is taken; to both in halves where they tie."""

    def rule(g: Term, y: Term, a: Term, b: Term) -> Gradients:
        half = _where(_compare("equal", a, b), 0.5 * g, 0.0, y)
        return tuple(_where(_compare(op, p, q), g, half, y) for p, q in ((a, b), (b, a)))

    return rule


def _sum(g: Term, y: Term, a: Term) -> Gradients:
    return (g.terms.make("expand", g, size=a.size, **y.attributes) if a.size != 1 else g,)


#: Gradient of each operand, from the gradient g of the result y and the operands.
RULES: dict[str, Callable[..., Gradients]] = {
    "add": lambda g, y, a, b: (g, g),
    "subtract": lambda g, y, a, b: (g, -g),
    "multiply": lambda g, y, a, b: (g * b, g * a),
    "divide": lambda g, y, a, b: (g / b, -(g * y / b)),
    "power": _power,
    "negative": lambda g, y, a: (-g,),
    "maximum": _choose("greater"),
    "minimum": _choose("less"),
    "where": lambda g, y, c, a, b: (None, _where(c, g, 0.0, y), _where(c, 0.0, g, y)),
    "sigmoid": lambda g, y, a: (g * (y * (1.0 - y)),),
    "tanh": lambda g, y, a: (g * (1.0 - y * y),),
    "exp": lambda g, y, a: (g * y,),
    "expm1": lambda g, y, a: (g * (y + 1.0),),
    "log": lambda g, y, a: (g / a,),
    "log1p": lambda g, y, a: (g / (1.0 + a),),
    "sqrt": lambda g, y, a: (g / (2.0 * y),),
    "abs": lambda g, y, a: (g * _f("sign", a),),
    "sign": lambda g, y, a: (None,),
    "sin": lambda g, y, a: (g * _f("cos", a),),
    "cos": lambda g, y, a: (-(g * _f("sin", a)),),
    "erf": lambda g, y, a: (g * (2.0 / math.sqrt(math.pi) * _f("exp", -(a * a))),),
    # NaN is not below zero: its gradient passes, as in torch.
    "relu": lambda g, y, a: (_where(_compare("less_equal", a, 0.0), 0.0, g, y),),
    "softplus": lambda g, y, a: (g * _f("sigmoid", a),),
    "stop_gradient": lambda g, y, a: (None,),
    "sum": _sum,
    "largest": lambda g, y, a: (None,),  # it stands where the result does not depend on it
    "expand": lambda g, y, a: (g.terms.make("sum", g, **y.attributes),),
}


@dataclass(frozen=True)
class WeightGradient:
    """How one weight's gradient is made from all steps and rows, after the loop.

    A matrix has the sum over steps and rows of `left` times `right` transposed (`right` is
    the product's source, one row for all where it follows from weights alone); a vector has
    the sum of `left`, and `right` is None.
    """

    path: str
    left: Term
    right: Term | None
    heads: int = 1


@dataclass(frozen=True, eq=False)
class Adjoint:
    """The gradient of a step.

    Attributes:
        seeds: The upstream gradient's term of each state after the step, of the output if it
            is no state ("output"), and of each named value asked for.
        states: The gradient of each state before the step; None where there is none.
        inputs: The gradient of the event and of each further input; None where there is none.
        weights: What each weight's gradient is made of; shared weights stand several times.
        order: The terms to compute, each after its operands, with what is recomputed.
        saved: Terms of the step that are kept from the forward run.
        recomputed: Terms of the step that are computed again, from saved ones.
    """

    seeds: Mapping[str, Term]
    states: Mapping[str, Term | None]
    inputs: Mapping[str, Term | None]
    weights: Sequence[WeightGradient]
    order: Sequence[Term]
    saved: Sequence[Term]
    recomputed: Sequence[Term]

    @cached_property
    def loop(self) -> frozenset[Term]:
        """The terms that the gradient of the previous state needs; the rest leaves the loop."""
        return frozenset(closure(one for one in self.states.values() if one is not None))


def derive(
    forward: Sequence[Term],
    seeds: Mapping[str, Term],
    states: Mapping[str, Term],
    inputs: Mapping[str, Term],
    outside: Collection[Term] = (),
) -> Adjoint:
    """The adjoint of a step's terms, seeded at the given ones.

    Terms that are `outside` are not differentiated, and are there in the backward run: what
    a loop reads and does not compute.
    """
    terms = forward[0].terms
    gradients: dict[Term, Term] = {}
    weights: list[WeightGradient] = []
    leaves = {name: terms.make("seed", size=term.size, name=name) for name, term in seeds.items()}
    for name, term in seeds.items():
        accumulate(gradients, term, leaves[name])
    for term in reversed(forward):
        g = gradients.get(term)
        if g is None:
            continue
        if term.op == "product":
            source, matrix = term.operands
            heads = term.attributes["heads"]
            weights.append(WeightGradient(matrix.attributes["weight"].path, g, source, heads))
            back = terms.make("transposed", g, matrix, size=source.size, heads=heads)
            accumulate(gradients, source, back)
        elif term.op == "weight":
            weights.append(WeightGradient(term.attributes["weight"].path, g, None))
        elif term.op in RULES:
            for operand, one in zip(
                term.operands, RULES[term.op](g, term, *term.operands), strict=True
            ):
                if one is not None and not operand.boolean and operand.op not in NUMBERS:
                    accumulate(gradients, operand, reduced(one, operand))
    given = {name: gradients.get(term) for name, term in states.items()}
    wanted = {name: gradients.get(term) for name, term in inputs.items()}
    roots = [one for one in (*given.values(), *wanted.values()) if one is not None]
    roots += [side for one in weights for side in (one.left, one.right) if side is not None]
    step = {*forward, *outside}
    needed = closure(roots, step)
    order = [one for one in terms.all if one in needed and one not in step]
    reads = {one for term in order for one in term.operands if one in step}
    saved, recomputed = split_needed(reads | (step & set(roots)), set(outside))
    return Adjoint(leaves, given, wanted, weights, [*recomputed, *order], saved, recomputed)


def accumulate(gradients: dict[Term, Term], term: Term, one: Term) -> None:
    """Add up what reaches a term from the places where it is used."""
    gradients[term] = gradients[term] + one if term in gradients else one


def reduced(gradient: Term, operand: Term) -> Term:
    """The gradient of an operand that was broadcast is the sum over what it became."""
    if operand.size == 1 and gradient.size != 1:
        return gradient.terms.make("sum", gradient)
    if gradient.size == 1 and operand.size != 1:
        return gradient.terms.make("expand", gradient, size=operand.size)
    return gradient  # of one size, or of two symbols that must agree
