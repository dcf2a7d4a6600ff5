"""Python processes as forks of the tests' own, in which torch is imported already.

The start of a process that imports torch takes 2 s of a processor, most of what such a test takes;
a fork takes 0.02 s. Tests of what a new process imports or finds on its path start a real one.
"""

from __future__ import annotations

import faulthandler
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

from kernel_build import forget_kernels

CHECKED = "GATEWRIGHT_CHECKED"


class ForkedPython(subprocess.Popen):
    """`subprocess.Popen`, except that Python commands run in a fork of this process, if it can.

    They have arguments, streams, files, environment and signals of their own, as new processes do,
    and so have the Python processes that they start. They run on one thread, since the team of
    threads that this process may have does not survive a fork.
    """

    def __init__(
        self,
        args: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        preexec_fn: Callable[[], object] | None = None,
        pass_fds: Sequence[int] = (),
        **options: Any,
    ) -> None:
        # The checked build of the kernels is chosen once a process.
        same_build = env is None or env.get(CHECKED) == os.environ.get(CHECKED)
        if args[0] != sys.executable or not hasattr(os, "fork") or not same_build:
            super().__init__(args, env=env, preexec_fn=preexec_fn, pass_fds=pass_fds, **options)
            return

        def run_instead_of_python() -> NoReturn:
            """Run the command after the fork, where otherwise Python would be executed."""
            status = 1
            try:
                if preexec_fn is not None:
                    preexec_fn()
                begin_anew(env, pass_fds)
                status = status_of([*map(str, args[1:])])
            except BaseException:
                traceback.print_exc()
            finally:
                for stream in (sys.stdout, sys.stderr):
                    with suppress(ValueError, OSError):  # it is closed, or nobody reads it
                        stream.flush()
                os._exit(status)

        with warnings.catch_warnings():
            # Python 3.12 warns of forks of processes with threads, such as those of pytest-xdist.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(args, preexec_fn=run_instead_of_python, pass_fds=pass_fds, **options)


def begin_anew(env: Mapping[str, str] | None, pass_fds: Sequence[int]) -> None:
    """Leave what a new process would not have: files, warnings, settings and kernels."""
    faulthandler.disable()
    first = 3
    # One of the others tells the parent that the process has started: it is closed then.
    for descriptor in [*sorted(pass_fds), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(first, descriptor)
        first = descriptor + 1
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stderr.reconfigure(line_buffering=True)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as Python begins; Popen has restored them
        signal.signal(number, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    forget_kernels()


def status_of(command: list[str]) -> int:
    """Run a command of Python, without its name, and return the status that it ends with."""
    while command[0] not in ("-m", "-c") and command[0].startswith("-"):
        option = command.pop(0)
        if option == "-u":
            sys.stdout.reconfigure(write_through=True)
        elif option == "-W":  # begin_anew ignores all warnings
            command.pop(0)
    try:
        if command[0] == "-c":
            sys.argv = ["-c", *command[2:]]
            exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
        elif command[0] == "-m":
            sys.argv = command[1:]
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            sys.path.insert(0, str(Path(command[0]).parent))
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0
