"""Bars to variates and forecasts back to bars."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tsfm.data.ohlcv.preparation import VARIATES, BarPreparation
from tsfm.data.preparation import load_preparation
from tsfm.errors import ConfigError, DataError
from tsfm.models.base import QUANTILE_LEVELS, Forecast


def random_bars(n_bars: int = 50, items: tuple[str, ...] = ("A", "B"), seed: int = 0):
    rng = np.random.default_rng(seed)
    frames = []
    for item in items:
        path = np.exp(3 + 0.01 * rng.normal(size=(n_bars, 4)).cumsum().reshape(n_bars, 4))
        frames.append(
            pd.DataFrame(
                {
                    "item_id": item,
                    "timestamp": pd.date_range("2024-01-01", periods=n_bars, freq="h"),
                    "open": path[:, 0],
                    "high": path.max(axis=1),
                    "low": path.min(axis=1),
                    "close": path[:, 3],
                    "volume": rng.integers(0, 4, n_bars),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def slow_variates(rows: pd.DataFrame, floor: float) -> np.ndarray:
    """One bar after another, as the documentation tells it."""
    target = np.full((4, len(rows)), np.nan)
    for k, bar in enumerate(rows.itertuples()):
        target[0, k] = math.log(bar.close)
        if k:
            target[1, k] = math.log(bar.close / rows["close"].iloc[k - 1])
        target[2, k] = math.log(max(math.log(bar.high / bar.low), floor))
        if bar.volume > 0:
            target[3, k] = math.log(bar.volume)
    return target


def test_variates_equal_a_slow_loop() -> None:
    bars = random_bars()
    bars.loc[3, ["open", "high", "low", "close"]] = 20.0
    panel = BarPreparation(range_floor=1e-3).panel(bars, name="bars")
    assert panel.item_ids == ("A", "B")
    assert panel.info.variates == VARIATES
    assert (panel.info.freq, panel.info.seasonality) == ("h", 24)
    for series, (_, rows) in zip(panel, bars.groupby("item_id")):
        np.testing.assert_allclose(series.target, slow_variates(rows, 1e-3), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(series.timestamps, rows["timestamp"].to_numpy("M8[ns]"))


def test_interleaved_items_are_untangled() -> None:
    bars = random_bars()
    mixed = BarPreparation().panel(bars.sort_values("timestamp", kind="stable"), name="bars")
    assert mixed.fingerprint == BarPreparation().panel(bars, name="bars").fingerprint


@settings(max_examples=20, deadline=None)
@given(cutoff=st.integers(2, 49), seed=st.integers(0, 100))
def test_nothing_before_a_cutoff_depends_on_what_follows(cutoff: int, seed: int) -> None:
    bars = random_bars(seed=seed)
    late = bars["timestamp"] >= bars["timestamp"].iloc[cutoff]
    changed = bars.copy()
    changed.loc[late, ["open", "high", "low", "close", "volume"]] *= 7.5
    preparation = BarPreparation()
    before = preparation.fit(bars).panel(bars)
    after = preparation.fit(changed).panel(changed)
    for one, other in zip(before, after):
        np.testing.assert_array_equal(one.target[:, :cutoff], other.target[:, :cutoff])
        assert not np.array_equal(one.target[:, cutoff:], other.target[:, cutoff:])


def test_a_series_without_volume_keeps_its_other_variates() -> None:
    bars = random_bars().assign(volume=0)
    target = BarPreparation().panel(bars).series(0).target
    assert np.isnan(target[3]).all()
    assert np.isfinite(target[[0, 2]]).all()


def test_variates_frequency_and_seasonality_can_be_chosen() -> None:
    preparation = BarPreparation(variates=("log_range", "log_close"), freq="30min", seasonality=13)
    panel = preparation.panel(random_bars())
    assert panel.info.variates == ("log_range", "log_close")
    assert (panel.info.freq, panel.info.seasonality) == ("30min", 13)
    assert set(panel.info.units) == {"log_range", "log_close"}


def test_targets_are_forecast_and_the_others_only_seen() -> None:
    bars = random_bars()
    whole = BarPreparation().panel(bars)
    panel = BarPreparation(targets=("log_range",)).panel(bars)
    assert panel.info.variates == ("log_range",)
    assert panel.info.past_covariates == ("log_close", "log_return", "log_volume")
    np.testing.assert_array_equal(panel.series(0).target, whole.series(0).target[[2]])
    np.testing.assert_array_equal(
        panel.series(0).past_covariates, whole.series(0).target[[0, 1, 3]]
    )


def test_state_survives_json(tmp_path) -> None:
    preparation = BarPreparation(
        range_floor=3e-4, freq="h", seasonality=24, variates=VARIATES[1:], targets=VARIATES[2:]
    )
    preparation.save(tmp_path)
    loaded = load_preparation(tmp_path)
    assert isinstance(loaded, BarPreparation)
    assert loaded.state() == preparation.state()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"range_floor": 0}, "range_floor=0"),
        ({"seasonality": 0}, "seasonality=0"),
        ({"seasonality": 2.5}, "seasonality=2.5"),
        ({"freq": "fortnight"}, "fortnight"),
        ({"variates": ()}, "cannot be made of bars"),
        ({"variates": ("log_close", "log_open")}, "log_open"),
        ({"targets": ("log_open",)}, "log_open"),
        ({"variates": ("log_close",), "targets": ("log_range",)}, "log_range"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BarPreparation(**arguments)


def test_constant_and_unobserved_series_are_refused() -> None:
    bars = random_bars()
    is_second = bars["item_id"] == "B"
    prices = ["open", "high", "low", "close"]
    constant, missing = bars.copy(), bars.copy()
    constant.loc[is_second, prices] = 5.0
    missing.loc[is_second, prices] = np.nan
    with pytest.raises(DataError, match="the price is 5 in all 50 bars") as raised:
        BarPreparation().panel(constant, name="file")
    assert raised.value.where == "file, item 'B'"
    with pytest.raises(DataError, match="no bar has a close"):
        BarPreparation().panel(missing)


def forecast_frame(levels: tuple[float, ...] = QUANTILE_LEVELS) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    center, spread = rng.normal(size=(2, 3, 4)), rng.uniform(0.1, 0.8, (2, 3, 4))
    quantiles = center[..., None] + spread[..., None] * stats.norm.ppf(levels)
    return Forecast(
        quantiles=quantiles,
        quantile_levels=levels,
        mean=center,
        item_ids=("A", "B"),
        variate_names=VARIATES,
    ).to_frame()


def test_forecasts_are_restored_to_users_units() -> None:
    forecast = forecast_frame()
    restored = BarPreparation().restore(forecast)
    quantiles = [f"q{level:g}" for level in QUANTILE_LEVELS]
    for variate, name in {
        "log_close": "close",
        "log_range": "range",
        "log_volume": "volume",
    }.items():
        logs, values = forecast[forecast.variate == variate], restored[restored.variate == name]
        np.testing.assert_allclose(values[quantiles], np.exp(logs[quantiles]))
        sigma = (logs["q0.9"] - logs["q0.1"]) / (2 * stats.norm.ppf(0.9))
        np.testing.assert_allclose(values["mean"], np.exp(logs["mean"] + sigma**2 / 2), rtol=1e-6)
    pd.testing.assert_frame_equal(
        restored[restored.variate == "log_return"], forecast[forecast.variate == "log_return"]
    )
    assert list(restored.columns) == list(forecast.columns)
    assert (np.diff(restored[quantiles], axis=1) > 0).all()


def test_restoring_leaves_the_forecast_as_it_was() -> None:
    forecast = forecast_frame((0.5,))
    copy = forecast.copy()
    restored = BarPreparation().restore(forecast)
    pd.testing.assert_frame_equal(forecast, copy)
    assert (restored["mean"] == restored["q0.5"])[restored.variate != "log_return"].all()


def test_foreign_forecasts_are_refused() -> None:
    with pytest.raises(DataError, match="glucose"):
        BarPreparation().restore(forecast_frame().assign(variate="glucose"))
    with pytest.raises(DataError, match="variate are missing"):
        BarPreparation().restore(forecast_frame().drop(columns="variate"))
