"""Forecasting a table of one's own with what is known ahead, by command."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.readings import person
from support.scripted_forecasters import Recording
from support.told_commands import Told, run_entry
from support.ttm import make_mixing_model, make_model

from experiments.forecast_config import ForecastConfig
from tsfm.data.future_rows import origins
from tsfm.data.glucose.preparation import GlucosePreparation
from tsfm.data.preparation import ColumnPreparation, load_preparation
from tsfm.data.user_table import column_panel, read_long
from tsfm.data.windows import WindowStream
from tsfm.errors import ConfigError
from tsfm.evaluation.outlook import forecast_panel
from tsfm.models.frames import forecast_frame
from tsfm.models.ttm import TinyTimeMixer
from tsfm.tracking.chosen_model import ChosenModel

BARS, AHEAD, HORIZON = 300, 21, 14
WORDS = ("targets=sales", "past_covariates=visits", "known_covariates=price", f"horizon={HORIZON}")
QUICK = ("plots=0", "windows=0", "out=ahead.csv")


def shops() -> pd.DataFrame:
    """Sales that follow a price which is set every few days, three weeks longer than today."""
    rng = np.random.default_rng(0)
    days = BARS + AHEAD
    tables = []
    for name, base in (("north", 100.0), ("south", 80.0)):
        price = np.repeat(rng.choice([1.0, 2.0, 3.0, 4.0], size=days // 4 + 1), 4)[:days]
        table = pd.DataFrame({"item_id": name, "date": pd.date_range("2023-01-01", periods=days)})
        table["sales"] = base - 10 * price + rng.normal(size=days)
        table["visits"], table["price"] = rng.normal(size=days), price
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def told_today(table: pd.DataFrame) -> pd.DataFrame:
    """Without what has not happened yet."""
    is_ahead = table.groupby("item_id").cumcount() >= BARS
    return table.assign(**{n: table[n].mask(is_ahead) for n in ("sales", "visits")})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return shops()


@pytest.fixture
def data(home: Path, table: pd.DataFrame, empty_database: Path) -> str:
    shutil.copy(empty_database, home / "mlflow.db")
    told_today(table).to_csv(home / "shops.csv", index=False)
    return "data=shops.csv"


@pytest.fixture
def forecast(home, monkeypatch, capfd) -> Callable[..., Told]:
    return lambda *words: run_entry("forecast", words, monkeypatch, capfd)


@pytest.fixture
def recording(monkeypatch) -> Recording:
    model = Recording()
    monkeypatch.setattr(ChosenModel, "load", lambda _: model)
    return model


def fitted(model: TinyTimeMixer, panel, steps: int = 200) -> TinyTimeMixer:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    stream = WindowStream([panel], model.window_spec)(rng)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(steps):
        total, count = model.loss(model.collate(stream, 16, rng))
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def models(table, tmp_path_factory) -> dict[str, Path]:
    """A tiny model fitted with the price and one without, on bars before the last six weeks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    told_today(table).to_csv(folder / "shops.csv", index=False)
    settings = {"context": 32, "horizon": HORIZON, "dropout": 0.0, "head_dropout": 0.0}
    settings |= {"quantile_levels": (0.1, 0.5, 0.9), "loss": "pinball"}
    makers = {"seeing": make_mixing_model(1, 1, 1, **settings), "blind": make_model(**settings)}
    for name, model in makers.items():
        named = {"past": ["visits"], "known": ["price"]} if name == "seeing" else {}
        frame = read_long(folder / "shops.csv", columns=["sales"], **named)
        panel = column_panel(frame, "shops", columns=["sales"], **named)
        fitted(model, panel.slice(0, origins(panel) - 42)).save(folder / name)
    ColumnPreparation(
        variates=["sales"], past_covariates=["visits"], known_covariates=["price"], freq="D",
        seasonality=7,
    ).save(folder / "seeing")  # fmt: skip
    torch.set_num_threads(threads)
    return {name: folder / name for name in makers}


def runs(home: Path) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forecast")
    return len(client.search_runs([experiment.experiment_id])) if experiment else 0


# --- what it is good for --------------------------------------------------------------------------


def errors(path: Path, table: pd.DataFrame) -> np.ndarray:
    made = pd.read_csv(path, parse_dates=["timestamp"])
    both = made.merge(table, left_on=["item_id", "timestamp"], right_on=["item_id", "date"])
    assert len(both) == 2 * HORIZON
    return np.abs(both["q0.5"] - both["sales"]).to_numpy()


def test_a_price_that_determines_sales_improves_their_forecast(forecast, data, models, table, home):
    told = forecast(f"model={models['seeing']}", data, *WORDS, "plots=1", "windows=3",
                    "baselines=random_walk", "out=seeing.csv")  # fmt: skip
    assert told.code == 0, told.err
    assert "sales: " in told.out
    assert "better here than every baseline" in told.out or "clearly better" in told.out
    assert "not looked at: north (7); south (7)" in told.out
    blind = forecast(f"model={models['blind']}", data, "targets=sales", *QUICK, "horizon=14")
    assert blind.code == 0, blind.err
    with_price, without = (
        errors(home / name, table).mean() for name in ("seeing.csv", "ahead.csv")
    )
    assert with_price < 0.5 * without
    own = forecast(f"model={models['seeing']}", data, *QUICK, "horizon=14")
    assert own.code == 0, own.err
    pd.testing.assert_frame_equal(
        pd.read_csv(home / "ahead.csv"), pd.read_csv(home / "seeing.csv"), rtol=1e-4
    )


def test_a_table_with_missing_rows_is_forecast_as_a_server_does(forecast, data, models, home):
    table = pd.read_csv(home / "shops.csv")
    table.drop(index=[250, 251, 280]).to_csv(home / "shops.csv", index=False)
    told = forecast(f"model={models['seeing']}", data, *QUICK, "horizon=14")
    assert told.code == 0, told.err
    assert "3 missing rows count as unobserved (north)" in told.out
    rows = read_long(home / "shops.csv", columns=["sales"], past=["visits"], known=["price"])
    model, preparation = TinyTimeMixer.load(models["seeing"]), load_preparation(models["seeing"])
    served = forecast_frame(model, preparation, rows, 14, (0.1, 0.5, 0.9))
    made = pd.read_csv(home / "ahead.csv")
    np.testing.assert_allclose(made["q0.5"], served["q0.5"], rtol=1e-4)


def test_other_plans_make_another_forecast_as_far_as_the_horizon(models, table):
    from tsfm.models.source import load_local

    model = load_local(models["seeing"])
    found = {}
    for plan in ("as planned", "dearer", "dearer after the horizon"):
        changed = told_today(table).rename(columns={"date": "timestamp"})
        step = changed.groupby("item_id").cumcount() - BARS
        first = {"as planned": AHEAD, "dearer": 0, "dearer after the horizon": HORIZON}[plan]
        changed["price"] = changed["price"].mask(step >= first, 4.0)
        panel = column_panel(changed, "shops", columns=["sales"], past=["visits"], known=["price"])
        found[plan] = forecast_panel(model, panel, HORIZON, (0.1, 0.5, 0.9), origins=origins(panel))
    plain, dear, later = (forecast.median for forecast in found.values())
    np.testing.assert_array_equal(plain, later)
    cheap = table.groupby("item_id").nth(slice(BARS, BARS + HORIZON))["price"] < 3
    drop = (plain - dear)[..., 0].reshape(-1)[cheap.to_numpy()]
    assert drop.mean() > 10


# --- what models are given ------------------------------------------------------------------------


def test_the_model_is_given_the_tables_values(forecast, data, recording, table):
    told = forecast("model=mean", data, *WORDS, "plots=0", "windows=2", "baselines=random_walk")
    assert told.code == 0, told.err
    context = recording.contexts[-1]
    assert context.item_ids == ("north", "south")
    for row, (_, own) in enumerate(table.groupby("item_id")):
        price, visits = own["price"].to_numpy(np.float32), own["visits"].to_numpy(np.float32)
        np.testing.assert_array_equal(context.known_covariates[row, :, 0], price[: BARS + HORIZON])
        np.testing.assert_array_equal(context.past_covariates[row, :, 0], visits[:BARS])
        np.testing.assert_array_equal(
            context.future_timestamps[row], own["date"][BARS : BARS + HORIZON]
        )
    assert {one.known_covariates.shape[2] for one in recording.contexts} == {1}


def test_future_rows_of_another_file_and_columns_of_a_wide_table(
    forecast, data, recording, table, home
):
    wide = table.pivot_table(index="date", columns="item_id", values="sales").reset_index()
    wide["holiday"] = (np.arange(len(wide)) % 7 == 0).astype(float)
    wide[:BARS].to_csv(home / "wide.csv", index=False)
    wide[BARS:][["date", "holiday"]].to_csv(home / "later.csv", index=False)
    told = forecast("model=mean", "data=wide.csv", "future=later.csv", "layout=wide",
                    "known_covariates=Holiday", "horizon=14", *QUICK)  # fmt: skip
    assert told.code == 0, told.err
    (context,) = recording.contexts
    assert context.item_ids == ("north", "south")
    expected = np.broadcast_to(wide["holiday"][: BARS + 14], (2, BARS + 14))
    np.testing.assert_array_equal(context.known_covariates[..., 0], expected)


def test_meals_that_are_announced_reach_a_model_of_glucose(forecast, data, recording, home):
    table = person(400).assign(carbs=0.0)
    table.loc[::50, "carbs"] = 40.0
    GlucosePreparation(known_covariates=("carbohydrates",)).fit(table).save(home)
    make_mixing_model(1, 0, 1).save(home / "model")
    shutil.move(home / "preparation.json", home / "model")
    later = person(400 + 12).assign(carbs=0.0)[400:].assign(glucose_mg_dl=np.nan)
    later.loc[403, "carbs"] = 55.0
    pd.concat([table, later]).to_csv(home / "meals.csv", index=False)
    words = ("model=model", "data=meals.csv", *QUICK, "overrides=min_bars=100")
    told = forecast(*words, "horizon=12")
    assert told.code == 0, told.err
    (context,) = recording.contexts
    assert context.length == 400
    assert context.known_covariates[0, 400:, 0].tolist() == [0, 0, 0, 55, *[0] * 8]
    told = forecast(*words, "horizon=15")
    assert told.code == 2
    assert "until 2024-01-02 10:15:00, 3 of 15 bars missing" in told.err


# --- at the door ----------------------------------------------------------------------------------


def test_trailing_empty_rows_are_no_bars_and_that_is_told(forecast, data, home):
    told = forecast("model=mean", data, "targets=sales", "horizon=7", *QUICK)
    assert told.code == 0, told.err
    assert "begins after the last target" in told.out
    assert "north (21); south (21)" in told.out
    made = pd.read_csv(home / "ahead.csv", parse_dates=["timestamp"])
    assert made["timestamp"].min() == pd.Timestamp("2023-01-01") + pd.Timedelta(days=BARS)


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        (
            {},
            ["horizon=30"],
            "price of north until 2023-11-17, 9 of 30 bars missing; price of south",
        ),
        ({"price": [BARS + 2]}, [], "price of north until 2023-10-29, 1 of 14 bars missing"),
        ({}, ["known_covariates=visits", "past_covariates="], "visits of north until 2023-10-27"),
        ({}, ["known_covariates=prise"], "columns prise are missing"),
        ({}, ["known_covariates=prise"], "Did you mean price?"),
        ({"sales": [BARS + 10]}, [], "north from 2023-11-07 on, after 10 empty rows"),
    ],
)
def test_what_cannot_be_told_ahead_is_refused_before_a_run(
    forecast, data, recording, home, change, words, told
):
    table = pd.read_csv("shops.csv")
    for column, rows in change.items():
        table.loc[rows, column] = np.nan if column == "price" else 50.0
    table.to_csv("shops.csv", index=False)
    given = {word.partition("=")[0]: word for word in (*WORDS, *words)}
    answer = forecast("model=mean", data, *given.values())
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not recording.contexts
    assert not runs(home)


@pytest.mark.parametrize("model", ["auto_ets", "ttm-base"])
def test_a_model_that_looks_at_no_covariates_is_refused(forecast, data, home, model):
    told = forecast(f"model={model}", data, *WORDS)
    assert told.code == 2
    assert "known_covariates=price and past_covariates=visits would change nothing" in told.err
    assert "MOIRAI" in told.err
    assert not runs(home)


def test_a_model_of_other_covariates_is_refused(forecast, data, models, home):
    told = forecast(f"model={models['seeing']}", data, "targets=sales", "known_covariates=price")
    assert told.code == 2
    assert "1 variates, 0 past and 1 known covariates for a model that mixes 1, 1 and 1" in told.err
    told = forecast(f"model={models['seeing']}", data, "known_covariates=price,visits")
    assert told.code == 2
    assert "known_covariates=visits, but the model takes columns of its own" in told.err
    assert not runs(home)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"targets": "a,b", "known_covariates": "b"}, "targets=b and known_covariates=b"),
        ({"past_covariates": "A", "known_covariates": "a"}, "past_covariates=A and known_cov"),
        ({"known_covariates": "a, a"}, "two roles"),
        ({"data": "shops.csv", "future": "later.csv"}, "without known_covariates"),
        ({"future": "later.csv", "known_covariates": "a"}, "future with data=sample"),
        (
            {"data": "shops.csv", "future": "later.csv", "known_covariates": "a"},
            "future='later.csv' does not exist",
        ),
    ],
)
def test_roles_are_checked_before_anything_is_loaded(data, words: dict, told: str):
    with pytest.raises(ConfigError, match=told):
        ForecastConfig(**words)
