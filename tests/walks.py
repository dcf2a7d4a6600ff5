"""Random walks over the rules of `state_rules.py`, each in its own process.

    python -c "import walks; walks.main()" FIRST COUNT   # walks by their seeds
    python -c "import walks; walks.main()" 17:0,3,4      # some steps of one walk

A walk is its seed: it decides the pair of layers, and the rule and the seed of every step. The
process forks for each walk before it has run any kernel, so a crash ends only that walk; a walk
that fails is shrunk by leaving steps out.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch._dynamo  # imported once here, since an optimizer's step imports it in every process

from state_rules import RULES, drawable
from walk_subjects import draw_pair

#: Steps of a walk.
LENGTH = 20
#: Seconds after which a walk counts as hanging.
PATIENCE = 120
#: The most replays of shrinking.
REPLAYS = 60


@dataclass(frozen=True)
class Walk:
    """A pair of layers, and the steps of a walk over rules."""

    seed: int
    steps: tuple[int, ...]

    @classmethod
    def read(cls, text: str) -> Walk:
        """A walk from its name, such as `17:0,3,4`."""
        seed, _, steps = text.partition(":")
        return cls(int(seed), tuple(int(one) for one in steps.split(",") if one))

    def __str__(self) -> str:
        return f"{self.seed}:{','.join(map(str, self.steps))}"

    def rules(self, drawable_rules: dict[str, float]) -> list[tuple[int, str]]:
        """The seed and the rule of each step; they do not depend on which steps are left out."""
        rules = []
        for index in self.steps:
            seed = 1000 * self.seed + index
            names, weights = list(drawable_rules), list(drawable_rules.values())
            rules.append((seed, random.Random(f"rule {seed}").choices(names, weights)[0]))
        return rules

    def take(self, log: Path) -> None:
        """Run the walk in this process; log each step before it begins."""
        pair = draw_pair(self.seed)
        with log.open("w") as lines:
            print(f"{self.seed}: {pair.name}; {pair.forms}", file=lines, flush=True)
            for seed, name in self.rules(drawable(pair)):
                print(f"  {seed % 1000}: {name}", file=lines, flush=True)
                RULES[name].apply(pair, random.Random(seed))


@dataclass(frozen=True)
class End:
    """The end of a walk: its log, and its output where it failed."""

    failed: bool
    log: str
    output: str

    @property
    def last(self) -> int:
        """The index of the last step that began; -1 before the first."""
        return int(self.log.splitlines()[-1].split(":")[0]) if "  " in self.log else -1

    @property
    def kind(self) -> str:
        """The last line of a failure, without numbers: shrinking looks for the same one."""
        lines = self.output.strip().splitlines() or [""]
        return "".join(one for one in lines[-1] if not one.isdigit())[:60]


def child(walk: Walk, log: Path, output: Path) -> None:
    """Run a walk and leave the process."""
    status = 1
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        faulthandler.enable(file)
        try:
            walk.take(log)
            status = 0
        except BaseException:
            traceback.print_exc(file=file)
        file.flush()
        os._exit(status)


def run(walk: Walk) -> End:
    """Run a walk in a forked process."""
    with tempfile.TemporaryDirectory() as folder:
        log, output = Path(folder, "log"), Path(folder, "output")
        log.touch(), output.touch()
        process = os.fork()
        if not process:
            child(walk, log, output)
        status = wait(process)
        text = output.read_text(errors="replace")
        if status and os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            text += f"\nended by {name}{' (a hang)' if name == 'SIGKILL' else ''}"
        return End(bool(status), log.read_text(), text)


def wait(process: int) -> int:
    """Wait for a process and return its status; kill it when it takes too long."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pid, status = os.waitpid(process, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


def shrink(walk: Walk, end: End) -> tuple[Walk, End]:
    """Leave out steps as long as the walk fails in the same way."""
    best, best_end = Walk(walk.seed, walk.steps[: walk.steps.index(end.last) + 1]), end
    limit = REPLAYS if "a hang" not in end.kind else 3
    replays, size = 0, max(len(best.steps) // 2, 1)
    while replays < limit:
        shorter = False
        for begin in range(0, len(best.steps) - 1, size):
            steps = best.steps[:begin] + best.steps[begin + size :]
            if not steps or replays >= limit:
                break
            replays += 1
            trial = run(Walk(walk.seed, steps))
            if trial.failed and trial.kind == end.kind:
                last = steps.index(trial.last) + 1
                best, best_end, shorter = Walk(walk.seed, steps[:last]), trial, True
                break
        if not shorter:
            if size == 1:
                break
            size = max(size // 2, 1)
    return best, best_end


def report(walk: Walk, end: End) -> str:
    """Describe the failure, and how to reproduce it."""
    return (
        f"{end.log}{end.output.strip()[-6000:]}\n"
        f"again: cd tests; python -c 'import walks; walks.main()' {walk}\n"
    )


def walks_of(arguments: Sequence[str]) -> list[Walk]:
    """The walks that the command line names."""
    if len(arguments) == 2:
        first, count = map(int, arguments)
        return [Walk(seed, tuple(range(LENGTH))) for seed in range(first, first + count)]
    return [Walk.read(one) for one in arguments]


def main() -> None:
    """Run walks, shrink those that fail, and report; exit with 1 if any failed."""
    arguments = sys.argv[1:]
    begun, failures, steps = time.monotonic(), 0, 0
    seen: Counter[str] = Counter()
    for walk in walks_of(arguments):
        end = run(walk)
        lines = end.log.splitlines()[1:]
        steps += len(lines)
        seen.update(line.split(": ")[1] for line in lines)
        if end.failed:
            failures += 1
            if len(arguments) == 2 and end.last >= 0:
                walk, end = shrink(walk, end)
            print(report(walk, end), flush=True)
    seconds = time.monotonic() - begun
    print(f"{steps} steps, {len(seen)} of {len(RULES)} rules, {seconds:.1f} s, {failures} failed")
    print("rules:", ", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
