"""What a model of a text writes, and where in a real text it was surprised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.draw.page.elements import escape, tag
from gatewright.draw.page.page import Section

#: Bits at which a symbol has the whole colour.
MOST_BITS = 10.0


def sample_section(shown: Mapping[str, Any], whose: str) -> Section:
    """Surprise over a piece of real text, and what the model goes on to write itself.

    `shown` has `symbols` and `bits` of the piece, the `prompt`, and `samples`, each with a
    `temperature` and a `text`.
    """
    real = "".join(
        tag(
            "span",
            escape(symbol),
            style=f"--share:{min(bits / MOST_BITS, 1.0):.2f}",
            title=f"{bits:.1f} bits",
        )
        for symbol, bits in zip(shown["symbols"], shown["bits"], strict=True)
    )
    written = "".join(
        tag("h3", f"at temperature {one['temperature']:g}")
        + tag("pre", tag("span", escape(shown["prompt"]), class_="prompt") + escape(one["text"]))
        for one in shown["samples"]
    )
    markup = (
        tag("h3", "How surprised it is")
        + tag(
            "p",
            "The beginning of the test part. The deeper the colour, the less it had expected the "
            f"symbol: paper is 0 bits, the full colour {MOST_BITS:g} and more. " + escape(whose),
        )
        + tag("pre", real, class_="surprise")
        + written
    )
    return Section(
        "samples",
        "What it reads and writes",
        markup,
        said="The writing goes on from the last symbols before the test part, which stand in grey.",
    )
