"""The tasks: no look-ahead, every item once, baselines checked by independent computations."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gatewright.data import Recordings, Series, Tagged, Text, read
from gatewright.designs.design import PLAIN
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks import summaries
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.baselines import forecast_baselines, lags
from gatewright.tasks.forecast.metrics import (
    LEVELS,
    errors,
    naive_error,
    pinball,
    step_widening,
    widening,
)
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.forecast.windows import Stretch, Windows
from gatewright.tasks.labelled import class_weights, label_scores
from gatewright.tasks.neighbour import distances
from gatewright.tasks.registry import (
    TASKS,
    baselines_for,
    missing_baselines,
    presentation_of,
    task_from_config,
)
from gatewright.tasks.ridge import ridge
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import Task, run_all
from gatewright.tasks.text.ngram import Counts
from gatewright.tasks.text.task import NextSymbol, Tail
from gatewright.training import experiment
from gatewright.training.experiment import choose_variant
from gatewright.training.history import History
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from gatewright.training.plan import make_plan
from gatewright.training.processes.wire import receive_data, send_data
from gatewright.training.session import Session

GENERATOR = np.random.default_rng(3)


def series(*lengths: int, **fields: object) -> Series:
    """Series whose value is ten times the step, with a known channel that is minus the step."""
    values = [np.column_stack([10.0 * np.arange(n), -1.0 * np.arange(n)]) for n in lengths]
    default = {
        "ids": tuple("abc"[: len(lengths)]),
        "times": tuple(np.arange(n) for n in lengths),
        "values": tuple(values),
        "channels": ("y", "price"),
        "known": ("price",),
        "period": 1.0,
    }
    return Series(**{**default, **fields})


def noisy(steps: int = 300) -> Series:
    wave = np.sin(np.arange(steps) * 2 * math.pi / 12)
    values = (wave + 0.3 * GENERATOR.normal(size=steps))[:, None]
    days = np.arange(steps)
    return Series(("a",), (days,), (values,), ("y",), period=1.0, steps_a_season=12)


def model_of(task, network: str = "gru", hidden: int = 5) -> Model:
    torch.manual_seed(2)
    return Model(task, network, NETWORKS[network].build(task, hidden, PLAIN)).eval()


def naive_predictions(task: Forecast, training: Series, test: Stretch) -> dict[str, np.ndarray]:
    """Quantiles of all baselines that learn next to nothing: all but the regressions."""
    return {
        baseline.name: baseline.fit(training, None).predict(test)
        for baseline in forecast_baselines(task)
        if baseline.name.startswith(("persistence", "seasonal_naive", "climatology"))
    }


# The registry.
def a_task(kind: str) -> Task:
    sequences = tuple(GENERATOR.normal(size=(9, 2)).astype(np.float32) for _ in range(6))
    if kind == "forecast":
        return Forecast.of(noisy(), horizon=3, window=8)
    if kind == "classify":
        return Classify.of(Recordings(sequences, np.arange(6) % 2, ("a", "b")))
    if kind == "tag":
        labels = tuple(np.arange(9) % 3 for _ in range(6))
        return Tag.of(Tagged(sequences, labels, ("a", "b", "c")))
    return NextSymbol.of(TEXT)


@pytest.mark.parametrize("kind", TASKS)
def test_every_task_has_a_presentation_and_baselines_and_can_be_stored(kind: str) -> None:
    task = a_task(kind)
    assert task.kind == kind
    words = presentation_of(task)
    for sentences in (words.splitting, words.readout, words.summary(), words.limits()):
        assert sentences[0].isupper() and sentences.endswith(".")
    compile(words.usage(), "usage", "exec")
    names = [baseline.name for baseline in baselines_for(task)]
    assert names and len(set(names)) == len(names)
    assert task_from_config(json.loads(json.dumps(task.to_config()))) == task


@pytest.mark.parametrize("kind", sorted(set(TASKS) - {"next symbol"}))
def test_only_a_text_can_be_sampled(kind: str) -> None:
    with pytest.raises(ArgumentError, match=f"task is {kind}; only a text can be sampled"):
        model_of(a_task(kind)).sample("a")


def test_a_baseline_that_cannot_run_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("sklearn")
    task = a_task("forecast")
    names = [baseline.name for baseline in baselines_for(task)]
    assert names[-1] == "boosting"
    assert not any("scikit-learn" in reason for reason in missing_baselines(task))

    def nothing_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(lags, "version", nothing_installed)
    assert [baseline.name for baseline in baselines_for(task)] == names[:-1]
    reasons = missing_baselines(task)
    assert len([reason for reason in reasons if "scikit-learn is not installed" in reason]) == 1


class ThreeWays(Forecast):
    """A forecast with one more variant than the usual two."""

    def variants(self) -> tuple[Forecast, ...]:
        return (*super().variants(), replace(self, window=self.window + 1))


@pytest.mark.parametrize(
    ("losses", "note"),
    [
        ((0.25, 0.5, 0.75), "validation loss 0.250. The others: 0.500 with "),
        ((0.75, 0.25, 0.5), "validation loss 0.250. The others: 0.750 with "),
        ((0.75, 0.5, 0.25), "validation loss 0.250. The others: 0.750 with "),
        ((0.75, 0.25), "last value and spread, 1 layer, summed up by last, validation loss 0.250"),
        ((0.25, 0.75), "is not scaled, 1 layer, summed up by last, validation loss 0.250"),
    ],
)
def test_the_best_of_any_number_of_variants_is_taken(
    losses: tuple[float, ...], note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = ThreeWays if len(losses) == 3 else Forecast
    task = kind(**{**vars(a_task("forecast")), "base": None})
    variants = task.variants()
    plan = make_plan(noisy(), ["rnn"], budget="quick", say=lambda line: None, reading={})
    plan = replace(plan, variants=[replace(plan.variants[0], task=task) for task in variants])
    outcomes = [
        SimpleNamespace(history=History(validation_loss=[9.0, loss], best_epoch=1))
        for loss in losses
    ]
    monkeypatch.setattr(experiment, "perform_all", lambda *arguments, **options: outcomes)
    chosen, _ = choose_variant(plan, Session(progress=False))
    assert chosen.task == variants[losses.index(min(losses))]
    assert note in chosen.notes[-1]


# Forecasts.
def test_a_window_reads_only_the_past_and_predicts_what_follows() -> None:
    windows = Windows.of(Stretch(series(20, 15), (12, 9)), window=4, horizon=3)
    assert len(windows) == (20 - 3 - 12 + 1) + (15 - 3 - 9 + 1)
    past, truth, ahead = windows.past, windows.truth, windows.ahead(windows.known)
    first = truth[:, 0, 0]
    assert first.min() == 90.0 and first.max() == 170.0
    np.testing.assert_array_equal(past[:, :, 0], first[:, None] + 10.0 * np.arange(-4, 0))
    np.testing.assert_array_equal(truth[:, :, 0], first[:, None] + 10.0 * np.arange(3))
    np.testing.assert_array_equal(ahead[:, :, 0], -truth[:, :, 0] / 10.0)


def test_parts_of_a_forecast_follow_each_other_and_do_not_overlap() -> None:
    training, test = Forecast.split(series(100))
    task = Forecast.of(training, horizon=3, window=5)
    rest, validation = task.parts(training, 0.25, seed=0)
    steps = [task.batches(part).truth[:, :, 0] / 10.0 for part in (rest, validation, test)]
    assert [(part.min(), part.max()) for part in steps] == [(5, 59), (60, 79), (80, 99)]


def test_too_few_steps_are_refused_with_the_number_needed() -> None:
    with pytest.raises(DataError, match=r"expected at least 14: .*window of 4 .*horizon of 10"):
        Forecast.of(series(13), horizon=10, window=4)


def test_the_loss_and_the_scores_are_those_of_the_textbook() -> None:
    quantiles = np.sort(GENERATOR.normal(size=(6, 4, 2, len(LEVELS))), -1)
    truth = GENERATOR.normal(size=(6, 4, 2))
    expected = np.zeros((6, 4, 2, len(LEVELS)))
    for index in np.ndindex(expected.shape):
        error = truth[index[:-1]] - quantiles[index]
        level = LEVELS[index[-1]]
        expected[index] = level * error if error > 0 else (level - 1) * error
    loss = pinball(torch.from_numpy(quantiles), torch.from_numpy(truth))
    assert loss.item() == pytest.approx(expected.mean())
    measured = errors(quantiles, truth)
    np.testing.assert_allclose(measured["crps"], 2 * expected.mean((1, 3)))
    inside = (truth > quantiles[..., 0]) & (truth < quantiles[..., 8])
    np.testing.assert_allclose(measured["coverage"], inside.mean(1))
    np.testing.assert_allclose(measured["mae"], np.abs(truth - quantiles[..., 4]).mean(1))


def test_stretched_intervals_contain_their_share_of_the_truth() -> None:
    truth = GENERATOR.normal(size=(500, 3, 2)) * [1.0, 5.0]
    quantiles = np.tile(np.linspace(-1, 1, 9), (500, 3, 2, 1))
    wider = quantiles * widening(quantiles, truth)[:, None]
    np.testing.assert_allclose(errors(wider, truth)["coverage"].mean(0), 0.8, atol=0.01)


def test_the_intervals_of_a_channel_that_never_changed_are_stretched_without_a_warning() -> None:
    still = np.zeros((40, 3, 1, 9))
    with np.errstate(all="raise"):
        factors = step_widening(still, still, still[..., 0], independent=10.0)
    assert factors.shape == (3, 1)
    assert (factors > 0.0).all()


def test_naive_forecasts_of_a_repeating_series_are_exact() -> None:
    values = np.tile(GENERATOR.normal(size=7), 20)[:, None]
    training, test = Forecast.split(
        Series(("a",), (np.arange(140),), (values,), ("y",), period=1.0, steps_a_season=7)
    )
    task = Forecast.of(training, horizon=10, window=14)  # longer than a season
    truth = task.batches(test).truth
    predicted = naive_predictions(task, training, test)
    for name in ("seasonal_naive", "climatology"):
        np.testing.assert_allclose(predicted[name][..., 4], truth, atol=1e-12, err_msg=name)
    last = values[task.batches(test).origins - 1]
    middle = predicted["persistence"][..., 4] - last[:, None]
    assert np.ptp(middle, axis=0).max() < 1e-12  # the last value, and the usual error


def test_baselines_use_only_the_series_that_they_forecast() -> None:
    """Usual values and the spread of errors of one series do not reach another."""
    generator = np.random.default_rng(5)
    values = [np.tile(generator.normal(size=7), 20)[:, None] * unit for unit in (1.0, 1000.0)]
    data = Series(
        ("a", "b"), (np.arange(140),) * 2, tuple(values), ("y",), period=1.0, steps_a_season=7
    )
    training, test = Forecast.split(data)
    task = Forecast.of(training, horizon=3, window=14)
    windows = task.batches(test)
    small = windows.series == 0
    fitted = {
        baseline.name: baseline.fit(training, baseline.settings[0])
        for baseline in baselines_for(task)
        if baseline.seconds is None
    }
    usual = fitted["climatology"].predict(test)
    np.testing.assert_allclose(usual[..., 4], windows.truth, atol=1e-9)
    for name in ("persistence", "ridge"):
        spread = np.ptp(fitted[name].predict(test), axis=-1)
        assert spread[small].max() < spread[~small].min() / 10.0, name
    panels = presentation_of(task).figures(usual, test)["forecasts"]
    assert {panel["series"] for panel in panels} == {"a", "b"}


def test_a_series_that_repeats_up_to_rounding_is_measured_by_its_change_per_step() -> None:
    wave = np.sin(2 * np.pi * np.arange(96) / 24)[:, None]
    data = Series(("a",), (np.arange(96),), (wave,), ("y",), period=1.0, steps_a_season=24)
    assert 0.0 < np.abs(wave[24:] - wave[:-24]).mean() < 1e-14
    np.testing.assert_allclose(naive_error(data, 24), [[np.abs(np.diff(wave[:, 0])).mean()]])


def test_each_series_is_measured_in_its_own_unit() -> None:
    """A series counts the same at a thousand times the scale; one that never moves does not count.

    The expected value is Hyndman and Koehler's definition, written out for each series.
    """
    shapes = [GENERATOR.normal(size=n).cumsum() for n in (60, 40)]
    values = [shapes[0], 1000.0 * shapes[1], np.full(50, 7.0)]
    data = Series(
        ("a", "b", "c"),
        tuple(np.arange(len(steps)) for steps in values),
        tuple(steps[:, None] for steps in values),
        ("y",),
        period=1.0,
        steps_a_season=4,
    )
    training, test = Forecast.split(data)
    task = Forecast.of(training, horizon=3, window=5)
    windows = task.batches(test)
    predicted = windows.truth[..., None] + GENERATOR.normal(size=(len(windows), 3, 1, 1))
    expected = []
    for number, steps in enumerate(values[:2]):
        past, own = steps[: int(0.8 * len(steps))], windows.series == number
        error = np.abs(predicted[own, :, 0, 0] - windows.truth[own, :, 0])
        expected.append(error.mean() / np.abs(past[4:] - past[:-4]).mean())
    measured = task.score(np.repeat(predicted, len(LEVELS), -1), test)
    assert measured["mase"] == pytest.approx(np.mean(expected))
    assert measured["crps"] == pytest.approx(measured["mase"])  # all quantiles are equal
    assert task.from_config(json.loads(json.dumps(task.to_config()))) == task


def test_a_target_that_never_falls_below_zero_is_not_forecast_there() -> None:
    """The quantiles of rain stop at 0, of networks and baselines; those of warmth do not."""
    rain = np.maximum(GENERATOR.normal(size=300), 0.0)
    data = Series(
        ("a",),
        (np.arange(300),),
        (np.column_stack([rain, rain - 0.1]),),
        ("rain", "warmth"),
        period=1.0,
        steps_a_season=4,
    )
    training, test = Forecast.split(data)
    task = Forecast.of(training, horizon=3, window=6)
    assert task.floor == (0.0, None)
    assert "rain went down to 0" in presentation_of(task).limits()
    model = model_of(task)
    model.fit_scaling(training)
    model.widening.fill_(5.0)
    network = task.predictions(run_all(model, task.batches(test)), model)
    baselines = [
        baseline.fit(training, baseline.settings[0]).predict(test)
        for baseline in baselines_for(task)
        if baseline.seconds is None
    ]
    assert len(baselines) == 8
    for quantiles in (network, *baselines):
        assert (quantiles[:, :, 0] >= 0.0).all() and np.isfinite(quantiles).all()
    assert (network[:, :, 1] < -0.1).any() and (network[:, :, 0] == 0.0).any()


def test_ridge_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = GENERATOR.normal(2.0, 3.0, (50, 6)), GENERATOR.normal(size=(50, 3, 2))
    predict, _ = ridge(x, y, 4.0)
    z = (x - x.mean(0)) / x.std(0)
    peer = linear.Ridge(alpha=4.0).fit(z, y.reshape(50, -1))
    np.testing.assert_allclose(predict(x).reshape(50, -1), peer.predict(z), atol=1e-10)


def test_scaling_by_the_window_moves_a_forecast_with_its_series() -> None:
    task = Forecast.of(noisy(), horizon=3, window=8)
    task = type(task).from_config({**task.to_config(), "per_window": True})
    model = model_of(task).double()
    batch = task.batches(noisy()).batch(torch.arange(4))
    x = batch.x.double()
    plain, _ = model(type(batch)(x, None, batch.target))
    moved, _ = model(type(batch)(2.0 * x + 7.0, None, batch.target))
    torch.testing.assert_close(moved, 2.0 * plain + 7.0)
    assert (plain.diff(dim=-1) >= 0).all()  # quantiles in order


def test_a_target_that_never_changes_is_refused() -> None:
    with pytest.raises(DataError, match="y of series never changes"):
        Forecast.of(series(50, values=(np.ones((50, 2)),)))


# Classes.
def test_scores_of_classes_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, answers = GENERATOR.integers(0, 4, 80), GENERATOR.integers(0, 3, 80)
    scores = label_scores(answers, labels, 5)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(labels, answers))
    peer = metrics.f1_score(labels, answers, average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(peer)


def test_a_rare_class_weighs_more_and_the_mean_weight_is_one() -> None:
    assert class_weights(np.array([10, 12, 15])) is None
    counts = np.array([100, 10, 0])
    weights = np.array(class_weights(counts))
    assert weights[1] > 3 * weights[0] and weights[2] == 0
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("window", [0.2, 1.0])
def test_warping_distances_follow_the_recurrence(window: float) -> None:
    sequence = GENERATOR.normal(size=(9, 2))
    others = [GENERATOR.normal(size=(n, 2)) for n in (9, 5, 14)]

    def slow(a: np.ndarray, b: np.ndarray) -> float:
        slope = len(b) / len(a)
        reach = max(math.ceil(window * max(len(a), len(b))), 1, slope)
        table = {(-1, -1): 0.0}
        for i in range(len(a)):
            for j in range(len(b)):
                if abs(j - i * slope) > reach:
                    continue
                neighbours = ((i - 1, j), (i, j - 1), (i - 1, j - 1))
                best = min(table.get(place, math.inf) for place in neighbours)
                table[i, j] = ((a[i] - b[j]) ** 2).sum() + best
        return table[len(a) - 1, len(b) - 1]

    np.testing.assert_allclose(
        distances(sequence, others, window), [slow(sequence, other) for other in others]
    )


def test_a_tag_does_not_look_ahead() -> None:
    sequences = tuple(GENERATOR.normal(size=(9, 2)).astype(np.float32) for _ in range(6))
    labels = tuple(np.arange(9) % 3 for _ in range(6))
    task = Tag.of(Tagged(sequences, labels, ("a", "b", "c")))
    for network in ("gru", "window"):
        model = model_of(task, network)
        whole = model.predict(sequences[:1])[0]
        cut = model.predict([sequences[0][:4]])[0]
        np.testing.assert_allclose(whole[:4], cut, atol=1e-6)


# Text.
TEXT = Text.from_string("".join(GENERATOR.choice(list("abcd"), size=9000)))


@pytest.mark.parametrize("network", ["window", "gru"])
def test_every_symbol_is_predicted_once_in_order_after_its_history(network: str) -> None:
    task = NextSymbol.of(TEXT)
    model = model_of(task, network).double()  # untrained, it forgets long before the warm-up ends
    part = Tail(TEXT, 3001)
    bits = task.predictions(run_all(model, task.batches(part)), model)
    assert len(bits) == len(TEXT) - 3001
    single = model.predict(TEXT)  # one stream from the beginning
    np.testing.assert_allclose(bits, single[3000:], atol=1e-9)


def test_training_reads_each_stream_continuously() -> None:
    task = NextSymbol.of(TEXT)
    batches = list(task.batches(TEXT).shuffled(4, torch.Generator().manual_seed(0)))
    x = torch.cat([batch.x for batch in batches])
    y = torch.cat([batch.target for batch in batches])
    assert [batch.carries for batch in batches] == [False] + [True] * (len(batches) - 1)
    assert torch.equal(x[1:], y[:-1]) or (x[1:] != y[:-1]).any(0).sum() <= 1  # the ring's seam
    assert x.numel() >= len(TEXT) - 1 - 4


def test_kneser_ney_is_a_distribution_and_follows_its_equations() -> None:
    text = "abracadabra alakazam abracadabra"
    codes = Text.from_string(text)
    numbers, size = codes.codes.astype(np.int64), len(codes.alphabet)
    model = Counts.of(numbers, size, 3)
    for history in ("ab", "ra", "zz", "kb"):  # seen and not
        prefix = [codes.alphabet.index(c) for c in history if c in codes.alphabet]
        chances = [
            2.0 ** -model.bits(np.array([*prefix, code]), len(prefix))[0] for code in range(size)
        ]
        assert sum(chances) == pytest.approx(1.0) and min(chances) > 0
    # With dictionaries, order 2: P(w|v) = (c(vw) - D(c))/c(v) + left(v) P(w), P from kinds.
    pairs = Counter(itertools.pairwise(text))
    kinds = Counter(w for _, w in pairs)

    def discount(counts: Counter, count: int) -> float:
        n = [sum(c == k for c in counts.values()) for k in range(5)]
        y, k = n[1] / (n[1] + 2 * n[2]), min(count, 3)
        raw = k - (k + 1) * y * n[k + 1] / n[k] if n[k] else y
        return min(max(raw, 0.1), k - 0.1)

    total = sum(kinds.values())
    left = sum(discount(kinds, c) for c in kinds.values()) / total
    lower = {w: (kinds[w] - discount(kinds, kinds[w])) / total + left / size for w in kinds}
    of_a = [c for (v, _), c in pairs.items() if v == "a"]
    after, count = sum(of_a), pairs["a", "b"]
    left = sum(discount(pairs, c) for c in of_a) / after
    expected = (count - discount(pairs, count)) / after + left * lower["b"]
    pair = np.array([codes.alphabet.index("a"), codes.alphabet.index("b")])
    assert 2.0 ** -Counts.of(numbers, size, 2).bits(pair, 1)[0] == pytest.approx(expected)


def test_samples_depend_on_the_seed_and_use_only_the_alphabet() -> None:
    model = model_of(NextSymbol.of(TEXT))
    first, again, other = (
        model.sample("ab", symbols=40, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other and set(first) <= set("abcd") and len(first) == 40
    with pytest.raises(DataError, match="'z'"):
        model.sample("az")


# Transfer to the worker processes.
@pytest.mark.parametrize("data", ["vowels", "weather", "prose", "months", "tags"])
def test_data_arrive_unchanged_in_another_process(data: str) -> None:
    if data == "months":
        times = np.arange("2020-01", "2022-01", dtype="datetime64[M]").astype("datetime64[ns]")
        sent = series(24, times=(times,), period=np.timedelta64(1, "M"), future=(np.ones((3, 1)),))
    elif data == "tags":
        sent = Tagged((np.ones((3, 1), np.float32),), (np.array([0, 1, 0]),), ("a", "b"))
    else:
        sent = read(data).data
    stream = io.BytesIO()
    send_data(sent, stream)
    stream.seek(0)
    received = receive_data(stream)
    assert type(received) is type(sent)
    for field in sent.__dataclass_fields__:
        expected, value = getattr(sent, field), getattr(received, field)
        if isinstance(expected, tuple) and expected and isinstance(expected[0], np.ndarray):
            assert all(a.dtype == b.dtype for a, b in zip(expected, value, strict=True))
            assert all(np.array_equal(a, b) for a, b in zip(expected, value, strict=True))
        elif isinstance(expected, np.ndarray):
            assert expected.dtype == value.dtype and np.array_equal(expected, value)
        else:
            assert expected == value, field


def test_a_part_that_is_too_short_to_measure_on_is_refused_before_the_training() -> None:
    """28 steps are enough for a window of 12 and a horizon of 7, but the validation part is not."""
    for steps, message in ((24, "last 5 of 24"), (35, "last 6 of 28")):
        with pytest.raises(DataError, match=f"the {message} steps .* expected at least 7"):
            make_plan(
                noisy(steps),
                ["rnn"],
                seeds=1,
                say=lambda line: None,
                reading={"horizon": 7, "window": 12},
            )


def test_naive_forecasts_are_the_textbook_s_with_a_corrected_one_in_addition() -> None:
    """On a slope, the value a season earlier is off by a constant, which the correction adds."""
    values = (np.arange(140) * 2.0 + np.tile(GENERATOR.normal(size=7), 20))[:, None]
    training, test = Forecast.split(
        Series(("a",), (np.arange(140),), (values,), ("y",), period=1.0, steps_a_season=7)
    )
    task = Forecast.of(training, horizon=5, window=14)
    windows = task.batches(test)
    predicted = naive_predictions(task, training, test)
    rows = windows.origins[:, None] + np.arange(5)
    np.testing.assert_allclose(predicted["seasonal_naive"][..., 0, 4], values[rows - 7, 0])
    last = np.tile(values[windows.origins - 1], 5)
    np.testing.assert_allclose(predicted["persistence"][..., 0, 4], last)
    np.testing.assert_allclose(predicted["seasonal_naive_corrected"][..., 4], windows.truth)
    for quantiles in predicted.values():
        assert (np.diff(quantiles, axis=-1) >= 0.0).all()


def test_ridge_on_summaries_separates_classes_by_their_level() -> None:
    labels = np.arange(40) % 2
    sequences = tuple(
        (GENERATOR.normal(size=(5 + number % 3, 2)) + 5.0 * label).astype(np.float32)
        for number, label in enumerate(labels)
    )
    data = Recordings(sequences, labels, ("low", "high"))
    fitted = summaries.fit(data.take(list(range(30))), 1.0)
    assert (fitted.predict(data).argmax(-1) == labels).all()
    assert fitted.parameters == 2 * (6 * 2 + 1) + 2
