"""Print the recipe of conda-forge for an sdist: `python packages/recipe.py dist/NAME.tar.gz`.

The recipe is made of pyproject.toml, so that its dependencies are the package's. It goes into the
pull request to conda-forge/staged-recipes as recipes/gatewright/recipe.yaml; later releases are
updated there by conda-forge's bot. (The format: https://rattler.build.)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
#: Packages that conda-forge has under other names.
NAMES = {"torch": "pytorch"}

RECIPE = """\
schema_version: 1

context:
  version: "{version}"

package:
  name: gatewright
  version: ${{{{ version }}}}

source:
  url: https://pypi.org/packages/source/g/gatewright/gatewright-${{{{ version }}}}.tar.gz
  sha256: {digest}

build:
  number: 0
  noarch: python
  script: ${{{{ PYTHON }}}} -m pip install . --no-deps --no-build-isolation -vv
  python:
    entry_points:
      - gatewright = {entry_point}

requirements:
  host:
    - python ${{{{ python_min }}}}.*
    - pip
{host}
  run:
    - python >=${{{{ python_min }}}}
{run}

tests:
  - python:
      imports: [gatewright]
      python_version: ${{{{ python_min }}}}.*
  - script:
      - gatewright --version
      - gatewright doctor

about:
  homepage: {homepage}
  summary: {summary}
  license: {licence}
  license_file: [{licence_files}]
  documentation: {documentation}
  repository: {homepage}

extra:
  recipe-maintainers:
    - {maintainer}
"""


def recipe(digest: str, maintainer: str) -> str:
    """Return the recipe for the sdist with a SHA-256 digest."""
    files = [name for pattern in PROJECT["license-files"] for name in _files(pattern)]
    return RECIPE.format(
        version=PROJECT["version"],
        digest=digest,
        entry_point=PROJECT["scripts"]["gatewright"],
        host=_listed(BUILD["requires"]),
        run=_listed(PROJECT["dependencies"]),
        homepage=PROJECT["urls"]["Source"],
        documentation=PROJECT["urls"]["Documentation"],
        summary=json.dumps(PROJECT["description"]),
        licence=PROJECT["license"],
        licence_files=", ".join(files),
        maintainer=maintainer,
    )


def _files(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def _listed(requirements: list[str]) -> str:
    """Requirements of Python's packages as conda's: `torch>=2.6` is `pytorch >=2.6`."""
    lines = []
    for requirement in requirements:
        name, _, lowest = requirement.partition(">=")
        lines.append(f"    - {NAMES.get(name, name)} >={lowest}")
    return "\n".join(lines)


def main() -> int:
    """Print the recipe of the sdist that is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sdist", type=Path)
    parser.add_argument("--maintainer", required=True, help="the account that maintains it")
    options = parser.parse_args()
    expected = f"gatewright-{PROJECT['version']}.tar.gz"
    if options.sdist.name != expected or not options.sdist.is_file():
        parser.error(f"{options.sdist} is no file {expected}; build it: python -m hatchling build")
    digest = hashlib.sha256(options.sdist.read_bytes()).hexdigest()
    print(recipe(digest, options.maintainer), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
