"""How many parameters a layer of a cell has, as a formula in I and H: the sizes of x and h."""

from __future__ import annotations

import math
from collections import Counter

import gatewright as gw

LETTERS = {"input": "I", "hidden": "H"}


def size(given: int | str) -> str:
    """A size as it is written here: I, H or a number."""
    return LETTERS[given] if isinstance(given, str) else str(given)


def monomials(cell: gw.Cell) -> Counter[str]:
    """The parameters of a layer: how often each product of sizes stands in the sum."""
    found: Counter[str] = Counter()
    # Sizes that must be equal have one letter.
    known = {name: "H" for name in LETTERS} if cell.graph.sizes.agreements else LETTERS
    for weight in cell.graph.weights.values():
        numbers = math.prod(one for one in weight.shape if isinstance(one, int))
        letters = sorted(known[one] for one in weight.shape if isinstance(one, str))
        # A matrix in heads has blocks on its diagonal alone.
        assert weight.heads == 1, "the formula of a cell in heads would be a fraction"
        found["".join(letters)] += numbers
    return found


def formula(cell: gw.Cell) -> str:
    """The parameters of a layer, as a sum of products of I and H; 4 H (H + I + 1), an LSTM."""
    terms = monomials(cell)
    times = math.gcd(*terms.values())
    shared = "H" if all("H" in letters for letters in terms) else ""
    inner = []
    for letters, count in sorted(terms.items(), key=lambda one: (-len(one[0]), one[0])):
        rest = letters.replace("H", "", 1) if shared else letters
        factor = count // times
        rest = {"HH": "H²", "II": "I²", "HI": "H I"}.get(rest, rest)
        inner.append(" ".join(filter(None, [str(factor) * (factor > 1 or not rest), rest])))
    front = " ".join(filter(None, [str(times) * (times > 1), shared]))
    total = " + ".join(inner)
    if not front or total == "1":
        return front or total
    return f"{front} ({total})" if len(inner) > 1 else f"{front} {total}"


def evaluated(cell: gw.Cell, sizes: dict[str, int]) -> int:
    """The parameters of a layer of these sizes."""
    values = {letter: sizes[name] for name, letter in LETTERS.items()}
    return sum(
        count * math.prod(values[letter] for letter in letters)
        for letters, count in monomials(cell).items()
    )
