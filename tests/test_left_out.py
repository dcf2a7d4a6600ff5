"""The package without its folders of kernels: the other backends run every cell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gatewright

LAYERS = """
import numpy as np, torch, gatewright as gw
x = torch.randn(4, 2, 3, requires_grad=True)
for layer in (gw.LSTM(3, 5, 2, bidirectional=True), gw.GRU(3, 5), gw.Recurrent("mgu", 3, 5)):
    layer(x)[0].sum().backward()
    layer.trace(x.detach())
    assert "not in this copy of gatewright" in layer.explain(x.detach())
layer.stepper(precision="int8").step(np.zeros(3, np.float32))
stepper = layer.stepper()
outputs = [torch.tensor(stepper.step(event)) for event in x.detach()[:, 0]]
torch.testing.assert_close(torch.stack(outputs), layer(x[:, 0])[0].detach())
gw.check_cell("gru")
for backend in ("llvm", "triton"):
    try:
        gw.LSTM(3, 5, backend=backend)(x)
    except gw.BackendError as error:
        print(error)
try:
    layer.explain(x.detach(), measure=True)
except gw.BackendError as error:
    print(error)
"""


def test_the_other_backends_run_every_cell(tmp_path: Path):
    package = Path(gatewright.__file__).parent
    copy = tmp_path / "gatewright"
    (copy / "backends").mkdir(parents=True)
    for folder in (package, package / "backends"):
        for path in folder.iterdir():
            if path.name not in ("backends", "llvm", "triton", "__pycache__"):
                (copy / path.relative_to(package)).symlink_to(path)
    done = subprocess.run(
        [sys.executable, "-c", LAYERS],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    left = "cannot run this: its kernels are not in this copy of gatewright"
    first, second, third = done.stdout.splitlines()
    assert f'backend="llvm" {left}' in first
    assert f'backend="triton" {left}' in second
    assert "leave measure out" in third
