"""Random walks over what users do between two calls, compared with `torch.nn` and the reference.

`GATEWRIGHT_EXAMPLES` is the number of walks; each has twenty steps. A failure prints the pair of
layers, the shortest list of steps that fails, and the command that runs it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from example_count import example_count

WALKS = example_count(6)


@pytest.mark.slow(instead="test_between_calls.py::test_results_are_detached_in_place")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a walk is a forked process")
def test_random_walks(capsys: pytest.CaptureFixture[str]):
    # Memory that was freed is filled, so that a kernel that reads it is seen.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_PERTURB_": "165"}
    command = [sys.executable, "-c", "import walks; walks.main()", "0", str(WALKS)]
    walks = subprocess.run(
        command, cwd=Path(__file__).parent, env=environment, capture_output=True, text=True
    )
    with capsys.disabled():
        print("", *walks.stdout.strip().splitlines()[-2:-1], sep="\n")
    assert not walks.returncode, walks.stdout[-20000:] + walks.stderr[-4000:]
