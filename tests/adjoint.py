"""The adjoint, evaluated in torch and compared with autograd of the reference.

Every state, output and named value gets a random upstream gradient. The backward run can read
leaves and the values that the adjoint lists as saved: reading anything else is a KeyError.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewright.backends.operations import evaluate
from gatewright.backends.reference import run
from gatewright.backends.run import Run
from gatewright.graph import Adjoint, Graph, Term
from gatewright.graph.recompute import LEAVES
from gatewright.graph.sizes import number
from gatewright.graph.terms import COMMUTATIVE

#: Odd, distinct, and with divisors for heads (2 and 3 of hidden).
SIZES = {"input": 5, "hidden": 6}
BATCH = 3
TOLERANCE = 1e-10


def draw(graph: Graph, sizes: Mapping[str, int], seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Draw weights, inputs and states in float64 that need gradients; and noises."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    def rows(terms: Mapping[str, Term]) -> dict[str, Tensor]:
        return {name: normal(BATCH, number(one.size, sizes)) for name, one in terms.items()}

    return {
        "weights": {path: normal(*one.numbers(sizes)) for path, one in graph.weights.items()},
        "inputs": rows(graph.inputs),
        "states": rows(graph.states),
        "noises": {k: one.detach() for k, one in rows(dict(enumerate(graph.noises))).items()},
    }


def compare(
    graph: Graph, sizes: Mapping[str, int] = SIZES, seed: int = 0, **replaced: Tensor
) -> None:
    """Compare the adjoint of one step with autograd; `replaced` are inputs, states or weights."""
    graph.sizes.check(sizes)
    drawn = draw(graph, sizes, seed)
    for kind in ("inputs", "states", "weights"):
        for name in drawn[kind].keys() & replaced.keys():
            drawn[kind][name] = replaced[name].clone().requires_grad_()
    names = [name for name, term in graph.values.items() if not term.boolean]
    adjoint = graph.adjoint_of(*names)
    check_merged(graph, adjoint)

    result = run(
        Run(
            graph=graph,
            sizes=sizes,
            weights=drawn["weights"],
            inputs=drawn["inputs"],
            rows=[BATCH],
            states=drawn["states"],
            fresh=drawn["states"],
            noises=list(drawn["noises"].values()),
            names=names,
        )
    )
    values = {**result.values, **result.states, "output": result.output}
    generator = torch.Generator().manual_seed(seed + 1)
    upstream = {
        name: torch.randn(values[name].shape, generator=generator, dtype=torch.float64)
        for name in adjoint.seeds
    }
    loss = torch.stack([(values[name] * g).sum() for name, g in upstream.items()]).sum()
    leaves = {
        (kind, name): leaf
        for kind in ("weights", "inputs", "states")
        for name, leaf in drawn[kind].items()
    }
    truth = dict(
        zip(
            leaves, torch.autograd.grad(loss, list(leaves.values()), allow_unused=True), strict=True
        )
    )
    ours = backward(graph, adjoint, sizes, drawn, upstream)
    assert set(ours) <= set(truth)
    for key, expected in truth.items():
        got = ours.get(key)
        if expected is None or got is None:
            for g in (expected, got):
                assert g is None or not g.any(), f"{key}: there is a gradient on one side only"
            continue
        assert got.shape == expected.shape, f"{key}: {got.shape}, expected {expected.shape}"
        assert torch.equal(got.isnan(), expected.isnan()), f"{key}: {got}, expected {expected}"
        got, expected = got.nan_to_num(), expected.nan_to_num()
        scale = max(1.0, expected.abs().max().item())
        error = (got - expected).abs().max().item()
        assert error <= TOLERANCE * scale, f"{key}: off by {error}\n{got}\n{expected}"


def backward(
    graph: Graph,
    adjoint: Adjoint,
    sizes: Mapping[str, int],
    drawn: Mapping[str, Mapping[str, Tensor]],
    upstream: Mapping[str, Tensor],
) -> dict[tuple[str, str], Tensor]:
    """Compute all gradients, from leaves and saved terms only."""
    like = torch.zeros((), dtype=torch.float64)
    forward: dict[Term, Tensor] = {}
    leaves = {term: drawn["inputs"][name].detach() for name, term in graph.inputs.items()}
    leaves |= {term: drawn["states"][name].detach() for name, term in graph.states.items()}
    leaves |= dict(zip(graph.noises, drawn["noises"].values(), strict=True))
    for term in graph.forward:
        if term in leaves:
            forward[term] = leaves[term]
        elif term.op == "weight":
            forward[term] = drawn["weights"][term.attributes["weight"].path].detach()
        else:
            forward[term] = evaluate(term, [forward[one] for one in term.operands], sizes, like)

    known = {term: value for term, value in forward.items() if term.op in LEAVES}
    known |= {term: forward[term] for term in adjoint.saved}
    known |= {term: upstream[name] for name, term in adjoint.seeds.items()}
    for term in adjoint.order:
        if term not in known:
            known[term] = evaluate(term, [known[one] for one in term.operands], sizes, like)

    gradients: dict[tuple[str, str], Tensor] = {}
    for weight in adjoint.weights:
        # A value that follows from weights only is one row for all.
        sides = [known[side] for side in (weight.left, weight.right) if side is not None]
        sides = [side.expand(BATCH, side.shape[-1]) for side in sides]
        if weight.right is None:
            value = sides[0].sum(0)
        elif weight.heads == 1:
            value = sides[0].T @ sides[1]
        else:
            parts = [side.unflatten(-1, (weight.heads, -1)) for side in sides]
            value = torch.einsum("bho,bhi->hoi", *parts)
        key = ("weights", weight.path)
        gradients[key] = gradients[key] + value if key in gradients else value
    for kind, terms in (("states", adjoint.states), ("inputs", adjoint.inputs)):
        gradients |= {(kind, name): known[term] for name, term in terms.items() if term is not None}
    return gradients


def check_merged(graph: Graph, adjoint: Adjoint) -> None:
    """Check that derived terms are distinct and in order, and none is saved and recomputed."""
    seen: dict[object, Term] = {}
    step = set(graph.forward)
    order = list(adjoint.order)
    assert len(set(order)) == len(order)
    place = {term: index for index, term in enumerate(order)}
    for term in order:
        assert all(place[one] < place[term] for one in term.operands if one in place)
        if term in step:
            assert term in adjoint.recomputed and term not in adjoint.saved
            continue
        operands = [one.index for one in term.operands]
        key = (
            term.op,
            tuple(sorted(operands) if term.op in COMMUTATIVE else operands),
            term.size,
            tuple(sorted(term.attributes.items(), key=str)),
        )
        other = seen.setdefault(key, term)
        assert other is term, f"{other} and {term} are equal and not merged"
