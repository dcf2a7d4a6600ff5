"""Layers in several processes: DistributedDataParallel, `fully_shard` and Accelerate, on gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gatewright as gw


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the two ranks are forked")
def test_two_ranks_keep_every_law(tmp_path: Path):
    """One test for all laws of `distributed_laws.py`: importing torch takes longer than they do."""
    script = Path(__file__).with_name("distributed_laws.py")
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=300)
    for rank in range(2):
        failures = json.loads((tmp_path / f"{rank}.json").read_text())
        report = "\n".join(f"{law}:\n{trace}" for law, trace in failures.items())
        assert not failures, f"rank {rank}:\n{report}"


def test_a_wrapped_layer_names_what_can_be_saved(tmp_path: Path):
    wrapper = torch.nn.Module()
    wrapper.module = gw.LSTM(3, 5)
    with pytest.raises(gw.ArgumentError, match=r"what it wraps can: \.module"):
        gw.save(wrapper, tmp_path / "model")
