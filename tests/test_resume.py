"""A training that was ended after any step and resumed gives the bytes of an uninterrupted one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from example_count import example_count
from gatewright.training.checkpoint import read_checkpoint, read_outcome
from resumed import KINDS, perform_part, small_job, without_times
from tables import write_tables

STOPS = example_count(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tables(folder)
    return folder


# The loop.
@pytest.mark.parametrize("name", KINDS)
def test_a_training_that_is_ended_after_any_step_goes_on_to_the_bit(
    name: str, folder: Path, tmp_path: Path
) -> None:
    job, data = small_job(folder, name)
    whole = tmp_path / "whole.safetensors"
    assert perform_part(job, data, whole)
    expected = read_outcome(whole, job)
    assert expected is not None
    generator = random.Random(name)
    for stop in range(STOPS):
        path = tmp_path / f"{stop}.safetensors"
        parts = 1
        while not perform_part(job, data, path, steps=generator.randrange(1, 12), every=5):
            assert read_checkpoint(path)["kind"] == "state"
            parts += 1
        outcome = read_outcome(path, job)
        assert outcome is not None and parts > 1
        for key, tensor in expected.weights.items():
            assert torch.equal(outcome.weights[key], tensor), key
        assert outcome.weights.keys() == expected.weights.keys()
        history = without_times(outcome.history.to_json())
        assert history == without_times(expected.history.to_json())
