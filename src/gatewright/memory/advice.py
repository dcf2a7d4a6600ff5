"""What to change, from what was measured of a model's memory; each rule with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.probes.warning import BEYOND

if TYPE_CHECKING:
    from gatewright.memory.examination import Examination


def advice(found: Examination) -> list[str]:
    """Sentences, the most useful first; one that says so where there is nothing to change."""
    said = []
    brings = max(found.losses) - found.losses[-1]
    if brings <= 0.02 * abs(found.losses[-1]):
        said.append(
            "Cutting history changes the loss by less than 2 %: a network without a memory "
            "would do as well, and be faster."
        )
    elif found.used <= 8 and found.layers:
        said.append(
            f"{found.used} steps are all that it uses: a feed-forward window of as many has "
            "nothing to forget. Compare it with the network window."
        )
    if found.useful > 1.5 * found.used and found.beyond > BEYOND and found.layers:
        said.append(
            f"The data are of use {found.useful} steps back, even to a linear model, and the "
            f"network uses {found.used}. Start it for that: "
            f"gw.init.horizon_(layer, {max(3, 2 * found.useful)})."
        )
        if not any(layer.keeps for layer in found.layers):
            said.append(
                "Its state is rewritten at each step and nothing is carried on: a cell with a "
                "forget gate (lstm, gru) can keep what this one has to rebuild."
            )
    if found.used == found.histories[-1] and found.steps > 8 and brings > 0:
        said.append(
            f"It uses all {found.steps} steps that it is given: longer sequences may help, "
            "where the data have them."
        )
    return said or ["Nothing: it uses as much history as the data are seen to offer."]
