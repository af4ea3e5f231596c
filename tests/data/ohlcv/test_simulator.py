"""The market simulator: reproducible, valid, and alike to real markets."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.ohlcv import market_kernels as kernels
from tsfm.data.ohlcv.bars import validate_bars
from tsfm.data.ohlcv.facts import stylised_facts
from tsfm.data.ohlcv.market import Draw, clock, timestamps
from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.data.ohlcv.sample import INDICES, sample_bars
from tsfm.data.ohlcv.simulator import (
    Market,
    MarketConfig,
    simulate_arrays,
    simulate_bars,
    simulate_panel,
)
from tsfm.errors import ConfigError, DataError

SMALL = MarketConfig(n_assets=5, n_bars=300, seed=3)


def test_the_seed_decides_everything() -> None:
    pd.testing.assert_frame_equal(simulate_bars(SMALL), simulate_bars(SMALL))
    other = simulate_arrays(replace(SMALL, seed=4))
    assert not np.allclose(other.log_close, simulate_arrays(SMALL).log_close)


def test_bars_depend_neither_on_threads_nor_on_the_other_assets(monkeypatch) -> None:
    bars = simulate_arrays(SMALL)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    np.testing.assert_array_equal(simulate_arrays(SMALL).log_close, bars.log_close)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    np.testing.assert_array_equal(simulate_arrays(SMALL).log_volume, bars.log_volume)
    more = simulate_arrays(replace(SMALL, n_assets=9))
    np.testing.assert_array_equal(more.log_high[:5], bars.log_high)
    np.testing.assert_array_equal(Market(SMALL).arrays(3, 4).log_low, bars.log_low[3:4])


def test_compiled_loops_equal_the_uncompiled() -> None:
    config = replace(SMALL, n_bars=60)
    draw, time = Draw(config=config), clock(config)
    results = []
    for compiled in (True, False):
        run_factor, run_asset = kernels.simulate_factor, kernels.simulate_asset
        if not compiled:
            run_factor, run_asset = run_factor.py_func, run_asset.py_func
        rng = np.random.default_rng(5)
        steps, bars = np.empty((5, 60, config.n_steps)), np.empty((5, 60))
        night, sigma, deviation = np.empty((3, 5, 60))
        for k in range(5):
            factor = draw.market(rng) if k == 0 else draw.sector(rng)
            run_factor(rng, time, factor, steps[k], night[k], sigma[k], deviation[k])
        run_asset(rng, time, draw.asset(rng), steps, night, sigma, deviation[0], np.zeros(60), bars)
        results.append(bars)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sessions=st.sampled_from(["equity", "24x7"]),
    freq=st.sampled_from(["1D", "h", "30min"]),
    n_bars=st.integers(1, 200),
    volatility=st.floats(0.01, 5),
)
def test_bars_are_always_valid(seed, sessions, freq, n_bars, volatility) -> None:
    config = MarketConfig(
        n_assets=3, n_bars=n_bars, seed=seed, sessions=sessions, freq=freq, volatility=volatility
    )
    bars = validate_bars(simulate_bars(config))
    assert len(bars) == 3 * n_bars
    assert (bars["volume"] > 0).all()


@pytest.mark.parametrize(
    "variates", [("log_close", "log_return", "log_range", "log_volume"), ("log_range",)]
)
def test_the_panel_is_what_the_preparation_makes_of_the_bars(variates: tuple[str, ...]) -> None:
    preparation = BarPreparation(variates=variates)
    fast = simulate_panel(SMALL, preparation)
    slow = preparation.panel(simulate_bars(SMALL), name=fast.info.name)
    assert (fast.info.freq, fast.info.seasonality) == (slow.info.freq, slow.info.seasonality)
    for one, other in zip(fast, slow, strict=True):
        assert one.item_id == other.item_id
        np.testing.assert_allclose(one.target, other.target, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(one.timestamps, other.timestamps)


def test_a_panel_streamed_to_a_file_is_the_same(tmp_path) -> None:
    written = simulate_panel(SMALL, path=tmp_path / "market")
    assert written.fingerprint == simulate_panel(SMALL).fingerprint
    assert written.info.provenance["seed"] == 3
    with pytest.raises(DataError):
        simulate_panel(SMALL, path=tmp_path / "market")


@pytest.mark.parametrize(
    ("sessions", "freq", "inferred", "seasonality", "hours"),
    [
        ("equity", "1h", None, 7, set(range(9, 16))),
        ("24x7", "1h", "h", 24, set(range(24))),
        ("equity", "1D", "B", 5, {0}),
        ("24x7", "1D", "D", 7, {0}),
        ("equity", "30min", None, 14, set(range(9, 16))),
    ],
)
def test_calendars(sessions, freq, inferred, seasonality, hours) -> None:
    config = MarketConfig(n_assets=1, n_bars=400, sessions=sessions, freq=freq)
    panel = simulate_panel(config)
    assert (panel.info.freq, panel.info.seasonality) == (inferred, seasonality)
    index = pd.DatetimeIndex(timestamps(config))
    assert len(index) == 400
    assert set(index.hour) == hours
    assert (index.dayofweek.max() < 5) == (sessions == "equity")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_assets": 0}, "n_assets=0"),
        ({"n_bars": 1.5}, "n_bars=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"sessions": "lunch"}, "lunch"),
        ({"freq": "45min"}, "does not divide a session of 7 hours"),
        ({"freq": "B"}, "does not divide"),
        ({"freq": "blink"}, "blink"),
        ({"start": "some day"}, "some day"),
        ({"volatility": 0}, "volatility=0"),
    ],
)
def test_bad_configurations(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MarketConfig(**arguments)


# ---- stylised facts -------------------------------------------------------------------------

TOLERANCE = 0.5  # of the real range's width, on each side
LEAST_TOLERANCE = 0.15  # of the real figures' size, where the real range is narrow
SEEDS = range(4)


def simulated_facts(**config) -> pd.DataFrame:
    """Facts of the assets of several markets: one market is one draw of the common factor."""
    return pd.concat(
        [stylised_facts(simulate_bars(MarketConfig(n_assets=6, seed=s, **config))) for s in SEEDS]
    )


def expect_alike(simulated: pd.DataFrame, real: pd.DataFrame) -> None:
    """The simulated median lies inside the real range, and so does a real asset in the simulated.

    Ranges are widened by the tolerances above: a handful of real assets is a small sample.
    """
    low, high = real.min(), real.max()
    slack = np.maximum(TOLERANCE * (high - low), LEAST_TOLERANCE * real.abs().median())
    median = simulated.median()
    outside = (median < low - slack) | (median > high + slack)
    table = pd.DataFrame({"low": low - slack, "simulated": median, "high": high + slack})
    assert not outside.any(), f"\n{table[outside]}"
    missed = (real.median() < simulated.min() - slack) | (real.median() > simulated.max() + slack)
    assert not missed.any(), f"\n{pd.DataFrame({'real': real.median()})[missed]}"


def test_daily_bars_have_the_facts_of_real_ones() -> None:
    """Indices count for everything but the correlation: they are made of the other assets."""
    bars = sample_bars().groupby("item_id").filter(lambda rows: len(rows) > 1000)
    stocks = stylised_facts(bars[~bars["item_id"].isin(INDICES)])
    real = stylised_facts(bars).assign(correlation=stocks["correlation"])
    expect_alike(simulated_facts(n_bars=3300, freq="1D"), real)


def test_hourly_bars_have_the_facts_of_real_ones(shared) -> None:
    path = shared / "data/ohlcv/us_equity_hourly.parquet"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    real = pd.read_parquet(path).rename(columns={"symbol": "item_id", "ts": "timestamp"})
    real["timestamp"] = real["timestamp"].astype("M8[ns]")
    splits = pd.read_csv(path.with_name("us_equity_splits.csv"), parse_dates=["last_unsplit_date"])
    factor = pd.Series(1.0, index=real.index)
    for split in splits.itertuples():
        before = real["timestamp"] < split.last_unsplit_date + pd.Timedelta("1D")
        factor[(real["item_id"] == split.symbol) & before] *= split.ratio
    for column in ("open", "high", "low", "close"):
        real[column] /= factor
    real["volume"] *= factor
    recent = real[real["timestamp"] >= "2006"]
    expect_alike(simulated_facts(n_bars=26_000), stylised_facts(recent))


def test_the_market_moves_assets_together_and_sectors_more_so() -> None:
    config = MarketConfig(n_assets=24, n_bars=7000, seed=1)
    returns = np.diff(simulate_arrays(config).log_close)
    correlation = np.corrcoef(returns)[np.triu_indices(24, 1)]
    assert (correlation > 0).mean() > 0.95
    assert correlation.max() > correlation.mean() + 0.1
