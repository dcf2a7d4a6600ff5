"""The number of parameters of a layer, as a formula in I and H: the sizes of x and h."""

from __future__ import annotations

import math
from collections import Counter

import gatewright as gw

LETTERS = {"input": "I", "hidden": "H"}


def size(symbol: int | str) -> str:
    """A size in the letters of these pages: I, H or a number."""
    return LETTERS[symbol] if isinstance(symbol, str) else str(symbol)


def monomials(cell: gw.Cell) -> Counter[str]:
    """The parameters of a layer as a sum: the count of each product of sizes in it."""
    counts: Counter[str] = Counter()
    # Sizes that must be equal have one letter.
    known = {name: "H" for name in LETTERS} if cell.graph.sizes.agreements else LETTERS
    for weight in cell.graph.weights.values():
        numbers = math.prod(length for length in weight.shape if isinstance(length, int))
        letters = sorted(known[length] for length in weight.shape if isinstance(length, str))
        # A matrix in heads has only the blocks on its diagonal.
        assert weight.heads == 1, "the formula of a cell in heads would be a fraction"
        counts["".join(letters)] += numbers
    return counts


def formula(cell: gw.Cell) -> str:
    """The parameters of a layer in terms of I and H; 4 H (H + I + 1) for an LSTM."""
    terms = monomials(cell)
    times = math.gcd(*terms.values())
    shared = "H" if all("H" in letters for letters in terms) else ""
    inner = []
    for letters, count in sorted(terms.items(), key=lambda item: (-len(item[0]), item[0])):
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
