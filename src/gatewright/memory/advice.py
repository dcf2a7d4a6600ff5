"""Suggest changes to a model from measurements of its memory, each with the reason."""

from __future__ import annotations

from gatewright.memory.examination import Examination
from gatewright.probes.warning import BEYOND


def advice(result: Examination) -> list[str]:
    """Sentences, the most useful first; a sentence that says so if there is nothing to change."""
    sentences = []
    brings = max(result.losses) - result.losses[-1]
    if brings <= 0.02 * abs(result.losses[-1]):
        sentences.append(
            "Cutting the history changes the loss by less than 2 %: a network without a memory "
            "would do as well and be faster."
        )
    elif result.used <= 8 and result.layers:
        sentences.append(
            f"It uses only {result.used} steps: a feed-forward window of as many steps has "
            "nothing to forget. Compare it with the network called window."
        )
    if result.useful > 1.5 * result.used and result.beyond > BEYOND and result.layers:
        sentences.append(
            f"Even a linear model can use the data {result.useful} steps back, and the network "
            f"uses {result.used}. Initialise it for a longer memory: "
            f"gw.init.horizon_(layer, {max(3, 2 * result.useful)})."
        )
        if not any(layer.keeps for layer in result.layers):
            sentences.append(
                "Its state is rewritten at each step: a cell with a forget gate (lstm, gru) can "
                "keep values that this one has to rebuild."
            )
    if result.used == result.histories[-1] and result.steps > 8 and brings > 0:
        sentences.append(
            f"It uses all {result.steps} steps of its sequences: longer sequences may help, "
            "if the data have them."
        )
    return sentences or ["Nothing: it uses as much history as the data offer."]
