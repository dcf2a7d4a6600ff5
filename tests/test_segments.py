"""Tags: scores of whole segments, and networks that answer step by step."""

from __future__ import annotations

import numpy as np
import pytest

from gatewright.data.containers.tagged import Tagged
from gatewright.designs import DESIGNS
from gatewright.errors import ArgumentError
from gatewright.tasks.tag import Tag, segment_f1, segments
from gatewright.training.plan import make_plan


def steps_of(count: int = 6) -> Tagged:
    """Sequences whose class is the sign of a slow wave."""
    random = np.random.default_rng(0)
    sequences, labels = [], []
    for _ in range(count):
        wave = np.sin(0.2 * np.arange(60) + random.uniform(0, 6))
        sequences.append((wave + 0.3 * random.normal(size=60))[:, None].astype(np.float32))
        labels.append((wave > 0).astype(np.int64))
    return Tagged(tuple(sequences), tuple(labels), ("low", "high"))


def plan_of(data: Tagged, **options):
    return make_plan(data, ["gru"], say=lambda line: None, reading={}, **options)


def by_brute_force(predicted: np.ndarray, labels: np.ndarray) -> float:
    """F1 of segments by comparing the sets of steps of all pairs."""
    own, true = segments(predicted), segments(labels)
    hits = 0
    for label, start, end in own:
        steps = set(range(start, end))
        for true_label, true_start, true_end in true:
            others = set(range(true_start, true_end))
            hits += label == true_label and len(steps & others) > 0.5 * len(steps | others)
    return 2 * hits / (len(own) + len(true))


@pytest.mark.parametrize("seed", range(20))
def test_segments_are_matched_as_by_brute_force(seed: int):
    random = np.random.default_rng(seed)
    labels = np.repeat(random.integers(0, 3, 8), random.integers(1, 6, 8))
    predicted = labels.copy()
    for _ in range(4):  # shift a few borders
        place = random.integers(0, len(labels))
        predicted[place : place + 3] = random.integers(0, 3)
    assert segment_f1([predicted], [labels]) == pytest.approx(by_brute_force(predicted, labels))


def test_a_flickering_answer_has_a_low_score():
    """Nine of ten steps are right, but the segment is in pieces."""
    labels = np.zeros(100, int)
    flickering = labels.copy()
    flickering[5::10] = 1
    assert segment_f1([labels], [labels]) == 1.0
    assert segment_f1([flickering], [labels]) == 0.0


def test_a_tagger_is_scored_by_its_segments():
    data = steps_of()
    task = Tag.of(data)
    right = [np.eye(2)[labels] for labels in data.labels]
    assert task.score(right, data)["segment_f1"] == 1.0
    assert [metric.name for metric in task.metrics] == ["accuracy", "macro_f1", "segment_f1"]


def test_both_directions_are_tried_unless_answers_are_needed_step_by_step():
    data = steps_of()
    assert any(variant.recipe.design.bidirectional for variant in plan_of(data).variants)
    streaming = plan_of(data, streaming=True)
    assert not any(v.recipe.design.needs_whole_sequence for v in streaming.variants)
    with pytest.raises(ArgumentError, match="cannot read a sequence step by step"):
        plan_of(data, streaming=True, design="both-ways")
    assert plan_of(data, streaming=True, design="plain").recipe.design == DESIGNS["plain"]
