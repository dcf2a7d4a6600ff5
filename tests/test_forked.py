"""Python processes that are forks of the tests' own behave as new ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from forked import ForkedPython

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")

PROGRAMS = {
    "arguments and input": "import sys; print(sys.argv, sys.stdin.read()); sys.exit(3)",
    "environment": "import os; print(os.environ['MINE'], 'HOME' in os.environ)",
    "directory": "import os; print(os.getcwd())",
    "message": "import sys; sys.exit('it ends with a message')",
    "error": "print('before'); raise ValueError('wrong')",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "handlers": "from signal import *; print(*map(getsignal, (SIGINT, SIGPIPE, SIGTERM, SIGXFSZ)))",
    "files": "import os; print([n for n in range(3, 99) if os.path.exists(f'/proc/self/fd/{n}')])",
    "name": "class Own: pass\nprint(__name__, Own.__module__)",
}


def outcome(kind: type[subprocess.Popen], command: list[str], **options: Any) -> tuple[Any, ...]:
    """Run a command; its exit code, its output and the last line of its errors."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with kind([sys.executable, *command], text=True, **pipes, **options) as process:
        printed, errors = process.communicate('{"a": [1, 2]}', timeout=60)
    return process.returncode, printed, errors.splitlines()[-1:]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fork_does_what_a_new_process_does(name: str, tmp_path: Path) -> None:
    command = ["-c", PROGRAMS[name], "first", "-m"]
    options = {"cwd": tmp_path, "env": {"MINE": "of this test"}}
    expected = outcome(subprocess.Popen, command, **options)
    assert any(expected) and outcome(ForkedPython, command, **options) == expected


@pytest.mark.parametrize("start", [["-P", "-m", "json.tool"], ["-u", "script.py"]], ids=str)
def test_modules_and_scripts_run(start: list[str], tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    (tmp_path / "script.py").write_text("import sys, beside; print(sys.argv[1:], beside.VALUE)\n")
    command = start if "-m" in start else ["-u", str(tmp_path / "script.py"), "x"]
    expected = outcome(subprocess.Popen, command)
    assert expected[0] == 0 and outcome(ForkedPython, command) == expected


def test_a_fork_forks_too_and_has_the_files_that_it_was_given() -> None:
    """The inner process writes into a pipe that it got by number."""
    reader, writer = os.pipe()
    inner = f"import os, torch; os.write({writer}, str(os.getppid()).encode())"
    outer = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {inner!r}], pass_fds=[{writer}]).wait()\n"
        "print(os.getpid(), subprocess.Popen.__name__)"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", ForkedPython)
        command = [sys.executable, "-c", outer]
        done = subprocess.run(command, pass_fds=[writer], stdout=subprocess.PIPE, check=True)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert done.stdout.decode() == f"{pipe.read()} ForkedPython\n"
