"""One preparation for builder, training and serving."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from support.market_bars import market_bars, with_gaps

from tsfm.data.ohlcv.cross_section import MarketBuilder
from tsfm.data.ohlcv.feature_preparation import FeaturePreparation, to_polars
from tsfm.data.ohlcv.features_config import FeatureConfig
from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.data.panel import Panel
from tsfm.data.preparation import load_preparation
from tsfm.data.windows import Window
from tsfm.errors import CheckpointError, ConfigError, DataError

FITTED = {
    "indicators": [{"function": "RSI"}, {"function": "NATR"}],
    "transforms": [{"kind": "parkinson", "window": 20}, {"kind": "log_return", "window": 5}],
    "calendar": {"features": ["time_of_day", "session"]},
    "regimes": {"states": 2, "window": 100, "restarts": 1},
    "selection": {"max_features": 4, "shadows": 0},
}


def as_user(bars: pl.DataFrame) -> pd.DataFrame:
    frame = bars.rename({"symbol": "item_id", "ts": "timestamp"}).to_pandas()
    return frame.assign(timestamp=frame["timestamp"].dt.tz_localize(None))


def by_batches(
    preparation: FeaturePreparation, bars: pl.DataFrame, directory: Path, size: int
) -> Panel:
    """As the builder goes about it."""
    symbols = bars["symbol"].unique(maintain_order=True).to_list()
    batches = [
        bars.filter(pl.col("symbol").is_in(symbols[k : k + size]))
        for k in range(0, len(symbols), size)
    ]
    market = MarketBuilder(preparation.features.config.market, directory)
    for batch in batches:
        market.add(batch)
    joint = market.finish()
    series = [one for batch in batches for one in preparation.series(batch, joint)]
    stamps = {one.item_id: one.timestamps for one in series}
    return Panel.from_series(series, preparation.info(stamps, name="bars"))


def test_builder_and_serving_make_the_same_panel(tmp_path: Path) -> None:
    bars = with_gaps(market_bars(5, 400))
    preparation = FeaturePreparation()
    served = preparation.panel(as_user(bars), name="bars")
    built = by_batches(preparation, bars, tmp_path, 2)
    assert served.info == built.info
    for one, other in zip(served, built):
        np.testing.assert_array_equal(one.timestamps, other.timestamps)
        np.testing.assert_allclose(one.target, other.target, rtol=1e-6)
        np.testing.assert_allclose(one.past_covariates, other.past_covariates, atol=1e-6)
        np.testing.assert_allclose(one.known_covariates, other.known_covariates, atol=1e-6)


def test_targets_are_those_of_the_bare_preparation() -> None:
    frame = as_user(market_bars(2, 200))
    bare = BarPreparation().panel(frame)
    panel = FeaturePreparation(features="default").panel(frame)
    none = FeaturePreparation(features="none").panel(frame)
    for one, other, last in zip(bare, panel, none):
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.target, last.target)
    assert none.info.past_covariates == none.info.known_covariates == ()
    assert panel.info.provenance["preparation"]["name"] == "bar_features"


def test_variates_not_asked_for_join_the_past_covariates() -> None:
    preparation = FeaturePreparation(
        features={"transforms": [{"kind": "log_return", "window": 5}]},
        bars={"targets": ["log_close"]},
    )
    panel = preparation.panel(as_user(market_bars(1, 50)))
    assert panel.info.variates == ("log_close",)
    assert {"log_return_5", "log_range"} <= set(panel.info.past_covariates)


def test_items_may_be_interleaved_and_in_any_order() -> None:
    bars = market_bars(3, 120)
    mixed = as_user(bars.sort("ts", "symbol", descending=[False, True]))
    preparation = FeaturePreparation()
    one, other = preparation.panel(as_user(bars)), preparation.panel(mixed)
    assert set(other.item_ids) == {"S0", "S1", "S2"}
    for item in one.item_ids:
        np.testing.assert_array_equal(
            one.series(one.item(item)).past_covariates,
            other.series(other.item(item)).past_covariates,
        )


def test_what_was_fitted_is_kept_with_the_weights(tmp_path: Path) -> None:
    frame = as_user(market_bars(3, 700))
    preparation = FeaturePreparation(features=FITTED).fit(frame)
    kept = preparation.selection
    assert kept is not None
    assert set(preparation.past + preparation.known) == set(kept.names)
    assert 1 <= len(kept.names) <= 4
    json.dumps(preparation.state())
    preparation.save(tmp_path)
    loaded = load_preparation(tmp_path)
    assert loaded.state() == preparation.state()
    assert loaded.panel(frame).fingerprint == preparation.panel(frame).fingerprint


def test_fitting_knows_nothing_after_the_training_period() -> None:
    bars = market_bars(3, 700)
    until = bars["ts"][500]
    late = pl.col("ts") >= until
    changed = bars.with_columns(
        pl.when(late).then(pl.col(name) * 3).otherwise(pl.col(name)).alias(name)
        for name in ("open", "high", "low", "close", "volume")
    )
    states = [
        FeaturePreparation(features=FITTED).fit_bars(one, until=until).state()
        for one in (bars, changed)
    ]
    assert states[0] == states[1]


def test_known_covariates_reach_over_the_horizon() -> None:
    bars = market_bars(2, 400)
    preparation = FeaturePreparation()
    whole = preparation.panel(as_user(bars))
    cut = preparation.panel(as_user(bars.filter(pl.col("ts") < bars["ts"][300])))
    window = cut.window(0, 100, 200, future=24)
    assert np.isnan(window.known_covariates[:, 200:]).all()
    ahead = preparation.ahead(window, 24)
    expected = whole.window(0, 100, 200, future=24)
    np.testing.assert_array_equal(ahead.future_timestamps, expected.future_timestamps)
    np.testing.assert_allclose(ahead.known_covariates, expected.known_covariates, atol=1e-6)
    np.testing.assert_array_equal(ahead.target, window.target)


def test_what_is_known_ahead_stays_as_it_is() -> None:
    bars = market_bars(1, 300)
    preparation = FeaturePreparation()
    window = preparation.panel(as_user(bars)).window(0, 0, 200, future=24)
    ahead = preparation.ahead(window, 24)
    np.testing.assert_array_equal(ahead.known_covariates, window.known_covariates)
    undated = Window(item_id="x", target=np.zeros((1, 9)), start=0, variate_names=("v",))
    assert preparation.ahead(undated, 5) is undated


def test_a_regular_frequency_is_continued() -> None:
    frame = as_user(market_bars(1, 60))
    frame["timestamp"] = pd.date_range("2024-01-01", periods=60, freq="D")
    preparation = FeaturePreparation()
    window = preparation.panel(frame).window(0, 0, 60, future=3)
    expected = pd.date_range("2024-03-01", periods=3).to_numpy()
    np.testing.assert_array_equal(preparation.ahead(window, 3).future_timestamps, expected)


def test_forecasts_are_restored_as_bars_are() -> None:
    forecast = pd.DataFrame(
        {"item_id": "A", "variate": "log_close", "mean": [1.0], "q0.5": [np.log(20.0)]}
    )
    assert FeaturePreparation().restore(forecast)["q0.5"].item() == pytest.approx(20)


def test_users_bars_become_the_lakes() -> None:
    bars = market_bars(3, 30)
    assert to_polars(as_user(bars)).equals(bars)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    frame = as_user(market_bars(1, 30))
    with pytest.raises(DataError, match="low"):
        FeaturePreparation().panel(frame.drop(columns="low"))
    constant = frame.assign(open=5.0, high=5.0, low=5.0, close=5.0)
    with pytest.raises(DataError, match="in all 30 bars"):
        FeaturePreparation().panel(constant)
    with pytest.raises(ConfigError, match="nearest are RSI"):
        FeaturePreparation(features={"indicators": [{"function": "RSJ"}]})
    preparation = FeaturePreparation(features=FeatureConfig(name="empty"))
    path = preparation.save(tmp_path)
    path.write_text(path.read_text().replace('"transforms"', '"transform"'))
    with pytest.raises((CheckpointError, ConfigError)):
        load_preparation(tmp_path)
