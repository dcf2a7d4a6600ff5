"""`check_finite`: weights that are numbers."""

from __future__ import annotations

from torch import nn

from gatewright.errors import ModelError


def check_finite(module: nn.Module) -> None:
    """Refuse weights that are not finite: what is computed with them means nothing.

    Raises:
        ModelError: with the name of the first such weight.
    """
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise ModelError(
                f"{name} of the model holds values that are not finite numbers; expected "
                "trained weights: load the model again, or train it again"
            )
