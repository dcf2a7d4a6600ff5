"""Networks that are not trained: random recurrent weights with many time constants.

A linear read-out of such a network's states competes with trained networks where sequences are
few (Bianchi et al. 2018, arXiv:1803.07870), and is fitted in closed form by `ridge_readout`.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from gatewright.designs.dilated import DilatedFront, draw_dilated_
from gatewright.designs.masks import valid_steps
from gatewright.designs.network import SequenceNetwork
from gatewright.designs.readout import Readout
from gatewright.layers.init import horizon_, time_constants_
from gatewright.layers.init_gates import layer_memory_gates
from gatewright.layers.recurrent import Recurrent

# Chosen by five-fold cross-validation inside the training parts of eight public data sets, four
# seeds each: mean accuracy and log loss of one layer of a GRU with 128 units a direction.
#
#   time constants of 0.5 to T / 4 steps    89.5 %, 0.424, as here
#   time constants of 1 to T / 2 steps      88.9 %, 0.518
#   as torch starts a GRU's gates           88.0 %, 0.514
#   chrono start for T / 2 steps            87.6 %, 0.566
#   gain 1                                  88.8 %, 0.472 (time constants of 1 to T / 2)
#   gain 2                                  88.8 %, 0.471 (the same)
#   64 units                                88.1 %, 0.475 (the same)
#
# In an earlier form of the network the changes of the values were worth 3 points, the share of
# steps above a threshold 2.7. Six of the sets, the log loss with smoothed labels, and OSULeaf:
#
#   one layer of 128 units                  90.8 %, 0.371 (OSULeaf 93.5 %, 0.285)
#   two layers of 96, the second read       91.4 %, 0.312 (OSULeaf 90.0 %, 0.397)
#   three layers of 80                      91.6 %, 0.303
#   two layers of 64                        90.6 %, 0.332
#   sequences scaled by themselves          89.0 %, 0.385 (two layers of 96)
#   segments of four steps                  5.8 points less than without (five sets, one layer)
#   mean of three seeds                     92.7 %, 0.291 (two layers of 96; one seed 90.8 %)
#
# Two layers of 96 of the same six sets with a front end, mean of three seeds, two divisions into
# folds; figures of ArrowHead, the hardest, after the slash:
#
#   without                                 93.2 %, 0.284 / 81.9 %, 0.706
#   dilated, next to the events: as here    93.9 %, 0.227 / 86.1 %, 0.476
#   three stacked random convolutions       91.5 %, 0.308 / 76.9 %, 0.730 (three divisions)
#   the mean over quarters of a sequence    91.2 %, 0.286 / 77.8 %, 0.644 (no front end; three)
#   convolutions of MiniRocket's kind only  92.2 %, 0.268 / 84.3 %, 0.467 (no cell; three)
#
# On the training parts of eight public sets and six simulated ones (two seeds, two divisions into
# folds), 96 patterns drowned two channels of events, and were few:
#
#   96 patterns, each weighs as an event    92.1 %, 0.288
#   480 patterns, each weighs as an event   92.4 %, 0.251
#   480 patterns weigh as all events: here  93.0 %, 0.243
#   half of the units read events only      92.1 %, 0.256
#   two such halves, apart from each other  92.6 %, 0.245
#   two networks' features, one of events   94.0 %, 0.218 (twice the units)

#: Spread of a random weight times the root of the number of values that its unit reads.
GAIN = 1.5
#: Spread of the random biases.
BIAS = 0.5
#: The shortest time constant in steps, and the longest as a share of the longest sequence.
SHORTEST, LONGEST = 0.5, 0.25
#: Range of the random quantiles of a feature that its threshold is taken from.
QUANTILES = (0.1, 0.9)
#: Fewest sequences that spreads and quantiles are taken from, however long they are.
MIN_ROWS = 16
#: Values that differ by less, as a share of the largest, are equal.
ROUNDING = 1e-5


@torch.no_grad()
def start_untrained_(
    network: SequenceNetwork, x: Tensor, lengths: Tensor, *, memory: int | None = None
) -> SequenceNetwork:
    """Draw recurrent weights that are useful without training, from torch's default generator.

    Every matrix is random. Inputs are weighted by the inverse of their spread in `x`; the gates
    that keep the memory get time constants from half a step on, and the thresholds of a "share"
    read-out are random quantiles of the features.

    >>> network = SequenceNetwork("gru", 3, 16, design="untrained")
    >>> x, lengths = torch.randn(20, 4, 3), torch.tensor([20, 7, 12, 20])
    >>> start_untrained_(network, x, lengths)(x, lengths).shape
    torch.Size([4, 300])

    Args:
        x: Sequences to learn from, (T, B, I), scaled as the network reads them.
        lengths: Steps of each sequence, (B,).
        memory: The longest time constant in steps; by default a quarter of the longest sequence.
    """
    layer = network.recurrent
    few = min(max(network.rows_at_once(len(x)), MIN_ROWS), x.shape[1])
    if few < x.shape[1]:
        rows = torch.linspace(0, x.shape[1] - 1, few).round().long()
        x, lengths = x[:, rows], lengths[rows]
    if isinstance(network.front, DilatedFront):
        draw_dilated_(network.front, *network.preparation(x, lengths))
    events, counts = network.events(x, lengths)
    inside = events[valid_steps(len(events), counts)[..., 0]]
    spread = inside.std(0, correction=0) if len(inside) else torch.ones(events.shape[2])
    _draw(layer, torch.where(spread > 0.0, spread, 1.0) / _shares(network))
    longest = max(LONGEST * float(counts.max()) if memory is None else float(memory), 2.0)
    if layer_memory_gates(layer):
        low, high = math.log10(SHORTEST), math.log10(longest)
        time_constants_(layer, torch.logspace(low, high, layer.hidden_size))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `horizon_` says that such a cell forgets sooner
            horizon_(layer, max(round(longest), 1))
    if "share" in network.readout.summaries:
        output, _ = layer(events, lengths=counts)
        _draw_thresholds(network.readout, output[valid_steps(len(output), counts)[..., 0]])
    if network.joined is not None and "share" in network.joined.summaries:
        _draw_thresholds(network.joined, inside)
    return network


def _shares(network: SequenceNetwork) -> Tensor:
    """Return factors of the lowest layer's inputs, (I,), whose mean square is 1.

    Patterns and events weigh the same together, however many of them there are.
    """
    size = network.recurrent.input_size
    if not isinstance(network.front, DilatedFront):
        return torch.ones(size)
    patterns = network.front.patterns
    groups = torch.tensor([patterns, size - patterns])
    return (size / (2.0 * groups)).sqrt().repeat_interleave(groups)


def _draw(layer: Recurrent, spread: Tensor) -> None:
    """Draw every weight that is not frozen; `spread` (I,) divides those of the lowest inputs."""
    for name in layer.products:
        for place in layer.places:
            product = layer.weights(name, *place)
            if product.frozen:
                continue
            for source, (weight, bias) in product.items():
                if source in product.frozen_sources or weight.dim() < 2:
                    continue  # vectors are leaks and peepholes: they start as their cell asks
                random = torch.randn_like(weight) * (GAIN / math.sqrt(weight.shape[-1]))
                if source == "x" and place[0] == 0 and random.shape[-1] == len(spread):
                    random = random / spread
                product[source] = (random, None if bias is None else BIAS * torch.randn_like(bias))


def _draw_thresholds(readout: Readout, features: Tensor) -> None:
    """Set each feature's threshold to a random quantile of its values (N, C).

    It lies between two values that differ by more than rounding: a value that is equal to it would
    be above or below by chance. Values of whole numbers repeat often.
    """
    if len(features) < 2:
        return
    ordered = features.sort(0).values
    low, high = QUANTILES
    quantiles = low + (high - low) * torch.rand(ordered.shape[1])
    rank = (quantiles * (len(ordered) - 2)).round().long()[None]
    equal = ordered.gather(0, rank) + ROUNDING * (ordered[-1:].abs() + ordered[:1].abs())
    above = ordered > equal
    upper = torch.where(above, ordered, torch.inf).amin(0)
    lower = torch.where(above, -torch.inf, ordered).amax(0)
    # Where no value is above, none of these sequences exceeds the threshold.
    readout.thresholds.copy_(torch.where(upper.isfinite(), (lower + upper) / 2.0, equal[0] + 1e-6))
