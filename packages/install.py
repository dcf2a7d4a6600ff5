"""Install the wheel into empty environments and try it there: `./dev packages`.

For the oldest versions that pyproject.toml allows, and for the newest: one environment with what
every user gets, and over it one environment for each extra, which has nothing but the extra in
addition. (torch takes gigabytes: this way it is installed twice and not twenty times.) It needs a
network and minutes; the environments are in a temporary folder, and are removed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENDS = ("oldest", "newest")
#: What a user of the package installs; the other extras are for the work on it.
EXTRAS = (
    *("base", "parquet", "sklearn", "onnx", "keras"),
    *("serve", "tune", "rl", "tensorboard", "peers"),
)


def lowest(requirements: list[str]) -> Iterator[str]:
    """Yield `name==version` for each `name>=version`."""
    for requirement in requirements:
        bound = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", requirement)
        if bound:
            yield "{}=={}".format(*bound.groups())


def lowest_versions() -> str:
    """The constraints of the oldest versions: those of all users' extras, a line each."""
    extras = PROJECT["optional-dependencies"]
    named = [*PROJECT["dependencies"], *(line for name in EXTRAS[1:] for line in extras[name])]
    return "\n".join(dict.fromkeys(lowest(named))) + "\n"


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command that sees no environment but its own."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    environment |= {"OMP_NUM_THREADS": "1", "GATEWRIGHT_CACHE": str(cwd / "cache")}
    subprocess.run(command, cwd=cwd, env=environment, check=True, timeout=1800)


class Environment:
    """A new environment in `folder`, over the packages of another one if that is passed."""

    def __init__(self, python: str, folder: Path, below: Environment | None = None) -> None:
        self.folder = folder
        run(python, "-m", "venv", folder, cwd=folder.parent)
        self.python = folder / "bin" / "python"
        if not self.python.exists():  # on Windows
            self.python = folder / "Scripts" / "python.exe"
        if below:
            path = self.packages() / "below.pth"
            path.write_text(f"{below.packages()}\n", encoding="utf-8")

    def packages(self) -> Path:
        """The folder that packages are installed into."""
        text = "import sysconfig; print(sysconfig.get_path('purelib'))"
        printed = subprocess.run([self.python, "-c", text], capture_output=True, check=True)
        return Path(printed.stdout.decode().strip())

    def try_extra(self, name: str, wheel: Path, *options: str | Path) -> None:
        """Install the wheel with an extra, check the versions with each other, and try it."""
        pip = (self.python, "-m", "pip")
        package = str(wheel) if name == "base" else f"{wheel}[{name}]"
        run(*pip, "install", "--quiet", *options, package, cwd=self.folder)
        run(*pip, "check", cwd=self.folder)
        room = self.folder / "room"
        room.mkdir()
        run(self.python, "-I", FOLDER / "try_it.py", name, cwd=room)


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def main() -> int:
    """Try every combination, also after one has failed; the exit code is 1 if one did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", choices=ENDS, action="append", help="default: both")
    parser.add_argument("--extras", default=",".join(EXTRAS), help="comma-separated; see EXTRAS")
    parser.add_argument("--python", default=sys.executable, help="the Python of the environments")
    options = parser.parse_args()
    results: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="gatewright-packages-") as temporary:
        root = Path(temporary)
        wheel = build_wheel(root / "dist")
        constraints = root / "oldest.txt"
        constraints.write_text(lowest_versions(), encoding="utf-8")
        for end in options.versions or ENDS:
            pins = ("--constraint", constraints) if end == "oldest" else ()
            below = environment = Environment(options.python, root / end)
            for name in ["base", *(e for e in options.extras.split(",") if e != "base")]:
                print(f"· {end}, {name}", file=sys.stderr, flush=True)
                if name != "base":
                    environment = Environment(options.python, root / f"{end}-{name}", below)
                try:
                    environment.try_extra(name, wheel, *pins)
                except subprocess.SubprocessError as error:
                    results[f"{end}, {name}"] = f"FAILED: {error}"
                else:
                    results[f"{end}, {name}"] = "passed"
    for combination, result in results.items():
        print(f"{combination}: {result}")
    return int(any(result != "passed" for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
