"""Exported C on other compilers and processors, and the accuracy of its own functions."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gatewright as gw
from exported import GCC, STRICT, check_replay, run_replay, write_c
from gatewright.deploy.network import exported_network
from gatewright.exports.c import FUNCTIONS, functions
from gatewright.exports.network import ExportedNetwork
from whole_models import MODELS

CLANG = shutil.which("clang")
ARM = shutil.which("arm-none-eabi-gcc")
QEMU = shutil.which("qemu-system-arm")
CORTEX_M4 = Path(__file__).parent / "cortex_m4"
PROCESSOR = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
#: Models that have every stage between them, event by event and on whole sequences.
EVERY_STAGE = ["pooled", "convolutional", "segments", "known"]


@pytest.fixture(scope="module")
def networks() -> dict[str, ExportedNetwork]:
    return {name: exported_network(MODELS[name](), name) for name in EVERY_STAGE}


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", EVERY_STAGE)
def test_under_the_sanitizers(
    name: str, networks: dict[str, ExportedNetwork], tmp_path: Path
) -> None:
    run_replay(networks[name], tmp_path, "-O0", "-fsanitize=address,undefined")


@pytest.mark.skipif(CLANG is None, reason="clang is not installed")
@pytest.mark.parametrize("name", ["convolutional", "known"])
def test_with_clang(name: str, networks: dict[str, ExportedNetwork], tmp_path: Path) -> None:
    run_replay(networks[name], tmp_path, "-O1", "-Wconversion", compiler=CLANG)


@pytest.mark.skipif(ARM is None or QEMU is None, reason="no cross-compiler or emulator of Arm")
@pytest.mark.parametrize("name", ["pooled", "convolutional", "known"])
def test_on_a_cortex_m4(name: str, networks: dict[str, ExportedNetwork], tmp_path: Path) -> None:
    source = write_c(networks[name], tmp_path)
    command = [str(ARM), *PROCESSOR, *STRICT, "-O2", f"-D{name.upper()}_TEST"]
    command += ["--specs=rdimon.specs", "-T", str(CORTEX_M4 / "memory.ld")]
    command += [str(CORTEX_M4 / "startup.c"), source, "-lm", "-o", f"{name}.elf"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    elf = str(tmp_path / f"{name}.elf")
    check_replay([str(QEMU), "-M", "mps2-an386", "-nographic", *semihosting, "-kernel", elf])


def exact(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function of Python for arrays in float64."""

    def of_array(x: np.ndarray) -> np.ndarray:
        return np.array([function(value) for value in x.astype(np.float64)])

    return of_array


#: For each function of the C file the exact one, the range of its argument, and the largest error
#: in units in the last place.
ACCURACY: dict[str, tuple[Any, tuple[float, float], float]] = {
    "gw_exp": (np.exp, (-86.0, 88.0), 2.0),
    "gw_sigmoid": (lambda x: 1.0 / (1.0 + np.exp(-x)), (-80.0, 80.0), 3.0),
    "gw_tanh": (np.tanh, (-12.0, 12.0), 6.0),
    "gw_log": (np.log, (1e-30, 1e30), 2.0),
    "gw_log1p": (np.log1p, (-0.99, 100.0), 3.0),
    "gw_expm1": (np.expm1, (-20.0, 80.0), 4.0),
    "gw_softplus": (lambda x: np.logaddexp(x, 0.0), (-80.0, 80.0), 4.0),
}
#: What the functions give for numbers at the ends: 0, inf, -inf, NaN.
ENDS: dict[str, tuple[float, float, float, float]] = {
    "gw_exp": (1.0, 1.6516363e38, 0.0, math.nan),
    "gw_sigmoid": (0.5, 1.0, 0.0, math.nan),
    "gw_tanh": (0.0, 1.0, -1.0, math.nan),
    "gw_log": (-math.inf, math.inf, math.nan, math.nan),
    "gw_log1p": (0.0, math.inf, math.nan, math.nan),
    "gw_softplus": (math.log(2.0), math.inf, 0.0, math.nan),
    "gw_relu": (0.0, math.inf, 0.0, math.nan),
}
PROGRAM = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

{functions}

int main(int count, char **arguments)
{{
    float x;
    while (count == 2 && fread(&x, sizeof x, 1, stdin) == 1) {{
        float y = NAN;
{cases}
        fwrite(&y, sizeof y, 1, stdout);
    }}
    return 0;
}}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that applies the function that it is told to numbers."""
    if GCC is None:
        pytest.skip("gcc is not installed")
    names = [*ACCURACY, "gw_relu"]
    cases = "\n".join(
        f'        if (strcmp(arguments[1], "{name}") == 0) {{ y = {name}(x); }}' for name in names
    )
    folder = tmp_path_factory.mktemp("functions")
    text = PROGRAM.format(functions=functions(cases), cases=cases)
    (folder / "functions.c").write_text(text)
    command = [GCC, *STRICT, "-O2", "functions.c", "-o", "functions", "-lm"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "functions"


def applied(program: Path, name: str, x: np.ndarray) -> np.ndarray:
    run = subprocess.run([program, name], input=x.astype("<f4").tobytes(), capture_output=True)
    return np.frombuffer(run.stdout, "<f4")


@pytest.mark.parametrize("name", ACCURACY)
def test_the_accuracy_of_a_function(name: str, program: Path) -> None:
    function, (low, high), limit = ACCURACY[name]
    draw = np.random.default_rng(0)
    x = draw.uniform(low, high, 20_000).astype(np.float32)
    if low > 0.0:
        x = np.exp(draw.uniform(np.log(low), np.log(high), 20_000)).astype(np.float32)
    small = (10.0 ** draw.uniform(-20, 0, 2_000)).astype(np.float32)
    x = np.concatenate([x, small, -small if low < 0.0 else small])
    expected = function(x.astype(np.float64))
    off = np.abs(applied(program, name, x) - expected) / np.spacing(np.abs(expected, dtype="f4"))
    assert off.max() <= limit, (off.max(), x[off.argmax()])


@pytest.mark.parametrize("name", ENDS)
def test_a_function_at_the_ends(name: str, program: Path) -> None:
    x = np.array([0.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_allclose(applied(program, name, x), ENDS[name], atol=1e-30)


def test_every_function_is_measured_or_plain() -> None:
    plain = {"gw_maximum", "gw_minimum", "gw_relu", "gw_sign", "gw_clamp"}
    loops = {"gw_softmax", "gw_sort", "gw_product", "gw_codes", "gw_int8_product"}
    assert FUNCTIONS.keys() == {*ACCURACY, *plain, *loops}


def test_a_step_calls_no_function_of_the_library(tmp_path: Path) -> None:
    """Only the square root, which processors have, and what a user's cell asks for by name."""
    text = exported_network(gw.Recurrent("slstm", 3, 4, backend="reference"), "model")
    source = (tmp_path / write_c(text, tmp_path)).read_text()
    body = source.split("#ifdef MODEL_TEST")[0]
    for name in ("expf", "tanhf", "logf", "log1pf", "expm1f", "powf"):
        assert f"{name}(" not in body
