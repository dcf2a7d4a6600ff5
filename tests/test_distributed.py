"""Several processes: DistributedDataParallel, `fully_shard`, Accelerate, `torchrun`, on gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gatewright as gw
from in_process import training_here


def free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return int(connection.getsockname()[1])


def check_laws(folder: Path, *names: str) -> None:
    """Check laws of `distributed_laws.py`, all without names, by two ranks that meet once."""
    script = Path(__file__).with_name("distributed_laws.py")
    command = [sys.executable, "-W", "ignore", str(script), str(folder), str(free_port()), *names]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=300)
    for rank in range(2):
        failures = json.loads((folder / f"{rank}.json").read_text())
        report = "\n".join(f"{law}:\n{trace}" for law, trace in failures.items())
        assert not failures, f"rank {rank}:\n{report}"


def write_table(path: Path) -> None:
    """Recordings of two classes."""
    draw = np.random.default_rng(0)
    rows = [
        f"{row},{draw.normal(row % 2):.3f},{draw.normal():.3f},{'ab'[row % 2]}"
        for row in range(30)
        for _ in range(int(draw.integers(3, 7)))
    ]
    path.write_text("\n".join(["id,x,y,label", *rows]) + "\n")


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the two ranks are forked")


@pytest.mark.quick
@needs_fork
@pytest.mark.usefixtures("forked_python")
def test_two_ranks_keep_some_laws(tmp_path: Path):
    """Gradients of copied and of sharded weights, and a refusal."""
    check_laws(
        tmp_path,
        "gradients_accumulate_without_sync",
        "packed_sequences_reach_sharded_weights",
        "spread_inputs_are_refused",
    )


@pytest.mark.slow(instead="test_two_ranks_keep_some_laws")
@needs_fork
@pytest.mark.usefixtures("forked_python")
def test_two_ranks_keep_every_law(tmp_path: Path):
    """One test for all, since the ranks take longer to meet than most laws."""
    write_table(tmp_path / "table.csv")
    check_laws(tmp_path)

    # What the two wrote is what one process writes.
    settings = {"design": "both-ways", "seeds": 1, "epochs": 2, "id": "id", "label": "label"}
    with training_here():
        gw.train(tmp_path / "table.csv", out=tmp_path / "alone", progress=False, **settings)
    joint, alone = tmp_path / "joint", tmp_path / "alone"
    assert {file.name for file in joint.iterdir()} == {file.name for file in alone.iterdir()}
    weights = [gw.load(folder).state_dict() for folder in (joint, alone)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[1].items():
        torch.testing.assert_close(weights[0][name], tensor, atol=2e-4, rtol=2e-4)
    results = [json.loads((folder / "results.json").read_text()) for folder in (joint, alone)]
    assert results[0]["best"]["test"] == pytest.approx(results[1]["best"]["test"])
    assert results[0]["recipe"] == results[1]["recipe"]


def test_a_wrapped_layer_names_what_can_be_saved(tmp_path: Path):
    wrapper = torch.nn.Module()
    wrapper.module = gw.LSTM(3, 5)
    with pytest.raises(gw.ArgumentError, match=r"what it wraps can: \.module"):
        gw.save(wrapper, tmp_path / "model")
