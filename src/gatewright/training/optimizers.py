"""torch's optimizers, without the import of torch's compiler.

torch keeps its compiler out of an optimizer's methods, and imports the whole of it for that when
the first optimizer is made: 1.3 s of each process that trains (torch 2.13), half of what it takes
to start. These methods are the same ones as torch wrote them, which nothing here compiles.
"""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch
from torch.optim import Optimizer


class _Uncompiled(Optimizer):
    add_param_group = unwrap(Optimizer.add_param_group)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    state_dict = unwrap(Optimizer.state_dict)
    zero_grad = unwrap(Optimizer.zero_grad)


class Adam(_Uncompiled, torch.optim.Adam):
    """Kingma and Ba 2014: steps of the size of the rate, whatever the size of the gradient."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Change the weights by one step along their gradients."""
        return unwrap(torch.optim.Adam.step)(self, closure)


class AdamW(_Uncompiled, torch.optim.AdamW):
    """Loshchilov and Hutter 2017: Adam, with weights that decay apart from their gradients."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Change the weights by one step along their gradients."""
        return unwrap(torch.optim.AdamW.step)(self, closure)  # in torch 2.6 it is no Adam
