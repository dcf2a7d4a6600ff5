"""The mixture of a network with counts and copies: each is right where the others are not.

Counts know short phrases, copies the passages that a text repeats, and a network generalises. On
the validation part of the bundled prose counts cost 1.73 bits a character, a network after half of
its training 1.69, both mixed 1.61, and all three 1.60.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.errors import ModelError
from gatewright.tasks.text.copies import LENGTHS, Copies
from gatewright.tasks.text.ngram import MAX_ORDER, Counts, histories

#: Probabilities that a model stores, 12 bytes each. On the bundled prose 300,000 of 604,000 do
#: better than all of them by 0.015 bits: the rarest long runs are chance.
MAX_COUNTS = 300_000
#: Latest symbols of a text that are counted: more take minutes and gigabytes.
MAX_COUNTED = 4_000_000
#: Latest symbols of a text that passages are copied from, 4 bytes each in the model.
MAX_COPIED = 1_000_000
#: The shares of a case are drawn to those of all cases, and these to equal ones, by the weight of
#: so many symbols.
PRIOR = 10.0
#: Rounds of expectation maximisation; the shares change by less than 0.001 after 30.
ROUNDS = 40
#: Symbols before a position that are read.
REACH = max(MAX_ORDER - 1, *LENGTHS)


class Mixture(nn.Module):
    """Counts and passages of a text, and the shares of network, counts and copy in a mixture.

    The shares depend on the case: how many symbols the counts rest on, or how long a known passage
    is. Before `count` there is nothing to mix in, and a network's outputs stay as they are.

    Args:
        size: Symbols of the alphabet, A.
    """

    shares: Tensor  # (order + 1 + passage lengths, 3)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.counts = Counts(size, MAX_ORDER)
        self.copies = Copies()
        cases = self.counts.order + 1 + len(LENGTHS)
        self.register_buffer("shares", torch.full((cases, 3), 1.0 / 3.0))

    @property
    def sizes(self) -> list[int]:
        """The lengths of the stored tensors, for the configuration of a model."""
        return [*self.counts.sizes, len(self.copies)]

    def resize(self, sizes: Sequence[int]) -> None:
        """Make room for the tensors of a stored model.

        Raises:
            ModelError: if there are more or fewer of them, or a size is negative.
        """
        if len(sizes) != self.counts.order + 1 or min(sizes) < 0:
            expected = self.counts.order + 1
            raise ModelError(f"the mixture has sizes {sizes}; expected {expected} from 0 on")
        self.counts.resize(sizes[:-1])
        self.copies.resize(sizes[-1])

    def clear(self) -> None:
        """Forget the text: outputs stay as they are."""
        self.resize([0] * (self.counts.order + 1))

    def count(self, codes: NDArray[np.integer]) -> None:
        """Take a text (T,), in place of the one before."""
        self.counts.fill(codes[-MAX_COUNTED:], most=MAX_COUNTS)
        self.copies.fill(codes[-MAX_COPIED:])

    def fit(self, pairs: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Set the shares by how well each predicts a text that none has learned from.

        Args:
            pairs: Log probabilities that the network gives to the truth (N,), histories
                (N, reach) and truth (N,).
        """
        pieces = [self._of_truth(*piece) for piece in pairs]
        probabilities, cases = (torch.cat(values) for values in zip(*pieces, strict=True))
        shares = self.shares.double()
        places = torch.bincount(cases, minlength=len(shares))[:, None]
        for _ in range(ROUNDS):
            own = shares[cases] * probabilities
            own /= own.sum(1, keepdim=True)
            sums = torch.zeros_like(shares).index_add_(0, cases, own)
            overall = (sums.sum(0) + PRIOR / 3.0) / (len(cases) + PRIOR)
            shares = (sums + overall * PRIOR) / (places + PRIOR)
            shares[: self.counts.order + 1, 2] = 0.0  # no passage is known: nothing to copy
            shares /= shares.sum(1, keepdim=True)
        self.shares.copy_(shares)

    def _of_truth(self, network: Tensor, past: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities of the truth by network, counts and copy, (N, 3), and cases."""
        counted, copied, cases = self._cases(past)
        rows = truth[:, None]
        is_copy = (copied == truth) & (cases > self.counts.order)
        known = counted.gather(1, rows)
        return torch.cat(
            [network.double().exp()[:, None], known, is_copy[:, None].double()], 1
        ), cases

    def _cases(self, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the counts' probabilities (N, A), the symbol to copy (N,) and the case (N,)."""
        counted, lengths = self.counts(past)
        copied, ranks = self.copies(past)
        return counted, copied, torch.where(ranks > 0, self.counts.order + ranks, lengths)

    def forward(self, outputs: Tensor, past: Tensor) -> Tensor:
        """Mix a network's logits (N, A) with what follows histories (N, reach): logits."""
        if not len(self.copies):
            return outputs
        counted, copied, cases = self._cases(past)
        network, known, copy = self.shares.double()[cases].split(1, dim=1)
        mixed = network * outputs.double().softmax(-1) + known * counted
        mixed.scatter_add_(1, copied[:, None], copy)
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
