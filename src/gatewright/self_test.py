"""`python -m gatewright.self_test`: compare kernels with the reference, in a few seconds.

`gatewright doctor` runs it in a process of its own, with the checked build of the kernels, so
that a crash is reported too. It prints one line of JSON for each check. torch is imported inside
the functions: `doctor` reads the names of the checks, and starts this process before its own torch.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from gatewright.layers.recurrent import Recurrent

#: The largest allowed error of a result, relative by norm, in float32.
TOLERANCE = 1e-4
#: T, B, I, H: odd, so that they are no multiples of a vector of the processor.
STEPS, ROWS, INPUTS, HIDDEN = 7, 3, 5, 13
#: The names of the layers that are checked.
LAYERS = ("RNN", "LSTM", "GRU", "PeepholeLSTM")


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its largest relative error, its time, and the reason if it failed."""

    name: str
    passed: bool
    error: float | None = None
    seconds: float = 0.0
    reason: str | None = None


def check(name: str) -> Check:
    """Compare one layer's kernels with the reference: outputs, all gradients, streamed steps."""
    import torch

    from gatewright.layers import torch_layers

    began = time.perf_counter()
    torch.manual_seed(0)
    make = getattr(torch_layers, name)
    kernels, reference = (make(INPUTS, HIDDEN, backend=b) for b in ("llvm", "reference"))
    reference.load_state_dict(kernels.state_dict())
    x = torch.randn(STEPS, ROWS, INPUTS)
    expected = _results(reference, x)
    # The second call with the same shapes takes the fast path.
    errors = [_error(_results(kernels, x), expected) for _ in range(2)]
    errors.append(_error([_streamed(kernels, x)], [expected[0]]))
    largest = max(errors)
    seconds = time.perf_counter() - began
    if largest <= TOLERANCE:
        return Check(name, True, largest, seconds)
    reason = f"kernels and reference differ by {largest:.2g}; expected at most {TOLERANCE:.0e}"
    return Check(name, False, largest, seconds, reason)


def _results(layer: Recurrent, x: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of all weights."""
    import torch

    event = x.clone().requires_grad_()
    output, _ = layer(event)
    gradients = torch.autograd.grad(output.square().sum(), [event, *layer.parameters()])
    return [output.detach(), *gradients]


def _streamed(layer: Recurrent, x: Tensor) -> Tensor:
    """The output of a stepper, step by step."""
    import torch

    stepper = layer.stepper(ROWS)
    return torch.stack([stepper.step(event).clone() for event in x])


def _error(results: list[Tensor], expected: list[Tensor]) -> float:
    """The largest relative error; infinite where a result is not finite."""
    errors = [
        float((a - b).norm() / b.norm().clamp(min=1e-12))
        for a, b in zip(results, expected, strict=True)
    ]
    return max(error if error == error else float("inf") for error in errors)  # NaN is not equal


def main() -> None:
    """Run all checks; an exception is the failure of its check."""
    for name in LAYERS:
        try:
            result = check(name)
        except Exception as error:  # of any kind: it is reported
            result = Check(name, False, reason=f"{type(error).__name__}: {error}")
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
