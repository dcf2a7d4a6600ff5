"""Random networks with a read-out in closed form: the mathematics, the start, and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.data import Recordings, Series
from gatewright.designs import DESIGNS, Design, SequenceNetwork, ridge_readout, start_untrained_
from gatewright.errors import ArgumentError, TrainingError
from gatewright.tasks.classify import Classify
from gatewright.training.closed_form import fit_readout
from gatewright.training.job import TrainingJob, build_model, perform
from gatewright.training.loop import evaluate
from gatewright.training.networks import find_network
from gatewright.training.plan import make_plan
from gatewright.training.recipe import Recipe
from gatewright.training.train import compare, train
from in_process import training_here, without_baselines

LENGTHS = torch.tensor([30, 12, 1, 25])
#: A short series: the base of the bundled weather takes 2 s to fit.
STEPS = np.arange(80)
SERIES = Series(("a",), (STEPS,), (np.sin(STEPS)[:, None],), ("y",), period=1.0)


def waves(count: int = 24, *, name: str = "waves") -> Recordings:
    """Sequences of three frequencies, with noise and different lengths."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    sequences = tuple(
        (
            np.sin((0.3 + 0.3 * label) * np.arange(steps) + random.uniform(0, 6))[:, None]
            + 0.3 * random.normal(size=(steps, 1))
        ).astype(np.float32)
        for label, steps in zip(labels, random.integers(25, 50, count), strict=True)
    )
    return Recordings(sequences, labels, ("slow", "middle", "fast"), name=name)


def make_job(data: Recordings, recipe: Recipe) -> TrainingJob:
    return TrainingJob(Classify.of(data), "gru", 16, 0, recipe)


def started(cell: str = "gru", seed: int = 0, design: Design | str = "untrained"):
    torch.manual_seed(seed)
    x = torch.randn(30, 4, 3) * torch.tensor([1.0, 5.0, 1.0])
    network = SequenceNetwork(cell, 3, 6, design)
    return start_untrained_(network, x, LENGTHS), x


def log_loss_without(features: Tensor, labels: Tensor, weights: Tensor, penalty: float) -> Tensor:
    """Scores (N, 2) of each row by a ridge on all others, fitted anew: the slow, plain way."""
    targets = 2.0 * torch.nn.functional.one_hot(labels, 2).double() - 1.0
    share = weights / weights.sum()
    mean = share @ features
    scale = 1 / (share @ (features - mean).square()).sqrt() / features.shape[1] ** 0.5
    z = (features - mean) * scale
    scores = []
    for row in range(len(z)):
        others = torch.arange(len(z)) != row
        rows = torch.cat([z[others], torch.ones(len(z) - 1, 1)], 1).double()
        weighted = rows * weights[others][:, None]
        gram = weighted.T @ rows + penalty * torch.diag(torch.tensor([1.0] * z.shape[1] + [0.0]))
        solved = torch.linalg.solve(gram, weighted.T @ targets[others])
        scores.append(torch.cat([z[row], torch.ones(1)]).double() @ solved)
    return torch.stack(scores)


@pytest.mark.parametrize("features", [3, 40], ids=["more rows", "more features"])
@pytest.mark.parametrize("weighted", [False, True])
def test_leaving_one_out_needs_no_further_fits(
    features: int, weighted: bool, monkeypatch: pytest.MonkeyPatch
):
    """The choice of penalty and factor is the one that fits without each row would make."""
    random = torch.Generator().manual_seed(features)
    x = torch.randn(12, features, generator=random).double()
    labels = (x[:, 0] + torch.randn(12, generator=random) > 0).long()
    weights = torch.rand(12, generator=random).double() + 0.5 if weighted else torch.ones(12)
    weights = weights.double()
    penalties, factors = (0.3, 3.0, 30.0), (0.5, 2.0, 8.0)
    monkeypatch.setattr("gatewright.designs.leave_one_out.PENALTIES", penalties)
    monkeypatch.setattr("gatewright.designs.leave_one_out.SHARPNESS", factors)
    weight, bias = ridge_readout(x, labels, 2, weights)

    share, results = weights / weights.sum(), []
    for penalty in penalties:
        scores = log_loss_without(x, labels, weights, penalty)
        for factor in factors:
            losses = torch.nn.functional.cross_entropy(
                factor * scores, labels, reduction="none", label_smoothing=2 / 14
            )
            results.append((float(share @ losses), penalty, factor))
    _, penalty, factor = min(results)
    monkeypatch.setattr("gatewright.designs.leave_one_out.PENALTIES", (penalty,))
    monkeypatch.setattr("gatewright.designs.leave_one_out.SHARPNESS", (factor,))
    expected_weight, expected_bias = ridge_readout(x, labels, 2, weights)
    torch.testing.assert_close(weight, expected_weight)
    torch.testing.assert_close(bias, expected_bias)


def test_a_row_of_weight_two_counts_as_two_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gatewright.designs.leave_one_out.PENALTIES", (1.0,))
    monkeypatch.setattr("gatewright.designs.leave_one_out.SHARPNESS", (1.0,))
    x, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 2
    twice = torch.tensor([0, 0, 1, 2, 3, 4, 5])
    weights = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    for weighted, repeated in zip(
        ridge_readout(x, labels, 2, weights), ridge_readout(x[twice], labels[twice], 2), strict=True
    ):
        torch.testing.assert_close(weighted, repeated)


def test_rows_of_weight_zero_and_constant_features_do_not_matter():
    x, labels = torch.randn(8, 4, generator=torch.Generator().manual_seed(2)), torch.arange(8) % 2
    weights = torch.tensor([1.0] * 6 + [0.0] * 2)
    weight, bias = ridge_readout(torch.cat([x, torch.full((8, 1), 7.0)], 1), labels, 2, weights)
    fewer, same_bias = ridge_readout(x[:6], labels[:6], 2)
    torch.testing.assert_close(weight[:, :4], fewer)
    torch.testing.assert_close(bias, same_bias)
    assert not weight[:, 4].any()


def test_probabilities_are_sharp_only_where_classes_are_separable():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 2
    for gap, low, high in [(0.0, 0.5, 0.62), (8.0, 0.95, 1.0)]:
        x = torch.randn(200, 3, generator=random) + gap * labels[:, None]
        weight, bias = ridge_readout(x, labels, 2)
        confidence = (x.double() @ weight.T + bias).softmax(-1).amax(-1).mean()
        assert low <= confidence <= high, gap


def test_a_few_sequences_without_an_error_prove_no_certainty():
    labels = torch.arange(20) % 2
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + 20.0 * labels[:, None]
    weight, bias = ridge_readout(x, labels, 2)
    probabilities = (x.double() @ weight.T + bias).softmax(-1)[torch.arange(20), labels]
    assert 0.85 < probabilities.mean() < 0.99


def test_inputs_are_weighted_by_their_spread():
    """A channel in other units gives the same features."""
    network, x = started()
    torch.manual_seed(0)
    torch.randn(30, 4, 3)
    units = torch.tensor([1.0, 100.0, 0.01])
    other = start_untrained_(SequenceNetwork("gru", 3, 6, "untrained"), x * units, LENGTHS)
    # All but the maxima of the values themselves: the ridge is free to scale those.
    compared = torch.ones(network.output_size, dtype=torch.bool)
    first = network.readout.output_size + network.front.output_size - 6
    compared[first : first + 6] = False
    own, same = (
        features[:, compared] for features in (network(x, LENGTHS), other(x * units, LENGTHS))
    )
    torch.testing.assert_close(same, own, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", ["gru", "lstm", "elman_rnn", "janet", "mgu"])
def test_any_cell_starts_with_finite_and_varied_features(cell: str):
    network, x = started(cell)
    features = network(x, LENGTHS)
    assert features.shape == (4, network.output_size)
    assert features.isfinite().all()
    assert (features.std(0) > 1e-6).float().mean() > 0.9


def test_time_constants_reach_from_half_a_step_to_the_memory():
    x, lengths = torch.randn(80, 2, 1), torch.tensor([80, 60])
    network = start_untrained_(SequenceNetwork("gru", 1, 5, "untrained"), x, lengths, memory=50)
    keep = network.recurrent.weights("z", 0, False)["x"][1].sigmoid()
    times = -1.0 / keep.log()
    torch.testing.assert_close(times[[0, -1]], torch.tensor([0.5, 50.0]), rtol=1e-3, atol=0)


def test_thresholds_lie_within_the_features():
    network, x = started()
    output, _ = network.steps(x, LENGTHS)
    inside = output[torch.arange(30)[:, None] < LENGTHS]
    thresholds = network.readout.thresholds
    assert (thresholds >= inside.amin(0)).all() and (thresholds <= inside.amax(0)).all()
    features = network(x, LENGTHS)
    size = network.recurrent.output_size
    share = features[:, 3 * size : 4 * size]
    torch.testing.assert_close(share[0], (output[:, 0] > thresholds).float().mean(0))
    # The values of the front end have thresholds of their own.
    events, _ = network.events(x, LENGTHS)
    share = (events[:, 0] > network.joined.thresholds).float().mean(0)
    torch.testing.assert_close(features[0, -len(share) :], share)


def test_random_patterns_see_shapes_and_no_levels():
    network, x = started()
    prepared, lengths = network.preparation(x, LENGTHS)
    patterns = network.front(prepared, lengths)[..., : -prepared.shape[-1]]
    inside = patterns[torch.arange(30)[:, None] < LENGTHS]
    torch.testing.assert_close(inside.mean(0), torch.zeros(30), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(0, correction=0), torch.ones(30))
    # Far from the ends: five taps to either side, a step apart in the first convolution.
    higher = network.front(prepared + 100.0, lengths)
    first = network.front.convolutions[0].out_channels
    torch.testing.assert_close(
        higher[4:26, 0, :first], patterns[4:26, 0, :first], atol=1e-3, rtol=0
    )
    reads = network.front.convolutions[0].weight.abs().sum(-1) > 0.0
    assert reads.any(1).all() and not reads.all(), "each reads some of the channels"


def test_patterns_weigh_as_much_as_the_events():
    torch.manual_seed(0)
    network = SequenceNetwork("gru", 2, 16, DESIGNS["untrained"])
    x = torch.randn(30, 4, 2) * torch.tensor([1.0, 50.0])
    start_untrained_(network, x, LENGTHS)
    weight = network.recurrent.weights("n", layer=0)["x"][0]
    valid = torch.arange(30)[:, None] < LENGTHS
    events, _ = network.events(x, LENGTHS)
    parts = (weight * events[valid].std(0, correction=0)).square().sum(0)  # (inputs,)
    patterns, changes = parts[: 5 * 16].sum(), parts[5 * 16 :].sum()
    assert len(parts) == 5 * 16 + 4
    assert 0.6 < patterns / changes < 1.7  # 20 to 1 where each input weighs the same


def test_rows_take_turns_where_they_would_take_much_memory(monkeypatch: pytest.MonkeyPatch):
    network = SequenceNetwork("gru", 1, 8, DESIGNS["untrained"])
    x = torch.randn(30, 4, 1)
    start_untrained_(network, x, LENGTHS)
    together = network(x, LENGTHS)
    monkeypatch.setattr("gatewright.designs.network.MAX_VALUES", 30 * network.recurrent.input_size)
    assert network.rows_at_once(30) == 1
    torch.testing.assert_close(network(x, LENGTHS), together, atol=1e-4, rtol=0)


def test_a_saved_network_keeps_its_thresholds(tmp_path: Path):
    network, x = started()
    gw.save(network, tmp_path / "network")
    loaded = gw.load(tmp_path / "network")
    assert loaded.design == DESIGNS["untrained"]
    torch.testing.assert_close(loaded(x, LENGTHS), network(x, LENGTHS), rtol=0, atol=0)


def test_training_changes_only_the_read_out_and_learns():
    data = waves(60)
    recipe = Recipe(design=DESIGNS["untrained"], epochs=1)
    plan_job = make_job(data, recipe)
    model, history = perform(plan_job, data)
    assert len(history.validation_loss) == 1 and history.best_epoch == 0
    assert history.validation[0]["accuracy"] >= 0.9
    again, _ = perform(plan_job, data)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_kept_read_out_has_learned_from_the_validation_part_too():
    data = waves(30)
    job = make_job(data, Recipe(design=DESIGNS["untrained"], epochs=1))
    model, history = perform(job, data)
    final = model.readout.weight.detach().clone()
    fit_readout(model, job.parts(data)[0], 0)
    assert not torch.equal(model.readout.weight, final)
    # The validation loss is that of the read-out that never saw the validation part.
    validation = job.parts(data)[1]
    loss, _ = evaluate(model, model.task.batches(validation), validation)
    assert loss == pytest.approx(history.best_loss)
    fit_readout(model, data, 0)
    torch.testing.assert_close(model.readout.weight, final, rtol=0, atol=0)


def test_states_that_are_not_finite_are_refused():
    data = waves(12)
    name, network = find_network("gru")
    model = build_model(Classify.of(data), name, network, 4, Recipe(design=DESIGNS["untrained"]))
    model.scale.zero_()
    with pytest.raises(TrainingError, match="not finite"):
        fit_readout(model, data, 0)


def test_train_uses_it_where_the_budget_is_quick():
    with training_here(), without_baselines():
        trained = train(waves(40), budget="quick", progress=False)
    assert not trained.recipe.design.trained
    assert trained.model.predict([waves().sequences[0]]).shape == (1, 3)


def test_a_comparison_of_cells_compares_what_they_learn():
    plan = make_plan(waves(40), ["rnn", "gru"], say=lambda line: None, reading={})
    assert all(variant.recipe.design.trained for variant in plan.variants)
    alone = make_plan(waves(40), ["gru"], say=lambda line: None, reading={})
    assert not alone.variants[0].recipe.design.trained


def test_designs_that_must_be_trained_are_refused():
    with pytest.raises(ArgumentError, match="convolutions and attention have to be trained"):
        Design(front="convolution", trained=False)
    with pytest.raises(ArgumentError, match="only a class for a whole sequence"):
        make_plan(SERIES, ["gru"], design="untrained", say=lambda line: None, reading={})


@pytest.mark.slow(instead="test_train_uses_it_where_the_budget_is_quick")
def test_a_comparison_has_the_untrained_network_where_it_can_learn(tmp_path: Path):
    plan = make_plan(waves(40), None, say=lambda line: None, reading={})
    assert list(plan.networks)[:2] == ["window", "untrained"] and "gru" in plan.networks
    assert "untrained" not in make_plan(SERIES, None, say=lambda line: None, reading={}).networks
    with pytest.raises(ArgumentError, match="the network untrained cannot do the task forecast"):
        make_plan(SERIES, ["untrained"], say=lambda line: None, reading={})
    with training_here(), without_baselines():
        comparison = compare(
            waves(40),
            cells=["untrained", "rnn"],
            seeds=1,
            epochs=1,
            design="plain",
            out=tmp_path / "out",
            progress=False,
        )
    untrained = next(entry for entry in comparison.networks if entry.name == "untrained")
    assert untrained.title == "untrained GRU"
    assert comparison.best is untrained
    assert isinstance(comparison.model.body, SequenceNetwork)
    loaded = gw.load(tmp_path / "out")
    new = [waves().sequences[0]]
    np.testing.assert_array_equal(loaded.predict(new), comparison.model.predict(new))
