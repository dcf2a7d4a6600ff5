"""The base of a forecast: the best simple method, inside the network from its first step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gatewright as gw
from gatewright.data import Series
from gatewright.designs.design import PLAIN
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.forecast.base.base import Base, Member, method_shares
from gatewright.tasks.forecast.base.choice import average_members, choose_base
from gatewright.tasks.forecast.base.intervals import corrected, error_quantiles
from gatewright.tasks.forecast.base.methods import METHODS as BASE_METHODS
from gatewright.tasks.forecast.base.reading import units_of
from gatewright.tasks.forecast.base.rolling import rolling
from gatewright.tasks.forecast.base.smoothing import Smoothing
from gatewright.tasks.forecast.base.transform import backward_array, transformed_array
from gatewright.tasks.forecast.baselines import forecast_baselines
from gatewright.tasks.forecast.baselines.methods import fit_base
from gatewright.tasks.forecast.means import mean_factors, means
from gatewright.tasks.forecast.metrics import MEDIAN, bias_of_sums
from gatewright.tasks.forecast.shares import network_shares
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.task import run_all
from gatewright.training.job import fit
from gatewright.training.loop import evaluate
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from gatewright.training.recipe import RECIPES


def series_of(*values: np.ndarray, season: int = 1, **fields: Any) -> Series:
    """Return series of one channel, or of several."""
    shaped = tuple(own[:, None] if own.ndim == 1 else own for own in values)
    channels = ("y", "x", "z")[: shaped[0].shape[1]]
    return Series(
        tuple(f"s{k}" for k in range(len(shaped))),
        tuple(np.arange(len(own)) for own in shaped),
        shaped,
        channels,
        period=1.0,
        steps_a_season=season,
        **fields,
    )


def wavy(steps: int = 200, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=steps)
    return 5.0 + np.sin(2 * np.pi * np.arange(steps) / 12) + 0.3 * noise


def based_on(task: Forecast, *members: Member, **fields: Any) -> Forecast:
    """Return the task with another base."""
    assert task.base is not None
    return replace(task, base=replace(task.base, members=(members,), **fields))


def network_of(task: Forecast, training: Series, seed: int = 0) -> Model:
    """Return a network before its first step, scaled to its data."""
    torch.manual_seed(seed)
    model = Model(task, "gru", NETWORKS["gru"].build(task, 5, PLAIN)).eval()
    model.fit_scaling(training)
    return model


def predicted_by(model: Model, part: Any) -> np.ndarray:
    task: Any = model.task
    return task.predictions(run_all(model, task.batches(part)), model)


METHODS = {
    "persistence": Member("persistence", (0,), 1.0),
    "seasonal_naive": Member("seasonal naive", (0,), 1.0),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("transform", ["none", "log"])
def test_a_base_of_one_method_forecasts_as_its_baseline(name: str, transform: str) -> None:
    training, test = Forecast.split(series_of(wavy(), season=12))
    task = Forecast.of(training, horizon=15, window=30)
    task = based_on(task, METHODS[name], transforms=(transform,), shifts=(False,))
    (baseline,) = [own for own in forecast_baselines(task) if own.name == name]
    expected = baseline.fit(training, None).predict(test)
    own = predicted_by(network_of(task, training), test)
    np.testing.assert_allclose(own[..., MEDIAN], expected[..., MEDIAN], rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_before_its_first_step_is_its_base_alone(channels: int) -> None:
    """Known, static and several channels included."""
    values = np.column_stack([wavy(seed=seed) for seed in range(channels)])
    fields: dict[str, Any] = {}
    if channels > 1:
        fields = {"known": ("z",), "static": np.array([[1.0], [2.0]]), "static_names": ("size",)}
    data = series_of(values, 3.0 * values[:150], season=12, **fields)
    training, test = Forecast.split(data)
    task = Forecast.of(training, horizon=4, window=26)
    assert task.base is not None
    expected = fit_base(task, task.base, training).predict(test)
    own = predicted_by(network_of(task, training), test)
    np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)


def test_the_base_moves_and_grows_with_its_series() -> None:
    training, _ = Forecast.split(series_of(wavy(), season=12))
    task = Forecast.of(training, horizon=3, window=26)
    task = based_on(task, Member("smoothing", (0.3, 0.1, 0.9, 0.2), 1.0), transforms=("none",))
    model = network_of(task, training).double()
    batch = task.batches(training).batch(torch.arange(4))
    batch = replace(batch, x=batch.x.double())
    plain, _ = model(batch)
    z = model.encode(batch.x)
    moved, _ = model(replace(batch, x=(2.0 * z + 0.5) * model.scale + model.mean))
    torch.testing.assert_close(moved, 2.0 * plain + 0.5)


def smoothed(values: np.ndarray, alpha: float, first: float) -> float:
    level = first
    for value in values:
        level += alpha * (value - level)
    return level


def test_simple_smoothing_starts_from_the_level_with_the_least_squares() -> None:
    values = np.random.default_rng(0).normal(size=12)
    own = Smoothing(0.3).matrix(12, 2, 1) @ values

    def squares(first: float) -> float:
        levels = [smoothed(values[:t], 0.3, first) for t in range(12)]
        return float(np.square(values - np.array(levels)).sum())

    grid = np.linspace(-2.0, 2.0, 4001)
    best = grid[np.argmin([squares(first) for first in grid])]
    np.testing.assert_allclose(own, smoothed(values, 0.3, best), atol=1e-3)


def test_smoothing_follows_a_trend_and_its_seasons() -> None:
    values = 0.5 * np.arange(40) + np.tile([0.0, 3.0, -1.0, 2.0], 10)
    ahead = 0.5 * np.arange(40, 48) + np.tile([0.0, 3.0, -1.0, 2.0], 2)
    matrix = Smoothing(0.5, 0.1, 1.0, 0.3).matrix(40, 8, 4)
    np.testing.assert_allclose(matrix @ values, ahead, atol=0.05)
    np.testing.assert_allclose(matrix.sum(1), 1.0)  # it moves with the values


def test_the_choice_takes_the_method_that_made_the_series() -> None:
    generator = np.random.default_rng(0)
    walk = np.cumsum(generator.normal(size=400))
    base = Forecast.of(series_of(walk), horizon=3, window=20).base
    assert base is not None
    for member in base.members[0]:  # a gain near 1 is nearly persistence
        assert member.method == "persistence" or member.setting[0] >= 0.7
    pulled = np.zeros(400)
    for step in range(1, 400):
        pulled[step] = 0.7 * pulled[step - 1] + generator.normal()
    base = Forecast.of(series_of(pulled), horizon=3, window=20).base
    assert _share(base, "autoregression") + _share(base, "ridge") > 0.6
    # A season that grows with the level: a sum in logarithms.
    growing = np.exp(0.02 * np.arange(240) + np.sin(2 * np.pi * np.arange(240) / 12))
    noisy = growing * np.exp(0.02 * generator.normal(size=240))
    base = Forecast.of(series_of(noisy, season=12), horizon=6, window=30).base
    assert base is not None and base.transforms == ("log",)


def _share(base: Base | None, method: str) -> float:
    assert base is not None
    return method_shares(base.members[0]).get(method, 0.0)


def test_few_errors_average_methods_and_many_choose_among_them() -> None:
    data = series_of(wavy(), season=12)
    task = Forecast.of(data, horizon=4, window=26)
    folds = list(rolling(task, data, ["none"], 0, common_spread=False))
    few, many = (average_members(folds, tuple(BASE_METHODS), count) for count in (0.1, 1e6))
    assert set(method_shares(few)) == set(BASE_METHODS)
    assert 10 * len(many) < len(few)
    for members in (few, many):
        weights = np.array([member.weight for member in members])  # (M, H)
        np.testing.assert_allclose(weights.sum(0), 1.0)
        assert (weights.max(0) > 0.9).all() == (members is many)
        assert len({(member.method, member.setting) for member in members}) == len(members)


def test_each_step_has_weights_of_its_own() -> None:
    """The last value says much about the next one, and the mean more about those further ahead."""
    noise = np.random.default_rng(0).normal(size=800)
    values = np.zeros(800)
    for t in range(1, 800):
        values[t] = 0.9 * values[t - 1] + noise[t]
    data = series_of(values)
    task = Forecast.of(data, horizon=16, window=24)
    folds = list(rolling(task, data, ["none"], 0, common_spread=False))
    members = average_members(folds, ("persistence", "mean"), 100.0)
    last = np.sum([member.weight for member in members if member.method == "persistence"], 0)
    assert last[0] > 0.9 and last[-1] < 0.2 and (np.diff(last) < 0.02).all()
    task = based_on(task, *members, transforms=("none",), shifts=(False,))
    assert task.base is not None
    predicted = fit_base(task, task.base, data).predict(data)[..., 0, MEDIAN]
    windows = task.batches(data)
    assert abs(predicted - windows.past[:, -1]).mean(0)[0] < 0.2
    assert predicted[:, -1].std() < 0.4 * predicted[:, 0].std()


def test_a_baseline_stays_a_single_model() -> None:
    data = series_of(wavy(), season=12)
    task = Forecast.of(data, horizon=4, window=26)
    base = choose_base(task, data, ["smoothing"], averages=False)
    assert [member.weight for member in base.members[0]] == [1.0]
    assert not base.common_spread


def test_a_known_effect_is_as_large_in_calm_windows_as_in_others() -> None:
    """One spread for all windows lets a straight line say so."""
    draw = np.random.default_rng(0)
    steps = draw.normal(size=16) * draw.choice([0.2, 6.0], size=16)
    known = draw.choice([0.0, 1.0], p=[0.8, 0.2], size=800)
    values = np.repeat(steps, 50) + 3.0 * known + 0.3 * draw.normal(size=800)
    data = series_of(np.column_stack([values, known]), known=("x",), targets=("y",))
    training, test = Forecast.split(data)
    task = Forecast.of(training, horizon=2, window=8)
    assert task.base is not None and task.base.common_spread
    windows = task.batches(training)
    _, _, spread = task._scaled(
        network_of(task, training).encode(windows.batch(torch.arange(400)).x)
    )
    assert torch.equal(spread, spread[:1].expand_as(spread))
    with_common, without = (
        task.score(fit_base(task, base, training).predict(test), test)["mase"]
        for base in (task.base, _with_own_spreads(task, training))
    )
    assert with_common < 0.9 * without


def _with_own_spreads(task: Forecast, training: Series) -> Base:
    assert task.base is not None
    transforms = task.base.transforms
    _, smallest = units_of(task, training, transforms)
    return replace(task.base, smallest_spread=smallest, common_spread=False)


def test_another_channel_is_read_where_it_leads() -> None:
    noise = np.random.default_rng(0).normal(size=301)
    follows = np.column_stack([noise[:-1], noise[1:]])  # y is x a step earlier
    data = series_of(follows, targets=("y",))
    task = Forecast.of(data, horizon=1, window=10)
    base = task.base
    assert base is not None and any(member.setting[2] for member in base.members[0])
    assert "base_past" in dict(network_of(task, data).named_buffers())
    predicted = predicted_by(network_of(task, data), data)
    assert task.score(predicted, data)["mase"] < 0.2


def test_too_few_steps_for_a_choice_leave_the_textbook_s_method() -> None:
    base = choose_base(Forecast.of(series_of(wavy(20), season=4), horizon=4, window=10), _short())
    assert base.members == ((Member("seasonal naive", (0,), 1.0),),)


def _short() -> Series:
    return series_of(wavy(16), season=4)


# What the network adds.


def test_a_network_that_cannot_help_stays_at_its_base() -> None:
    """The readout starts at zero, and the last epoch of a training on noise is not kept."""
    training, test = Forecast.split(series_of(np.random.default_rng(1).normal(size=160)))
    task = Forecast.of(training, horizon=3, window=12).variants()[0]
    model, history = _trained(task, training)
    assert history.best_epoch == -1 and history.start_loss is not None
    assert history.best == history.start and not model.readout.weight.any()
    assert task.base is not None
    expected = fit_base(task, task.base, training).predict(test)
    # The model's scaling, and so the mean that pulls, is that of the part without validation.
    np.testing.assert_allclose(predicted_by(model, test), expected, atol=0.15)


def test_a_network_that_helps_is_kept_with_a_share_of_what_it_learned() -> None:
    """The next value is a parabola of the last one (the logistic map), which no line follows."""
    values = [0.3]
    while len(values) < 900:
        values.append(3.9 * values[-1] * (1.0 - values[-1]))
    training, test = Forecast.split(series_of(np.array(values)))
    task = Forecast.of(training, horizon=1, window=8)
    model, history = _trained(task, training, epochs=30)
    assert history.best_epoch >= 0 and history.best_loss < history.start_loss
    assert task.base is not None
    alone = task.score(fit_base(task, task.base, training).predict(test), test)["mase"]
    assert task.score(predicted_by(model, test), test)["mase"] < 0.9 * alone


def test_few_errors_say_little_about_a_network_and_many_decide() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(200, 3, 2))
    base = np.zeros_like(truth)
    network = np.stack([0.6 * truth[..., 0], -0.6 * truth[..., 1]], -1)  # one helps, one harms
    few = network_shares(base, network, truth, 2.0)
    many = network_shares(base, network, truth, 200.0)
    assert few.max() <= 0.1 and many.tolist() == [1.0, 0.0]
    assert network_shares(base, base, truth, 200.0).tolist() == [0.0, 0.0]


def test_each_target_has_a_share_of_its_own() -> None:
    """Half of the network's part counts for the first target, and nothing for the second."""
    centred = wavy() - 5.0  # below 0, so that it is not transformed
    data = series_of(np.column_stack([centred, centred]), targets=("y", "x"))
    task = Forecast.of(data, horizon=3, window=12)
    model = network_of(task, data)
    # In the mean of the quantiles, their order does not matter.
    start = predicted_by(model, data).mean(-1)
    nn.init.normal_(model.readout.weight)
    whole = predicted_by(model, data).mean(-1) - start
    task._scale_network(model, np.array([0.5, 0.0]))
    part = predicted_by(model, data).mean(-1) - start
    assert np.abs(whole).max() > 0.1
    np.testing.assert_allclose(part, whole * [0.5, 0.0], rtol=1e-3, atol=1e-4)


def test_quantiles_of_a_count_are_whole_numbers() -> None:
    counts = np.random.default_rng(0).poisson(0.7, 160).astype(float)
    heights = 0.5 + counts
    both = np.column_stack([counts, heights])
    training, test = Forecast.split(series_of(both, targets=("y", "x")))
    task = Forecast.of(training, horizon=4, window=12)
    assert task.counts == (True, False)
    model = network_of(task, training)
    predicted = predicted_by(model, test)
    assert (predicted[..., 0, :] == np.round(predicted[..., 0, :])).all()
    assert (predicted[..., 1, :] != np.round(predicted[..., 1, :])).any()
    older = replace(task, counts=())  # as a model of version 0.1 has it
    model.task = older
    between = predicted_by(model, test)
    np.testing.assert_array_equal(np.floor(between[..., 0, :] + 0.5), predicted[..., 0, :])


def _trained(task: Forecast, training: Series, epochs: int = 10) -> Any:
    recipe = replace(RECIPES["forecast"], epochs=epochs, least_steps=0)

    def build(part: Series) -> Model:
        return network_of(task, part)

    return fit(task.parts(training, 0.2, 0), build, recipe, seed=0)


def test_the_base_learns_from_the_validation_part_after_it_was_measured() -> None:
    data = series_of(np.concatenate([wavy(100), 3.0 + wavy(60, seed=1)]), season=12)
    task = Forecast.of(data, horizon=3, window=26).variants()[0]
    model, history = _trained(task, data, epochs=2)
    training, validation = task.parts(data, 0.2, 0)
    again = network_of(task, data)
    refitted = {name: tensor.clone() for name, tensor in model.named_buffers()}
    task.fit_map_of(model, training)
    _, values = evaluate(model, task.batches(validation), validation)
    assert values == pytest.approx(history.best, rel=1e-4)
    assert not torch.equal(refitted["base_own"], model.base_own) or not torch.equal(
        refitted["base_bias"], model.base_bias
    )
    assert again.base_own.shape == model.base_own.shape


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    data = series_of(wavy(), season=12)
    task = Forecast.of(data, horizon=4, window=26)
    model = network_of(task, data)
    torch.nn.init.normal_(model.readout.weight)
    gw.save(model, tmp_path / "model")
    loaded = gw.load(tmp_path / "model")
    assert loaded.task == task
    assert task.from_config(json.loads(json.dumps(task.to_config()))) == task
    (own,), (same,) = (each.predict(data) for each in (model, loaded))
    np.testing.assert_array_equal(own.quantiles, same.quantiles)


# Scaling.


def test_a_small_series_is_forecast_as_well_as_the_same_at_a_thousand_times_its_size() -> None:
    values = wavy(240)
    training, test = Forecast.split(series_of(values, 1000.0 * values, season=12))
    task = Forecast.of(training, horizon=6, window=26).variants()[0]
    model, _ = _trained(task, training, epochs=3)
    windows, predicted = task.batches(test), predicted_by(model, test)
    small, large = (predicted[windows.series == k] for k in (0, 1))
    # The mean that pulls is that of both.
    np.testing.assert_allclose(1000.0 * small, large, rtol=5e-3)
    batch = windows.batch(torch.tensor([0, len(windows) - 1]))
    assert batch.weights is not None
    assert (batch.weights[0] / batch.weights[1]).item() == pytest.approx(1000.0)


# Intervals.


def share_held(kind: str, steps: int, series: int) -> float:
    """Return the share of true values inside the intervals, on average over many series.

    On one short series no interval can be sure of its share.
    """
    held = []
    for seed in range(series):
        noise = np.random.default_rng(seed).normal(size=steps + 60)
        values = np.cumsum(noise) if kind == "walk" else noise
        training = series_of(values[:steps])
        task = Forecast.of(training, horizon=4, window=12)
        model = network_of(task, task.parts(training, 0.2, 0)[0])
        _, validation = task.parts(training, 0.2, 0)
        assert not task.calibrate(model, validation)
        task.refit(model, validation)
        predicted = predicted_by(model, series_of(values[steps - 12 :]))
        truth = task.windows(series_of(values[steps - 12 :])).truth
        inside = (truth >= predicted[..., 0]) & (truth <= predicted[..., -1])
        held.append(inside.mean())
    return float(np.mean(held))


@pytest.mark.slow(instead="test_intervals_hold_their_share_of_few_new_series")
@pytest.mark.parametrize("steps", [90, 400])
@pytest.mark.parametrize("kind", ["noise", "walk"])
def test_intervals_hold_their_share_of_new_series(steps: int, kind: str) -> None:
    # The shares of long series differ less.
    assert 0.75 < share_held(kind, steps, 24 if steps == 90 else 10) < 0.87


@pytest.mark.quick
def test_intervals_hold_their_share_of_few_new_series() -> None:
    assert 0.7 < share_held("walk", 90, 8) < 0.9


def test_a_sample_quantile_holds_its_level_in_expectation() -> None:
    generator = np.random.default_rng(0)
    held = []
    for _ in range(4000):
        errors = generator.normal(size=20)
        held.append(generator.normal() < np.quantile(errors, corrected(0.9, 20)))
    assert np.mean(held) == pytest.approx(0.9, abs=0.015)


def test_few_errors_share_the_shape_of_their_distribution() -> None:
    errors = np.random.default_rng(0).normal(size=(12, 3)) * [1.0, 4.0, 4.0]
    few = error_quantiles(errors, 6.0, shift=False)
    assert (few[:, MEDIAN] == 0.0).all() and (np.diff(few, axis=1) > 0.0).all()
    ratios = few[:, -1] / few[:, 0]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-3)


# Targets that are never negative.


def test_transforms_are_undone() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(30, 2))
    for transform in ("none", "log", "root"):
        changed = transformed_array(values, [1], [transform], [0.0, float(values[:, 1].min())])
        np.testing.assert_array_equal(changed[:, 0], values[:, 0])
        np.testing.assert_allclose(backward_array(changed[:, 1], transform), values[:, 1])


def test_a_positive_series_is_never_forecast_below_zero() -> None:
    values = np.exp(np.cumsum(0.3 * np.random.default_rng(0).normal(size=200)))
    training, test = Forecast.split(series_of(values))
    task = Forecast.of(training, horizon=8, window=24)
    task = based_on(task, Member("persistence", (0,), 1.0), transforms=("log",))
    model = network_of(task, training)
    model.widening.fill_(3.0)
    assert (predicted_by(model, test) > 0.0).all()


def test_the_mean_forecast_of_rare_sales_sums_to_what_is_sold() -> None:
    generator = np.random.default_rng(0)
    sold = generator.poisson(2.0, size=400) * (generator.random(400) < 0.15)
    training, test = Forecast.split(series_of(sold.astype(float)))
    task = Forecast.of(training, horizon=7, window=28)
    model, _ = _trained(task.variants()[0], training, epochs=2)
    predicted = predicted_by(model, test)
    windows = task.windows(test)
    # The median is next to nothing, and the metric sees it.
    assert predicted[..., MEDIAN].mean() < 0.2 * windows.truth.mean()
    assert bias_of_sums(predicted, windows.truth) < -0.8
    past = windows.past[:, :, [0]]
    forecast = means(predicted, past, model.mean_factors.double().numpy())
    assert forecast.sum() == pytest.approx(windows.truth.sum(), rel=0.3)
    (future,) = model.predict(training)
    assert future.means["y"].shape == (7,) and (future.means["y"] > 0.0).all()
    assert "y_mean" in task.table(model, training)


def test_mean_factors_take_the_source_with_the_smaller_error() -> None:
    truth = np.arange(24.0).reshape(4, 3, 2)
    quantiles = np.repeat(0.5 * truth[..., None], 9, -1)
    factors = mean_factors(quantiles, np.ones((4, 5, 2)), truth)
    np.testing.assert_allclose(factors, [[2.0, 2.0], [0.0, 0.0]])
    nothing = mean_factors(np.zeros_like(quantiles), np.ones((4, 5, 2)), truth)
    np.testing.assert_allclose(nothing, [[0.0, 0.0], truth.mean((0, 1))])


# Yardsticks.


def test_yardsticks_are_named_once_and_say_how_to_install_them() -> None:
    task = Forecast.of(series_of(wavy(), season=12), horizon=4, window=26)
    baselines: list[Baseline] = forecast_baselines(task, task.base)
    names = [baseline.name for baseline in baselines]
    assert {"smoothing", "autoregression", "base", "auto_ets", "auto_arima", "theta"} <= set(names)
    reasons = {own.why_not for own in baselines if own.name in ("auto_ets", "theta")}
    assert reasons == {None} or "gatewright[peers]" in str(reasons)


def test_statsforecast_s_models_forecast_every_origin() -> None:
    pytest.importorskip("statsforecast")
    training, test = Forecast.split(series_of(wavy(120), season=12))
    task = Forecast.of(training, horizon=4, window=26)
    for baseline in forecast_baselines(task):
        if baseline.name in ("auto_ets", "theta"):
            predicted = baseline.fit(training, None).predict(test)
            assert predicted.shape == (len(task.windows(test)), 4, 1, 9)
            assert (np.diff(predicted, axis=-1) >= 0.0).all()
            assert baseline.seconds is not None and baseline.seconds(training) > 0.0
            assert task.score(predicted, test)["mase"] < 1.5
