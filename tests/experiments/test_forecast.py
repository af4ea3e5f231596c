"""Forecasting a user's own table by command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from support.told_commands import Told, run_entry

from experiments.forecast_config import ForecastConfig
from tsfm.errors import ConfigError

DAYS = pd.date_range("2023-01-01", periods=300, freq="D")


@pytest.fixture
def forecast(home, monkeypatch, capfd) -> Callable[..., Told]:
    return lambda *words: run_entry("forecast", words, monkeypatch, capfd)


@pytest.fixture
def sales(home: Path) -> Path:
    """Two shops of 300 and 250 days with a weekly season, and one text column."""
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "item_id": shop,
                "timestamp": DAYS[-bars:],
                "sales": 100 + 20 * np.sin(np.arange(bars) * 2 * np.pi / 7) + rng.normal(size=bars),
                "visits": rng.poisson(50, bars).astype(float),
            }
        )
        for shop, bars in (("north", 300), ("south/east", 250))
    ]
    pd.concat(frames).to_csv(home / "sales.csv", index=False)
    return home / "sales.csv"


@pytest.fixture
def registered(home: Path) -> str:
    """Seasonal naive of bars, registered as version 1 without an alias."""
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.ohlcv.sample import sample_bars
    from tsfm.models.statistical import SeasonalNaive
    from tsfm.tracking.registry import log_model
    from tsfm.tracking.runs import MlflowRun

    SeasonalNaive().save(home / "model")
    BarPreparation().save(home / "model")
    with MlflowRun.start("made", entry_point="pretrain") as run:
        log_model(
            run, home / "model", name="naive", input_example=sample_bars().head(50),
            register_as="bars",
        )  # fmt: skip
    return "bars"


def runs(home: Path):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forecast")
    return client, client.search_runs([experiment.experiment_id]) if experiment else []


def test_forecasts_pictures_and_comparison(forecast, sales, home):
    told = forecast(
        "model=mean", f"data={sales}", "horizon=14", "out=made/ahead.parquet", "windows=3",
        "baselines=seasonal_naive,random_walk", "overrides=history=100",
    )  # fmt: skip
    assert told.code == 0, told.err
    frame = pd.read_parquet(home / "made" / "ahead.parquet")
    assert len(frame) == 2 * 2 * 14
    assert set(frame["variate"]) == {"sales", "visits"}
    assert frame["timestamp"].min() == DAYS[-1] + pd.Timedelta(days=1)
    client, (run,) = runs(home)
    kept = {e.path for e in client.list_artifacts(run.info.run_id, "plots/outlook")}
    assert kept == {"plots/outlook/000_north.png", "plots/outlook/001_south_east.png"}
    assert client.list_artifacts(run.info.run_id, "forecasts")
    assert {"recent_windows.csv", "comparison.csv"} <= {
        Path(e.path).name for e in client.list_artifacts(run.info.run_id, "tables")
    }
    (given,) = run.inputs.dataset_inputs
    assert {tag.value for tag in given.tags} == {"forecast"}
    assert run.data.metrics["crps.sales.mean"] > 0
    assert run.data.tags["tsfm.data_sha256"]
    assert "made/ahead.parquet" in told.out
    assert not list((home / "made").glob(".*"))


def test_a_better_baseline_is_told_plainly(forecast, sales):
    told = forecast("model=random_walk", f"data={sales}", "horizon=14", "plots=0",
                    "baselines=seasonal_naive", "targets=sales")  # fmt: skip
    assert told.code == 0, told.err
    assert "sales: a baseline, seasonal_naive, is clearly better" in told.out
    assert "plots       none" in told.out


def test_conformal_intervals_are_corrected_and_compared(forecast, sales, home):
    words = (
        "model=seasonal_naive",
        f"data={sales}",
        "horizon=7",
        "plots=1",
        "baselines=random_walk",
    )
    assert forecast(*words, "out=raw.csv").code == 0
    told = forecast(*words, "out=conformal.csv", "conformal=true")
    assert told.code == 0, told.err
    assert "seasonal_naive + conformal" in told.out
    assert "corrected by 20 windows" in told.out
    raw, new = (pd.read_csv(home / f"{name}.csv") for name in ("raw", "conformal"))
    np.testing.assert_allclose(raw["q0.5"], new["q0.5"])
    assert not np.allclose(raw["q0.1"], new["q0.1"])


def test_registered_model_by_its_name_alone_and_units_of_the_user(forecast, registered, home):
    told = forecast(f"model={registered}", "horizon=5", "windows=0", "out=ahead.csv", "plots=1")
    assert told.code == 0, told.err
    assert "bars has no champion yet: this is its latest version, 1" in told.out
    frame = pd.read_csv(home / "ahead.csv")
    assert {"close", "volume", "range", "log_return"} == set(frame["variate"])
    client, (run,) = runs(home)
    run = client.get_run(run.info.run_id)
    assert run.data.tags["tsfm.model"] == "models:/bars/1"
    assert run.inputs.model_inputs[0].model_id == run.data.tags["tsfm.model_id"]


def test_champion_that_is_not_there_is_told_with_versions_and_remedy(forecast, registered):
    told = forecast("model=models:/bars@champion")
    assert told.code == 2
    for word in ("no champion yet", "versions 1", "models:/bars/1", "-e promote"):
        assert word in told.err


def test_wrong_columns_are_told_with_the_right_ones(forecast, registered, sales):
    told = forecast(f"model={registered}", f"data={sales}")
    assert told.code == 2
    assert "open, high, low, close, volume" in told.err
    assert "targets=" in told.err


def test_no_model_at_all_is_told_with_how_to_make_one(forecast, home):
    told = forecast()
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    for word in ("no model 'ohlcv'", "-e pretrain", "ttm-base"):
        assert word in told.err
    assert not runs(home)[1]


def test_short_series_are_named_with_the_bars_needed(forecast, sales):
    told = forecast("model=seasonal_naive", f"data={sales}", "horizon=280")
    assert told.code == 2
    assert "south/east (250)" in told.err
    assert "280" in told.err


def test_too_few_windows_for_conformal_are_told(forecast, sales):
    told = forecast("model=seasonal_naive", f"data={sales}", "horizon=7", "windows=1",
                    "conformal=true")  # fmt: skip
    assert told.code == 2
    assert "need 4" in told.err


def test_series_too_short_to_compare_are_forecast_all_the_same(forecast, sales):
    told = forecast("model=seasonal_naive", f"data={sales}", "horizon=40", "plots=0")
    assert told.code == 0, told.err
    assert "not compared with baselines: 10 windows of 40 bars need 440 bars" in told.out


def test_out_that_cannot_be_written_leaves_nothing(forecast, sales, home):
    (home / "taken").write_text("a file")
    told = forecast("model=seasonal_naive", f"data={sales}", "windows=0", "plots=0",
                    "out=taken/ahead.csv")  # fmt: skip
    assert told.code == 2
    assert "out=" in told.err
    assert (home / "taken").read_text() == "a file"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"out": "ahead.xlsx"}, r"[Ee]nd it in \.csv or \.parquet"),
        ({"data": "nowhere.csv"}, "does not exist"),
        ({"horizon": 0}, "horizon=0"),
        ({"layout": "tall"}, "layout='tall'"),
        ({"baselines": ("best",)}, "baselines='best'"),
        ({"levels": (0.25, 0.5, 0.75)}, "lack 0.1 or 0.9"),
        ({"conformal": True, "windows": 0}, "conformal without windows"),
        ({"freq": "fortnight"}, "frequency 'fortnight'"),
        ({"model": ""}, "model is empty"),
    ],
)
def test_config_is_checked_before_anything_is_loaded(home, words: dict, told: str):
    with pytest.raises(ConfigError, match=told):
        ForecastConfig(**words)
