"""Every primitive operation in plain torch, and the evaluation of a single term."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from gatewright.graph import Term
from gatewright.graph.sizes import number


def product(source: Tensor, weight: Tensor) -> Tensor:
    """Multiply each row of `source` by a weight; a weight of three axes has one block a head."""
    if weight.dim() == 2:
        result = functional.linear(source, weight)
    else:
        parts = source.unflatten(-1, (weight.shape[0], weight.shape[2])).unsqueeze(-2)
        result = torch.matmul(parts, weight.transpose(1, 2)).squeeze(-2).flatten(-2)
    # Under autocast a product has half precision; the terms that read it keep their own.
    return result.to(weight.dtype)


def transposed(gradient: Tensor, weight: Tensor) -> Tensor:
    """Multiply each row of `gradient` by the transposed weight."""
    return product(gradient, weight.transpose(-1, -2))


def expand(a: Tensor, units: int) -> Tensor:
    """Repeat one value a row, or a head, at all its units."""
    parts = a.unsqueeze(-1)
    return parts.expand(*a.shape, units // a.shape[-1]).flatten(-2)


POINTWISE: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "power": torch.pow,
    "negative": torch.neg,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_not": torch.logical_not,
    "where": torch.where,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "relu": torch.relu,
    # torch's own softplus turns linear above 20, which is 2e-9 off.
    "softplus": lambda a: torch.logaddexp(a, torch.zeros((), dtype=a.dtype, device=a.device)),
    "stop_gradient": lambda a: a.detach(),
    "product": product,
    "transposed": transposed,
}


#: Reductions over the last axis.
REDUCED: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda a: a.sum(-1),
    "largest": lambda a: a.amax(-1).detach(),
}


def evaluate(term: Term, operands: list[Tensor], sizes: Mapping[str, int], like: Tensor) -> Tensor:
    """Compute a term from its operands' values; `like` has the dtype and device."""
    heads = term.attributes.get("heads")
    if term.op == "constant":
        return like.new_tensor(term.attributes["value"])
    if term.op == "inverse_size":
        return like.new_tensor((heads or 1) / number(term.attributes["of"], sizes))
    if term.op in REDUCED:
        return REDUCED[term.op](operands[0].unflatten(-1, (heads or 1, -1)))
    if term.op == "expand":
        return expand(operands[0], number(term.size, sizes))
    return POINTWISE[term.op](*operands)
