"""New data for a forecast: static categories, short series, order of rows, names, horizons."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import gatewright as gw
from gatewright.errors import ArgumentError, DataError, ModelError
from gatewright.training.predict import Predicted, predict
from gatewright.training.train import train
from in_process import training_here, without_baselines
from test_cli import gatewright, refused

SHOPS = {"north": "hill", "south": "lake", "east": "hill"}
HEAD = ("day", "shop", "region", "size", "sold")


def rows(shops: Mapping[str, str], days: int = 60, **lengths: int) -> list[tuple[Any, ...]]:
    """A row per shop and day; `lengths` overrides the number of days of single shops."""
    table = []
    for shop, region in shops.items():
        level = 100 if region == "hill" else 300
        for number in range(days - lengths.get(shop, days), days):
            day = datetime.date(2024, 1, 1) + datetime.timedelta(number)
            sold = round(level + 20 * math.sin(2 * math.pi * number / 7), 1)
            table.append((day, shop, region, len(shop), sold))
    return table


def write(path: Path, table: Iterable[tuple[Any, ...]], head: tuple[str, ...] = HEAD) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(table)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three shops with a static text and a static number."""
    folder = tmp_path_factory.mktemp("shops")
    with training_here(), without_baselines():
        train(
            write(folder / "train.csv", rows(SHOPS, 120)),
            cell="gru",
            hidden_size=8,
            epochs=3,
            progress=False,
            out=folder / "model",
            id="shop",
            static=["region", "size"],
            target="sold",
            horizon=7,
            window=14,
        )
    return folder / "model"


@pytest.fixture(scope="module")
def all_shops(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    path = write(tmp_path_factory.mktemp("all_shops") / "same.csv", rows(SHOPS))
    return by_shop(predict(model, path))


def by_shop(predicted: Predicted) -> dict[str, list[float]]:
    columns = predicted.columns
    answers: dict[str, list[float]] = {}
    for shop, value in zip(columns["id"], columns["sold"], strict=True):
        answers.setdefault(shop, []).append(value)
    return answers


def agree(answers: dict[str, list[float]], expected: dict[str, list[float]]) -> bool:
    assert sorted(answers) == sorted(expected)
    for shop, values in answers.items():
        np.testing.assert_allclose(values, expected[shop], rtol=1e-6)
    return True


@pytest.mark.parametrize(
    "shops", [["south", "north", "east"], ["south"], ["east", "north"], ["east", "south"]], ids=str
)
def test_a_shop_has_the_same_forecast_in_any_order_and_without_the_others(
    model: Path, all_shops: dict[str, list[float]], shops: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path / "new.csv", rows({shop: SHOPS[shop] for shop in shops}))
    answers = by_shop(predict(model, path))
    assert list(answers) == shops
    for shop in shops:
        np.testing.assert_allclose(answers[shop], all_shops[shop], rtol=1e-6)


def test_an_unknown_category_is_refused_or_treated_as_none(
    model: Path, all_shops: dict[str, list[float]], tmp_path: Path
) -> None:
    path = write(tmp_path / "new.csv", rows({"south": "lake", "west": "moon"}))
    message = "region of series west in new is moon; the model has learned hill, lake"
    with pytest.raises(DataError, match=f"{message}: correct it, .*unknown='other'"):
        predict(model, path)
    predicted = predict(model, path, unknown="other")
    assert predicted.remarks[0].startswith(message)
    np.testing.assert_allclose(by_shop(predicted)["south"], all_shops["south"], rtol=1e-6)
    west = write(tmp_path / "west.csv", rows({"west": "moon"}))
    single = predict(model, west, unknown="other")
    assert by_shop(single)["west"] == pytest.approx(by_shop(predicted)["west"])
    with pytest.raises(ArgumentError, match="unknown is 'some'; expected 'refuse' or 'other'"):
        predict(model, path, unknown="some")  # type: ignore[arg-type]
    refused(gatewright("predict", model, path), "--unknown other")
    done = gatewright("predict", model, path, "--unknown", "other")
    assert done.returncode == 0 and message in done.stderr


def test_a_static_column_that_is_missing_is_refused(model: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(rows(SHOPS), columns=list(HEAD))
    with pytest.raises(DataError, match="no column 'region'"):
        predict(model, frame.drop(columns="region"))


def test_a_channel_of_training_that_is_constant_in_new_data_stays_a_channel() -> None:
    """The price changed over time in training; in the new file it differs only by shop."""
    days = pd.date_range("2024-01-01", periods=100)
    wave = np.sin(np.arange(100) * 2 * np.pi / 7)
    frame = pd.concat(
        pd.DataFrame(
            {
                "day": days,
                "shop": shop,
                "price": price + (np.arange(100) < 70),
                "sold": wave + number,
            }
        )
        for number, (shop, price) in enumerate({"a": 2.0, "b": 3.0}.items())
    )
    with training_here(), without_baselines():
        trained = train(
            frame, cell="rnn", hidden_size=4, epochs=1, progress=False, id="shop", target="sold"
        ).model
    answers = predict(trained, frame).columns
    late = predict(trained, frame[frame.day >= days[70]]).columns
    assert answers["sold"] == pytest.approx(late["sold"], rel=1e-5)


def test_a_short_series_is_named_and_the_others_are_forecast(
    model: Path, all_shops: dict[str, list[float]], tmp_path: Path
) -> None:
    path = write(tmp_path / "new.csv", rows(SHOPS, north=9))
    predicted = predict(model, path)
    (remark,) = predicted.remarks
    assert remark == (
        "left out: series with fewer than the 14 steps that the model reads: north (9 steps)"
    )
    assert agree(by_shop(predicted), {shop: all_shops[shop] for shop in ("south", "east")})
    with pytest.raises(DataError, match="the longest, has 9 steps"):
        predict(model, write(tmp_path / "none.csv", rows(SHOPS, 9)))
    data = gw.read(path, id="shop", static=["region", "size"], target="sold").data
    with pytest.raises(DataError, match=r"north \(9 steps\); leave them out"):
        gw.load(model).predict(data)


def test_rows_may_be_in_any_order(
    model: Path, all_shops: dict[str, list[float]], tmp_path: Path
) -> None:
    table = rows(SHOPS)
    reversed_rows = write(tmp_path / "reversed.csv", table[::-1])
    assert agree(by_shop(predict(model, reversed_rows)), all_shops)
    assert agree(
        by_shop(predict(model, write(tmp_path / "twice.csv", [table[0], *table]))), all_shops
    )
    other = (*table[0][:-1], 7.0)
    with pytest.raises(DataError, match="is in row 2 already"):
        predict(model, write(tmp_path / "twice.csv", [other, *table]))


def test_a_shorter_horizon_is_the_beginning_of_the_longer_one(
    model: Path, all_shops: dict[str, list[float]], tmp_path: Path
) -> None:
    path = write(tmp_path / "new.csv", rows(SHOPS))
    short = by_shop(predict(model, path, horizon=3))
    assert agree(short, {shop: values[:3] for shop, values in all_shops.items()})
    for horizon in (0, 8):
        with pytest.raises(
            ArgumentError, match=f"horizon is {horizon}; the model predicts the next 7"
        ):
            predict(model, path, horizon=horizon)
    refused(gatewright("predict", model, path, "--horizon", "8"), "horizon is 8")


@pytest.mark.slow(instead="test_a_shorter_horizon_is_the_beginning_of_the_longer_one")
def test_a_shorter_horizon_needs_less_of_the_known_future() -> None:
    days = pd.date_range("2024-01-01", periods=110)
    frame = pd.DataFrame({"day": days, "price": np.cos(np.arange(110.0)), "sold": np.arange(110.0)})
    frame.loc[100:, "sold"] = np.nan
    with training_here(), without_baselines():
        trained = train(
            frame, cell="rnn", hidden_size=4, epochs=1, progress=False, known="price", horizon=7
        ).model
    answers = predict(trained, frame).columns["sold"]
    short = predict(trained, frame[:103], horizon=3).columns["sold"]
    assert short == pytest.approx(answers[:3])
    with pytest.raises(
        DataError, match="given for 3 steps after the last one; expected at least 7"
    ):
        predict(trained, frame[:103])


def test_a_written_table_has_the_names_of_the_data(model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "new.csv", rows({"north": "hill"}))
    predicted = predict(model, path, out=tmp_path / "next.csv")
    assert list(predicted.columns)[:3] == ["id", "time", "sold"]  # also with a single series
    header, first, *_ = (tmp_path / "next.csv").read_text().splitlines()
    assert header.startswith("shop,day,sold,sold_q10") and first.startswith("north,2024-03-01,")
    columns = json.loads(gatewright("predict", model, path, "--json").stdout)["columns"]
    assert list(columns)[:2] == ["shop", "day"]
    read = gw.read(path, id="shop", static=["region", "size"], target="sold")
    assert list(predict(model, read).written)[:2] == ["shop", "day"]
    predict(model, path, out=tmp_path / "next.parquet")
    assert list(pd.read_parquet(tmp_path / "next.parquet").columns)[:2] == ["shop", "day"]


def test_a_duplicate_name_hides_no_column() -> None:
    table = Predicted({"id": ["a"], "time": [1], "sold": [2.0]}, (), {"id": "sold", "time": "day"})
    assert table.written == {"id": ["a"], "day": [1], "sold": [2.0]}


def test_additional_columns_can_be_ignored(
    model: Path, all_shops: dict[str, list[float]], tmp_path: Path
) -> None:
    table = [(*row, number % 5) for number, row in enumerate(rows(SHOPS))]
    path = write(tmp_path / "new.csv", table, (*HEAD, "visitors"))
    with pytest.raises(DataError, match=r"visitors not known.*ignore="):
        predict(model, path)
    assert agree(by_shop(predict(model, path, ignore="visitors")), all_shops)
    done = gatewright("predict", model, path, "--ignore", "visitors")
    assert done.returncode == 0
    assert len(list(csv.reader(io.StringIO(done.stdout)))) == 1 + 3 * 7


def test_weights_that_are_not_finite_are_refused(model: Path, tmp_path: Path) -> None:
    broken = gw.load(model)
    with torch.no_grad():
        broken.readout.weight[0, 0] = math.nan
    frame = pd.DataFrame(rows(SHOPS), columns=list(HEAD))
    for use in (predict, lambda model, data: model.predict(data)):
        with pytest.raises(ModelError, match=r"readout\.weight of the model holds values that are"):
            use(broken, frame)


def test_predictions_that_are_not_finite_are_refused(model: Path) -> None:
    tiny = gw.load(model)
    tiny.scale.fill_(1e-40)  # finite itself, but values divided by it are not
    message = "prediction is nan in row 1, column sold; expected a finite"
    with pytest.raises(DataError, match=message):
        predict(tiny, pd.DataFrame(rows(SHOPS), columns=list(HEAD)))
