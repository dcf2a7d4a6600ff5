"""The wheel and the sdist: what is in them, what they declare, and that both give the same wheel.

`./dev packages` installs them into empty environments, which needs a network and minutes.
"""

from __future__ import annotations

import email.message
import email.parser
import hashlib
import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"gatewright-{PROJECT['version']}"

#: The files of the package that are no Python: a new one is added here, or it is a stray file.
DATA = {
    "py.typed",
    "backends/llvm/README.md",
    "backends/triton/README.md",
    "data/files/prose.LICENCE.md",
    "data/files/prose.txt.gz",
    "data/files/vowels.LICENCE.md",
    "data/files/vowels.safetensors",
    "data/files/weather.LICENCE.md",
    "data/files/weather.csv.gz",
    "draw/page/report.css",
    "draw/page/report.js",
    "page/bundle.css",
    "page/bundle.js",
}
#: What the sdist has at its top: all that is needed to build, test and document the package.
TOP = {
    *(".gitignore", "CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md"),
    *("LICENSE", "PKG-INFO", "README.md", "SECURITY.md", "benchmarks", "data-sources", "dev"),
    *(
        "docs",
        "examples",
        "hatch_build.py",
        "packages",
        "pyproject.toml",
        "requirements.lock",
        "src",
        "tests",
    ),
    "view",
}


def build(source: Path, out: Path, *targets: str) -> None:
    pytest.importorskip("hatchling", reason="hatchling builds the packages")
    command = [sys.executable, "-m", "hatchling", "build", "-d", out]
    for target in targets:
        command += ["-t", target]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "wheel", "sdist")
    return out


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    return packages / f"{NAME}-py3-none-any.whl"


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{NAME}.dist-info/METADATA").decode()
    return email.parser.Parser().parsestr(text)


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path):
    source = ROOT / "src" / "gatewright"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for name in DATA:
            assert archive.read(f"gatewright/{name}") == (source / name).read_bytes()
        licence = archive.read(f"{NAME}.dist-info/licenses/LICENSE")
        entry_points = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
    information = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - information == {f"gatewright/{name}" for name in modules | DATA}
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert "gatewright = gatewright.cli:main" in entry_points
    assert wheel.stat().st_size < 4e6, "the wheel is 1.8 MB: did a large file get in?"


def test_the_metadata_is_what_an_index_shows(wheel: Path):
    declared = metadata(wheel)
    assert declared["Name"] == "gatewright" and declared["Version"] == PROJECT["version"]
    assert declared["License-Expression"] == "MIT"
    assert declared["Requires-Python"] == ">=3.11"
    assert declared["Description-Content-Type"] == "text/markdown"
    assert_addresses_are_absolute(declared.get_payload())
    licences = set(declared.get_all("License-File", []))
    assert {"LICENSE", *(f"src/gatewright/{n}" for n in DATA if "LICENCE" in n)} == licences
    urls = dict(url.split(", ") for url in declared.get_all("Project-URL", []))
    assert urls.keys() == {"Documentation", "Source", "Changelog", "Issues"}
    assert all(url.startswith("https://github.com/gatewright/gatewright") for url in urls.values())


def assert_addresses_are_absolute(page: str) -> None:
    """Every link and picture of the README leads to the file of this version's tag."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    source, tag = PROJECT["urls"]["Source"], f"v{PROJECT['version']}"
    links, pictures = re.findall(r"\]\(([^()\s]+)\)", page), re.findall(r'src="([^"]+)"', page)
    assert len(links) > 20 and len(pictures) == readme.count("<img ") > 1
    assert all(path.startswith(f"{source}/raw/{tag}/") for path in pictures)
    files = [path for path in links if not path.startswith("#")]
    files = [path for path in files if not path.startswith("https://download.")]
    assert all(path.startswith(f"{source}/blob/{tag}/") for path in files)
    for path in (*files, *pictures):
        assert (ROOT / path.split(f"/{tag}/")[1].partition("#")[0]).exists(), path
    assert "made by docs/" not in page  # the marks of figures
    relative = re.sub(rf"{source}/(raw|blob)/{tag}/", "", page).strip()
    assert relative == re.sub(r"<!-- [^\n]* -->\n", "", readme).strip()


def test_a_test_of_the_wheel_that_sees_a_stray_file_fails(wheel: Path, tmp_path: Path):
    copy = tmp_path / wheel.name
    copy.write_bytes(wheel.read_bytes())
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr("gatewright/notes.txt", "")
    with pytest.raises(AssertionError, match="notes"):
        test_the_wheel_has_the_package_and_nothing_else(copy)


@pytest.mark.slow(instead="test_the_wheel_has_the_package_and_nothing_else")
def test_the_sdist_has_the_sources_and_builds_the_same_wheel(
    packages: Path, wheel: Path, tmp_path: Path
):
    with tarfile.open(packages / f"{NAME}.tar.gz") as archive:
        names = [name.removeprefix(f"{NAME}/") for name in archive.getnames()]
        archive.extractall(tmp_path, filter="data")
    assert {name.split("/")[0] for name in names} == TOP
    generated = re.compile(
        r"node_modules|__pycache__|\.pyc$|(^|/)\.(venv|git|coverage)(/|$)|^runs|^site"
    )
    assert [name for name in names if generated.search(name)] == []
    assert "view/src" in {"/".join(name.split("/")[:2]) for name in names}
    build(tmp_path / NAME, tmp_path / "again", "wheel")
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


# `./dev packages`: the script itself needs a network, so its parts are tested here.
def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "packages" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_every_requirement_has_a_lowest_version():
    install = script("install")
    extras = PROJECT["optional-dependencies"]
    required = {*PROJECT["dependencies"], *(line for e in install.EXTRAS[1:] for line in extras[e])}
    required = {line for line in required if not line.startswith("gatewright[")}
    pins = {line for extra in install.EXTRAS for line in install.lowest_versions(extra).split()}
    assert pins == {line.replace(">=", "==") for line in required}


def test_an_extra_may_need_a_newer_version_of_what_everybody_gets():
    install = script("install")
    for extra in install.EXTRAS:
        pins = install.lowest_versions(extra).split()
        assert [pin for pin in pins if pin.startswith("numpy==")] == [
            "numpy==2.0" if extra == "peers" else "numpy==1.26"
        ]


def test_every_extra_of_users_is_tried():
    install, tried = script("install"), script("try_it")
    ours = {"bench", "coverage", "dev", "docs", "music", "public", "test"}
    assert {"base", *PROJECT["optional-dependencies"]} - ours == set(install.EXTRAS)
    assert tried.TRIALS.keys() == set(install.EXTRAS)


def test_the_recipe_of_conda_has_the_dependencies_of_the_package(
    packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the recipe")
    sdist = packages / f"{NAME}.tar.gz"
    recipe = script("recipe")
    monkeypatch.setattr(sys, "argv", ["recipe.py", str(sdist), "--maintainer", "somebody"])
    assert recipe.main() == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert written["source"]["sha256"] == hashlib.sha256(sdist.read_bytes()).hexdigest()
    python, *run = written["requirements"]["run"]
    assert python == "python >=${{ python_min }}"
    renamed = [line.replace(" ", "").replace("pytorch", "torch") for line in run]
    assert renamed == PROJECT["dependencies"]
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert all(f"{NAME}/{path}" in names for path in written["about"]["license_file"])
    assert written["about"]["summary"] == PROJECT["description"]
    monkeypatch.setattr(sys, "argv", ["recipe.py", "gatewright-0.1.tar.gz", "--maintainer", "x"])
    with pytest.raises(SystemExit) as refused:
        recipe.main()
    assert refused.value.code == 2 and "build it" in capsys.readouterr().err
