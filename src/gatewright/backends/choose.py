"""Which backend runs: the one asked for, or the fastest that can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatewright.backends import llvm, reference, triton
from gatewright.backends.reference import Result, Run
from gatewright.errors import ArgumentError, BackendError


@dataclass(frozen=True)
class Backend:
    """What runs a task, and says why it cannot run one.

    Attributes:
        by_name: Why it runs only where it is asked for by name; "" if "auto" may choose it.
        describe: Lines for `layer.explain` on the way in which it runs a task.
    """

    run: Callable[[Run], Result]
    why_not: Callable[[Run], str | None]
    by_name: str = ""
    describe: Callable[[Run], list[str]] = lambda run: []


#: The fastest first; the last one runs everything.
BACKENDS: dict[str, Backend] = {
    "llvm": Backend(llvm.run, llvm.why_not, describe=llvm.describe),
    "triton": Backend(
        triton.run,
        triton.why_not,
        'it has been tested without a GPU only; backend="triton" asks for it',
    ),
    "reference": Backend(reference.run, reference.why_not),
}


def check_backend(name: str) -> str:
    """The name of a backend, or "auto".

    Raises:
        ArgumentError: if there is no such backend.
    """
    if name != "auto" and name not in BACKENDS:
        known = ", ".join(["auto", *BACKENDS])
        raise ArgumentError(f"backend={name!r} is not known; give one of {known}")
    return name


def pick(name: str, task: Run) -> str:
    """The backend of a name, or for "auto" the fastest that can run a task.

    Raises:
        BackendError: if the backend was asked for by name and cannot run the task.
    """
    if name == "auto":
        chosen = (one for one, backend in BACKENDS.items() if not backend.by_name)
        return next(one for one in chosen if BACKENDS[one].why_not(task) is None)
    reason = BACKENDS[name].why_not(task)
    if reason is not None:
        raise BackendError(f'backend="{name}" cannot run this: {reason}; backend="auto" can')
    return name


def run_on(name: str, task: Run) -> Result:
    """Run a task on the backend of a name, or on the fastest that can."""
    return BACKENDS[pick(name, task)].run(task)
