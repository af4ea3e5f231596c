"""The market's basket and ranks: equal to pandas, whatever comes in which batch."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.market_bars import market_bars, with_gaps

from tsfm.data.ohlcv import ranks as ranks_module
from tsfm.data.ohlcv.cross_section import Market, MarketBuilder, market_table
from tsfm.data.ohlcv.features import Features
from tsfm.data.ohlcv.features_config import FeatureConfig, MarketConfig
from tsfm.data.ohlcv.ranks import among, percentile_ranks, union
from tsfm.errors import ConfigError, DataError

CONFIG = FeatureConfig.load(
    {
        "market": {
            "window": 20,
            "features": ["basket_return", "correlation", "beta"],
            "ranks": [{"kind": "log_return", "window": 3}, {"kind": "volume_z", "window": 20}],
        },
        "transforms": [{"kind": "log_return", "window": 3}, {"kind": "volume_z", "window": 20}],
    }
)


def built(bars: pl.DataFrame, directory: Path, batch: int) -> Market:
    builder = MarketBuilder(CONFIG.market, directory)
    symbols = bars["symbol"].unique(maintain_order=True).to_list()
    for first in range(0, len(symbols), batch):
        builder.add(bars.filter(pl.col("symbol").is_in(symbols[first : first + batch])))
    return builder.finish()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(st.none(), st.floats(-4, 4, width=32), st.integers(-2, 2)),
            min_size=1,
            max_size=9,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_ranks_are_those_of_pandas(rows: list) -> None:
    width = max(map(len, rows))
    padded = [
        [np.nan if v is None else v for v in row + [None] * (width - len(row))] for row in rows
    ]
    values = np.array(padded, np.float32)
    expected = pd.DataFrame(values).rank(axis=1, pct=True).to_numpy(np.float32)
    percentile_ranks(values)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_ranks_in_stretches_and_batches_are_those_of_pandas_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(ranks_module, "VALUES_AT_ONCE", 500)
    bars = with_gaps(market_bars(7, 300))
    table = Features(CONFIG).compute(bars, built(bars, tmp_path, batch)).to_pandas()
    for name in ("log_return_3", "volume_z_20"):
        expected = table.groupby("ts")[name].rank(pct=True)
        np.testing.assert_allclose(table[f"rank_{name}"], expected, rtol=0, atol=1e-7)
        assert expected.notna().sum() > 1000


def test_the_basket_is_the_mean_of_the_others(tmp_path: Path) -> None:
    bars = with_gaps(market_bars(5, 200))
    ours = Features(CONFIG).compute(bars, built(bars, tmp_path, 2)).to_pandas()
    seen = bars.to_pandas().dropna(subset="close")
    seen["own"] = np.log(seen["close"]).groupby(seen["symbol"]).diff()
    wide = seen.pivot_table(index="ts", columns="symbol", values="own")
    for symbol, rows in seen.groupby("symbol"):
        others = wide.drop(columns=symbol).mean(axis=1)
        pair = pd.DataFrame({"own": rows.set_index("ts")["own"]})
        pair["basket"] = others.reindex(pair.index).where(pair["own"].notna())
        rolling = pair.rolling(20, min_periods=10)
        got = ours[ours["symbol"] == symbol].set_index("ts").reindex(pair.index)
        covariance = rolling["own"].cov(pair["basket"], ddof=0)
        beta = covariance / rolling["basket"].var(ddof=0)
        after = slice(25, None)
        np.testing.assert_allclose(got["beta_20"][after], beta[after], rtol=1e-5)
        correlation = pair["own"].rolling(20, min_periods=10).corr(pair["basket"])
        np.testing.assert_allclose(got["correlation_20"][after], correlation[after], rtol=1e-4)
        total = 20 * rolling["basket"].mean()
        np.testing.assert_allclose(got["basket_return_20"][after], total[after], atol=1e-7)


def test_nothing_depends_on_the_size_of_batches(tmp_path: Path) -> None:
    bars = with_gaps(market_bars(6, 250))
    tables = [
        Features(CONFIG).compute(bars, built(bars, tmp_path / str(batch), batch))
        for batch in (1, 4, 6)
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_a_market_of_one_knows_no_others(tmp_path: Path) -> None:
    bars = market_bars(1, 100)
    table = Features(CONFIG).compute(bars, built(bars, tmp_path, 1))
    assert table["correlation_20"].is_null().all()
    assert table["basket_return_20"].is_null().all()
    assert set(table["rank_log_return_3"].drop_nulls().to_list()) == {1.0}


def test_without_a_market_its_features_are_null() -> None:
    table = Features(CONFIG).compute(market_bars(2, 100))
    assert table.select(CONFIG.market.names).null_count().row(0) == (193,) * 5


def test_a_symbol_twice_or_unknown_is_refused(tmp_path: Path) -> None:
    bars = market_bars(3, 100)
    builder = MarketBuilder(CONFIG.market, tmp_path / "a")
    builder.add(bars)
    with pytest.raises(DataError, match="S1"):
        builder.add(bars.filter(symbol="S1"))
    market = built(bars.filter(pl.col("symbol") != "S2"), tmp_path / "b", 2)
    with pytest.raises(DataError, match="'S2' is not in the market"):
        Features(CONFIG).compute(bars, market)


def test_a_market_is_read_from_a_lake_in_batches(tmp_path: Path) -> None:
    bars = market_bars(5, 150)
    sizes = []

    class Lake:
        def read(self, instruments):
            sizes.append(len(instruments))
            return bars.filter(pl.col("symbol").is_in(list(instruments)))

    symbols = bars["symbol"].unique(maintain_order=True).to_list()
    market = market_table(
        Lake(),
        symbols,
        CONFIG,
        directory=tmp_path / "a",
        assets_per_batch=2,  # type: ignore
    )
    assert sizes == [2, 2, 1]
    expected = Features(CONFIG).compute(bars, built(bars, tmp_path / "b", 5))
    assert Features(CONFIG).compute(bars, market).equals(expected)
    assert market.basket["members"].max() == 5


@settings(max_examples=30, deadline=None)
@given(times=st.sets(st.integers(0, 30)), stamps=st.sets(st.integers(0, 30)))
def test_stamps_are_found_among_times(times: set[int], stamps: set[int]) -> None:
    all_times, some = np.array(sorted(times), int), np.array(sorted(stamps), int)
    place, found = among(all_times, some)
    assert all_times[place].tolist() == sorted(times & stamps) == some[found].tolist()
    assert union([all_times, some, some]).tolist() == sorted(times | stamps)


@pytest.mark.parametrize(
    "values",
    [
        {"window": 2},
        {"features": ["alpha"]},
        {"features": "beta"},
        {"ranks": [{"kind": "rsi", "window": 3}]},
        {"ranks": [{"kind": "volume_z"}]},
    ],
)
def test_impossible_markets_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError):
        MarketConfig(**values)
