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


def requirements(extra: str) -> list[str]:
    """What an extra needs, those of the extras that it names included; nothing for `base`."""
    lines = PROJECT["optional-dependencies"].get(extra, [])
    named = re.findall(r"gatewright\[([a-z]+)\]", " ".join(lines))
    return [*lines, *(line for name in named for line in requirements(name))]


def lowest_versions(extra: str) -> str:
    """The constraints of the oldest versions with an extra, a line each.

    An extra may ask for a newer version of what every user gets: the last bound counts.
    """
    lines = [*PROJECT["dependencies"], *requirements(extra)]
    bounds = (re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line) for line in lines)
    lowest = dict(bound.groups() for bound in bounds if bound)
    return "".join(f"{name}=={version}\n" for name, version in lowest.items())


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
        for end in options.versions or ENDS:
            pins = ("--constraint", constraints) if end == "oldest" else ()
            below = environment = Environment(options.python, root / end)
            for name in ["base", *(e for e in options.extras.split(",") if e != "base")]:
                print(f"· {end}, {name}", file=sys.stderr, flush=True)
                constraints.write_text(lowest_versions(name), encoding="utf-8")
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
