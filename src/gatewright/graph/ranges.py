"""The values of a step that always lie within -1 and 1, derived from its terms.

Each term gets an interval from those of its operands: a sigmoid lies in [0, 1], a tanh in [-1, 1].
Two facts need more than one operation. A gate's blend, `z * a + (1 - z) * b` with z in [0, 1], is
never outside the larger of both intervals, though the sum of the two products could be. And a state
is bounded by induction: it starts within [-1, 1], and if a step leads from there only to there, it
never leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from functools import lru_cache

from gatewright.graph.graph import Graph
from gatewright.graph.terms import Term

#: The lowest and the highest value of a term.
Interval = tuple[float, float]

LINE: Interval = (-math.inf, math.inf)
UNIT: Interval = (-1.0, 1.0)
SHARE: Interval = (0.0, 1.0)
#: The largest number whose rounding in float32, half a unit in the last place, is below the slack
#: of 1e-4 that bounds are checked with: 6e-5.
EXACT = 2.0**10
#: Operations whose values have an interval that does not depend on their operands.
FIXED: Mapping[str, Interval] = {
    "sigmoid": SHARE,
    "noise": SHARE,
    "inverse_size": SHARE,
    **dict.fromkeys(("tanh", "sin", "cos", "erf", "sign"), UNIT),
}


@lru_cache(maxsize=128)
def within_one(graph: Graph) -> frozenset[Term]:
    """Find the terms of a step in evaluation mode whose values lie within -1 and 1.

    It holds for states that begin at the cell's starts. Weights may have any value.

    >>> from gatewright.cells import CELLS
    >>> bounded = within_one(CELLS["lstm"]().graph)
    >>> {name: term in bounded for name, term in CELLS["lstm"]().graph.states.items()}
    {'h': True, 'c': False}
    """
    bounded = {
        name
        for name, start in graph.initial.items()
        if isinstance(start, float | int) and -1.0 <= start <= 1.0
    }
    while True:
        intervals = _intervals(graph, bounded)
        leaving = {name for name in bounded if not _within_unit(intervals[graph.updates[name]])}
        if not leaving:
            return frozenset(t for t, interval in intervals.items() if _within_unit(interval))
        bounded -= leaving


def _within_unit(interval: Interval) -> bool:
    return interval[0] >= -1.0 and interval[1] <= 1.0


def _intervals(graph: Graph, bounded: Set[str]) -> dict[Term, Interval]:
    """The interval of each term, if the states of these names lie within -1 and 1."""
    intervals: dict[Term, Interval] = {}
    for term in graph.forward:
        if term.op == "constant":
            interval = (term.attributes["value"],) * 2
        elif term.op == "state":
            interval = UNIT if term.attributes["name"] in bounded else LINE
        elif term.op in FIXED:
            interval = FIXED[term.op]
        elif term.boolean:
            interval = SHARE
        elif term.op in RULES:
            interval = RULES[term.op](*(intervals[operand] for operand in term.operands))
        else:
            interval = LINE
        if term.op == "add":
            interval = _blend(term, intervals) or interval
        intervals[term] = LINE if any(map(math.isnan, interval)) else interval
    return intervals


def _blend(term: Term, intervals: Mapping[Term, Interval]) -> Interval | None:
    """The interval of `z * a + (1 - z) * b`, in any order, or None for another sum."""
    if not all(operand.op == "multiply" for operand in term.operands):
        return None
    first, second = (operand.operands for operand in term.operands)
    for z, a in (first, first[::-1]):
        for rest, b in (second, second[::-1]):
            for share, other in ((z, rest), (rest, z)):
                if _is_rest(other, share) and _within_share(intervals[share]):
                    return _hull(intervals[a], intervals[b])
    return None


def _is_rest(term: Term, share: Term) -> bool:
    """Tell if a term is 1 minus another."""
    return (
        term.op == "subtract"
        and term.operands[0].op == "constant"
        and term.operands[0].attributes["value"] == 1.0
        and term.operands[1] is share
    )


def _within_share(interval: Interval) -> bool:
    return interval[0] >= 0.0 and interval[1] <= 1.0


def _hull(*intervals: Interval) -> Interval:
    """The interval that holds all of them."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _multiply(a: Interval, b: Interval) -> Interval:
    # 0 times infinity is 0 here: an end of a line stands for every number, however large.
    ends = [x * y if x and y else 0.0 for x in a for y in b]
    return min(ends), max(ends)


def _exp(a: Interval) -> Interval:
    low, high = (math.exp(end) if end < 700.0 else math.inf for end in a)
    return low, high


def _sum(a: Interval, b: Interval) -> Interval:
    """The interval of a sum in float32, whose rounding grows with its operands.

    Beyond `EXACT`, half of a unit in the last place may be more than a bound can hold: then
    nothing is known.
    """
    if any(abs(end) > EXACT for end in (*a, *b) if math.isfinite(end)):
        return LINE
    return a[0] + b[0], a[1] + b[1]


def _negative(a: Interval) -> Interval:
    return -a[1], -a[0]


#: The interval of an operation's values, from those of its operands.
RULES: Mapping[str, Callable[..., Interval]] = {
    "add": _sum,
    "subtract": lambda a, b: _sum(a, _negative(b)),
    "multiply": _multiply,
    "negative": _negative,
    "abs": lambda a: (max(a[0], -a[1], 0.0), max(a[1], -a[0])),
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "where": lambda condition, a, b: _hull(a, b),
    "relu": lambda a: (max(a[0], 0.0), max(a[1], 0.0)),
    "exp": _exp,
    **dict.fromkeys(("stop_gradient", "expand", "largest"), lambda a: a),
}
