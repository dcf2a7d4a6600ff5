"""The section of a report on text models: samples, and the surprise over real text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.draw.page.elements import escape, tag
from gatewright.draw.page.page import Section

#: Bits from which a symbol has the full colour.
MAX_BITS = 10.0


def sample_section(example: Mapping[str, Any], whose: str) -> Section:
    """The surprise of a model over a piece of real text, and the text that it writes itself.

    Args:
        example: `symbols` and `bits` of the piece, the `prompt`, and `samples`, each with a
            `temperature` and a `text`.
        whose: A sentence about which model it is.
    """
    real = "".join(
        tag(
            "span",
            escape(symbol),
            style=f"--share:{min(bits / MAX_BITS, 1.0):.2f}",
            title=f"{bits:.1f} bits",
        )
        for symbol, bits in zip(example["symbols"], example["bits"], strict=True)
    )
    written = "".join(
        tag("h3", f"at temperature {sample['temperature']:g}")
        + tag(
            "pre", tag("span", escape(example["prompt"]), class_="prompt") + escape(sample["text"])
        )
        for sample in example["samples"]
    )
    markup = (
        tag("h3", "How surprised it is")
        + tag(
            "p",
            "The beginning of the test part. The deeper the colour, the less the model expected "
            f"the symbol: no colour is 0 bits, the full colour {MAX_BITS:g} or more. "
            + escape(whose),
        )
        + tag("pre", real, class_="surprise")
        + written
    )
    return Section(
        "samples",
        "What it reads and writes",
        markup,
        lead="The model continues the last symbols before the test part, which are grey.",
    )
