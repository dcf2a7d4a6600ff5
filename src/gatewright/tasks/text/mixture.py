"""The mixture of a network with counts: each is right where the other is not.

Counts know by heart the passages that a text repeats; a network generalises and remembers
further back. On the validation part of the bundled prose the counts cost 1.73 bits a character, a
network after a third of its training 1.77, and their mixture 1.65.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.errors import ModelError
from gatewright.tasks.text.ngram import MAX_ORDER, Counts, histories

#: Probabilities that a model stores, 12 bytes each. On the bundled prose 300,000 of 604,000 do
#: better than all of them by 0.015 bits: the rarest long runs are chance.
MAX_COUNTS = 300_000
#: Latest symbols of a text that are counted: more take minutes and gigabytes.
MAX_COUNTED = 4_000_000
#: Each share is drawn to that of all lengths, and that to a half, by the weight of so many symbols.
PRIOR = 10.0
#: Rounds of expectation maximisation; the shares change by less than 0.001 after 30.
ROUNDS = 40


class CountMixture(nn.Module):
    """Counts of a text, and the share that a network has in their mixture.

    The share depends on how many symbols the counts rest on. Before `fit` there are no counts, and
    a network's outputs stay as they are.

    Args:
        size: Symbols of the alphabet, A.
    """

    share: Tensor  # of the network, (order + 1,), by the length of the longest run that was known

    def __init__(self, size: int) -> None:
        super().__init__()
        self.counts = Counts(size, MAX_ORDER)
        self.register_buffer("share", torch.full((self.counts.order + 1,), 0.5))

    @property
    def sizes(self) -> list[int]:
        """The number of stored probabilities of each length, for the configuration of a model."""
        return self.counts.sizes

    def resize(self, sizes: Sequence[int]) -> None:
        """Make room for the probabilities of a stored model.

        Raises:
            ModelError: if they are not of the right lengths.
        """
        if len(sizes) != self.counts.order or min(sizes) < 0:
            raise ModelError(f"the counts have sizes {sizes}; expected {self.counts.order} sizes")
        self.counts.resize(sizes)

    @property
    def reach(self) -> int:
        """Symbols before a position that the counts read."""
        return self.counts.order - 1

    def count(self, codes: NDArray[np.integer]) -> None:
        """Count a text (T,), in place of what was counted before."""
        self.counts.fill(codes[-MAX_COUNTED:], most=MAX_COUNTS)

    def clear(self) -> None:
        """Forget the counts: outputs stay as they are."""
        self.counts = Counts(self.counts.size, MAX_ORDER)

    def fit(self, pairs: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Set the shares by how well network and counts predict a text that neither learned from.

        Args:
            pairs: Log probabilities of the network (N, A), histories (N, reach) and truth (N,).
        """
        pieces = [self._of_truth(*piece) for piece in pairs]
        network, counted, lengths = (torch.cat(values) for values in zip(*pieces, strict=True))
        share = self.share.double()
        places = torch.bincount(lengths, minlength=len(share))
        for _ in range(ROUNDS):
            own = share[lengths] * network
            responsible = own / (own + (1.0 - share[lengths]) * counted)
            sums = torch.zeros_like(share).index_add_(0, lengths, responsible)
            # A length that is rare has nearly the share of all lengths together.
            overall = (sums.sum() + 0.5 * PRIOR) / (len(lengths) + PRIOR)
            share = (sums + overall * PRIOR) / (places + PRIOR)
        self.share.copy_(share)

    def _of_truth(
        self, outputs: Tensor, past: Tensor, truth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probabilities of the truth by network and counts, (N,), and the lengths."""
        counted, lengths = self.counts(past)
        rows = truth[:, None]
        network = outputs.double().exp().gather(1, rows)
        return network[:, 0], counted.gather(1, rows)[:, 0], lengths

    def forward(self, outputs: Tensor, past: Tensor) -> Tensor:
        """Mix a network's logits (N, A) with the counts after histories (N, reach): logits."""
        if not len(self.counts):
            return outputs
        counted, lengths = self.counts(past)
        share = self.share.double()[lengths, None]
        mixed = share * outputs.double().softmax(-1) + (1.0 - share) * counted
        logits: Tensor = mixed.log().to(outputs.dtype)
        return logits


def past_of(x: Tensor, earlier: Tensor | None, length: int) -> Tensor:
    """Return the `length` symbols up to each of (T, B), itself included: (T, B, length).

    Args:
        x: Codes, (T, B).
        earlier: Codes before them, (any number, B), or None; -1 is none.
        length: Symbols of a history.
    """
    codes = x if earlier is None else torch.cat([earlier, x])
    # `histories` leaves out the symbol at a position itself: one more position, and those before.
    following = nn.functional.pad(codes, (0, 0, 0, 1))
    return histories(following.T, length)[:, -len(x) :].transpose(0, 1)
