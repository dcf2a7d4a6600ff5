"""The confusion matrix as a table, which can be read aloud, copied and searched."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.draw.page.elements import escape, scrolling, tag
from gatewright.draw.page.page import Section


def confusion_section(
    counts: Sequence[Sequence[int]], classes: Sequence[str], caption: str, what: str
) -> Section:
    """The matrix as a section of a report; `what` names the counted things, in the plural."""
    wrong = sum(
        count for true, row in enumerate(counts) for to, count in enumerate(row) if true != to
    )
    total = sum(sum(row) for row in counts)
    times = {0: "never wrong", 1: "wrong once"}.get(wrong, f"wrong {wrong} times")
    return Section(
        "confusion",
        "Which classes are confused",
        scrolling(confusion_table(counts, classes, escape(caption)), "confusion matrix"),
        lead="Each row is a true class, each column a prediction of the best model. "
        f"It was {times} in {total} {what}.",
    )


def confusion_table(counts: Sequence[Sequence[int]], classes: Sequence[str], caption: str) -> str:
    """`counts[true][predicted]`; the colour is the share of the true class."""
    head = tag("td", "true ↓ &nbsp; predicted →", class_="corner") + "".join(
        tag("th", escape(name), scope="col") for name in classes
    )
    head += tag("th", "correct", scope="col", class_="correct")
    rows = [tag("tr", head)]
    for true, (name, row) in enumerate(zip(classes, counts, strict=True)):
        total = sum(row)
        cells = "".join(_cell(count, total, right=true == to) for to, count in enumerate(row))
        correct = f"{row[true]} of {total}" if total else "none"
        rows.append(
            tag(
                "tr",
                tag("th", escape(name), scope="row") + cells + tag("td", correct, class_="correct"),
            )
        )
    return tag("table", tag("caption", caption) + "".join(rows), class_="confusion")


def _cell(count: int, total: int, *, right: bool) -> str:
    share = count / total if total else 0.0
    kind = "right" if right else "wrong" if count else "none"
    deep = " deep" if right and share > 0.55 else ""
    return tag("td", str(count) if count else "·", class_=kind + deep, style=f"--share:{share:.3f}")
