"""The adjoint: the gradient of a step, derived from its terms by one rule an operation.

For upstream gradients of the states after the step, of the output and of any named value
(the seeds) it gives the gradients of the states before the step, of the inputs and of every
weight. It is a graph like that of the step, so a backend prints both the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from gatewright.graph.recompute import split_needed
from gatewright.graph.terms import Expression, Term, Terms
from gatewright.language.node import closure

Gradients = tuple[Expression | None, ...]
#: Leaves without a gradient, since nobody can change them.
NUMBERS = frozenset({"constant", "inverse_size"})
#: The names of seeds and inputs: strings for a step, buffers for a part of a schedule.
Name = TypeVar("Name", bound=Hashable)


def _where(
    condition: Expression, a: Expression | float, b: Expression | float, like: Expression
) -> Expression:
    return condition.apply("where", a, b, size=like.size)


def _power(g: Expression, y: Expression, a: Expression, b: Expression) -> Gradients:
    if b.op == "constant":
        exponent = float(b.attributes["value"])
        if exponent == 0.0:
            return None, None
        return g * exponent * a.apply("power", exponent - 1.0), None
    # At a = 0 the logarithm is infinite, yet the power of no positive b depends on it.
    constant = a.apply("equal", 0.0).apply("logical_and", b.apply("greater_equal", 0.0))
    log = _where(constant, 0.0, a.apply("log"), y)
    base = a.apply("power", b - 1.0)
    return g * _where(b.apply("equal", 0.0), 0.0, b * base, y), g * y * log


def _choose(loses: str) -> Callable[[Expression, Expression, Expression, Expression], Gradients]:
    """Return the rule of maximum or minimum, from the comparison by which an operand loses.

    The gradient goes to the operand that is taken, and in halves to both where they tie.
    """

    def rule(g: Expression, y: Expression, a: Expression, b: Expression) -> Gradients:
        # NaN loses no comparison: as in torch, its gradient passes.
        whole = _where(a.apply("equal", b), 0.5 * g, g, y)
        return tuple(_where(p.apply(loses, q), 0.0, whole, y) for p, q in ((a, b), (b, a)))

    return rule


def _sum(g: Expression, y: Expression, a: Expression) -> Gradients:
    return (g.apply("expand", size=a.size, **y.attributes) if a.size != 1 else g,)


#: Gradient of each operand, from the gradient g of the result y and the operands.
RULES: dict[str, Callable[..., Gradients]] = {
    "add": lambda g, y, a, b: (g, g),
    "subtract": lambda g, y, a, b: (g, -g),
    "multiply": lambda g, y, a, b: (g * b, g * a),
    "divide": lambda g, y, a, b: (g / b, -(g * y / b)),
    "power": _power,
    "negative": lambda g, y, a: (-g,),
    "maximum": _choose("less"),
    "minimum": _choose("greater"),
    "where": lambda g, y, c, a, b: (None, _where(c, g, 0.0, y), _where(c, 0.0, g, y)),
    "sigmoid": lambda g, y, a: (g * (y * (1.0 - y)),),
    "tanh": lambda g, y, a: (g * (1.0 - y * y),),
    "exp": lambda g, y, a: (g * y,),
    "expm1": lambda g, y, a: (g * (y + 1.0),),
    "log": lambda g, y, a: (g / a,),
    "log1p": lambda g, y, a: (g / (1.0 + a),),
    "sqrt": lambda g, y, a: (g / (2.0 * y),),
    "abs": lambda g, y, a: (g * a.apply("sign"),),
    "sign": lambda g, y, a: (None,),
    "sin": lambda g, y, a: (g * a.apply("cos"),),
    "cos": lambda g, y, a: (-(g * a.apply("sin")),),
    "erf": lambda g, y, a: (g * (2.0 / math.sqrt(math.pi) * (-(a * a)).apply("exp")),),
    # NaN is not below zero: its gradient passes, as in torch.
    "relu": lambda g, y, a: (_where(a.apply("less_equal", 0.0), 0.0, g, y),),
    "softplus": lambda g, y, a: (g * a.apply("sigmoid"),),
    "stop_gradient": lambda g, y, a: (None,),
    "sum": _sum,
    "largest": lambda g, y, a: (None,),  # used only where the result does not depend on it
    "expand": lambda g, y, a: (g.apply("sum", **y.attributes),),
}


@dataclass(frozen=True)
class WeightGradient:
    """The terms from which one use of a weight gets its gradient, after the loop.

    A matrix has the sum over steps and rows of `left` times `right` transposed (`right` is
    the product's source, one row for all where it follows from weights only); a vector has
    the sum of `left`, and `right` is None.
    """

    path: str
    left: Term
    right: Term | None
    heads: int = 1


@dataclass(frozen=True, eq=False)
class Adjoint(Generic[Name]):
    """The gradient of a step.

    Attributes:
        seeds: The term of each upstream gradient: of the states after the step, of the output
            if it is no state ("output"), and of the named values that were asked for.
        states: The gradient of each state before the step; None where there is none.
        inputs: The gradient of the event and of each further input; None where there is none.
        weights: One entry for each use of a weight; a shared weight has several.
        order: The terms to compute, each after its operands, with the recomputed ones.
        saved: Terms of the step that the forward run has to save.
        recomputed: Terms of the step that are computed again, from saved ones.
    """

    seeds: Mapping[Name, Term]
    states: Mapping[str, Term | None]
    inputs: Mapping[Name, Term | None]
    weights: Sequence[WeightGradient]
    order: Sequence[Term]
    saved: Sequence[Term]
    recomputed: Sequence[Term]

    @cached_property
    def loop(self) -> frozenset[Term]:
        """The terms that the gradient of the previous state needs; the rest leaves the loop."""
        return frozenset(closure(term for term in self.states.values() if term is not None))


def derive(
    terms: Terms,
    forward: Sequence[Term],
    seeds: Mapping[Name, Term],
    states: Mapping[str, Term],
    inputs: Mapping[Name, Term],
    outside: Collection[Term] = (),
) -> Adjoint[Name]:
    """Derive the adjoint of a step, and add its terms to an arena.

    Args:
        terms: The arena; it has the terms of the step.
        forward: The terms of the step, each after its operands.
        seeds: The terms that have an upstream gradient.
        states, inputs: The terms whose gradients are returned.
        outside: Terms that are not differentiated and that the backward run can read: the
            values that a loop reads and does not compute.
    """
    gradients: dict[Term, Term] = {}
    weights: list[WeightGradient] = []

    def accumulate(term: Term, gradient: Term) -> None:
        """Add up the gradients from all places where a term is used."""
        before = gradients.get(term)
        gradients[term] = gradient if before is None else terms.make("add", before, gradient)

    leaves = {name: terms.make("seed", size=term.size, name=name) for name, term in seeds.items()}
    for name, term in seeds.items():
        accumulate(term, leaves[name])
    for term in reversed(forward):
        g = gradients.get(term)
        if g is None:
            continue
        if term.op == "product":
            source, matrix = term.operands
            heads = term.attributes["heads"]
            weights.append(WeightGradient(matrix.attributes["weight"].path, g, source, heads))
            accumulate(source, terms.make("transposed", g, matrix, size=source.size, heads=heads))
        elif term.op == "weight":
            weights.append(WeightGradient(term.attributes["weight"].path, g, None))
        elif term.op in RULES:
            y, *operands = (Expression(terms, part) for part in (term, *term.operands))
            shares = RULES[term.op](Expression(terms, g), y, *operands)
            for operand, share in zip(term.operands, shares, strict=True):
                if share is not None and not operand.boolean and operand.op not in NUMBERS:
                    accumulate(operand, _reduced(share, operand).term)
    of_states = {name: gradients.get(term) for name, term in states.items()}
    of_inputs = {name: gradients.get(term) for name, term in inputs.items()}
    roots = [g for g in (*of_states.values(), *of_inputs.values()) if g is not None]
    roots += [side for weight in weights for side in (weight.left, weight.right) if side]
    step = {*forward, *outside}
    needed = closure(roots, step)
    order = [term for term in terms.all if term in needed and term not in step]
    reads = {operand for term in order for operand in term.operands if operand in step}
    saved, recomputed = split_needed(reads | (step & set(roots)), set(outside))
    return Adjoint(leaves, of_states, of_inputs, weights, [*recomputed, *order], saved, recomputed)


def _reduced(gradient: Expression, operand: Term) -> Expression:
    """Sum the gradient of an operand that was broadcast over the units it was broadcast to."""
    if operand.size == 1 and gradient.size != 1:
        return gradient.apply("sum")
    if gradient.size == 1 and operand.size != 1:
        return gradient.apply("expand", size=operand.size)
    return gradient  # of one size, or of two symbols that must agree
