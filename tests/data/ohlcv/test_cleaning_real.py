"""Cleaning on real bars of 23 years: splits, bad prints and crashes that really happened."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.hourly_bars import NEW_YORK

from tsfm.data.ohlcv.cleaning import Cleaned, clean
from tsfm.data.ohlcv.cleaning_config import REPAIRS, CleaningConfig
from tsfm.data.ohlcv.corporate_actions import read_splits
from tsfm.data.ohlcv.sessions import Sessions

DIRECTORY = Path(__file__).parents[4] / "shared" / "data" / "ohlcv"
SYMBOLS = ("AAPL", "AIG", "BAC", "IBM", "SPY")

pytestmark = pytest.mark.skipif(
    not DIRECTORY.exists(), reason="the real bars are not beside this checkout"
)


@lru_cache(maxsize=1)
def real() -> pl.DataFrame:
    bars = pl.read_parquet(DIRECTORY / "us_equity_hourly.parquet")
    moments = pl.col("ts").dt.replace_time_zone(NEW_YORK).dt.convert_time_zone("UTC")
    return bars.with_columns(moments, pl.col("volume").cast(pl.Float64)).sort("symbol", "ts")


def of(symbol: str) -> tuple[pl.DataFrame, Sessions]:
    bars = real().filter(pl.col("symbol") == symbol).drop("symbol")
    return bars, Sessions.learn(bars["ts"], "1h", timezone=NEW_YORK)


@lru_cache(maxsize=8)
def cleaned(symbol: str) -> Cleaned:
    bars, sessions = of(symbol)
    return clean(bars, sessions=sessions)


def test_every_listed_split_is_found_by_the_rule_and_none_else() -> None:
    listed = read_splits(DIRECTORY / "us_equity_splits.csv")
    found = {
        (symbol, one.at.date(), one.what.split("divided by ")[1])
        for symbol in SYMBOLS
        for one in cleaned(symbol).findings
        if one.kind == "split" and one.at
    }
    trading = real().select("symbol", pl.col("ts").dt.date().alias("day")).unique().sort("day")
    expected = {
        (
            symbol,
            trading.filter((pl.col("symbol") == symbol) & (pl.col("day") > last))["day"][0],
            f"{ratio:g}",
        )
        for symbol, last, ratio in listed.rows()
    }
    assert found == expected


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_table_and_the_rule_give_the_same_bars(symbol: str) -> None:
    bars, sessions = of(symbol)
    listed = read_splits(DIRECTORY / "us_equity_splits.csv").filter(pl.col("symbol") == symbol)
    by_table = clean(bars, sessions=sessions, splits=listed)
    assert_frame_equal(by_table.bars, cleaned(symbol).bars, check_exact=True)
    again = clean(by_table.bars, sessions=sessions, splits=listed)
    assert_frame_equal(again.bars, by_table.bars, check_exact=True)


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("adjust", ["forward", "backward"])
def test_cleaning_again_with_sessions_learnt_again_changes_nothing(
    symbol: str, adjust: str
) -> None:
    bars, sessions = of(symbol)
    config = CleaningConfig(adjust=adjust)  # type: ignore[arg-type]
    once = clean(bars, config, sessions=sessions).bars
    learnt = Sessions.learn(once.drop_nulls("close")["ts"], "1h", timezone=NEW_YORK)
    twice = clean(once, config, sessions=learnt)
    assert not set(twice.counts) & set(REPAIRS)
    assert_frame_equal(twice.bars, once, check_exact=True)


def is_observed(symbol: str, local: str) -> bool:
    moment = (
        pl.Series([local])
        .str.to_datetime()
        .dt.replace_time_zone(NEW_YORK)
        .dt.convert_time_zone("UTC")[0]
    )
    return cleaned(symbol).bars.filter(pl.col("ts") == moment)["close"][0] is not None


@pytest.mark.parametrize(
    ("symbol", "moment"),
    [
        ("SPY", "2010-05-06T14:00"),
        ("AAPL", "2015-08-24T09:00"),
        ("AAPL", "2000-09-29T09:00"),
        ("AIG", "2008-09-16T09:00"),
        ("IBM", "2020-03-13T09:00"),
    ],
)
def test_flash_crashes_and_news_are_kept(symbol: str, moment: str) -> None:
    assert is_observed(symbol, moment)


@pytest.mark.parametrize(
    ("symbol", "moment"),
    [
        ("AAPL", "2009-09-21T09:00"),
        ("AIG", "2009-05-05T14:00"),
        ("IBM", "2002-12-23T09:00"),
        ("BAC", "2001-11-12T15:00"),
        ("SPY", "2005-09-06T15:00"),
    ],
)
def test_bad_prints_are_unobserved(symbol: str, moment: str) -> None:
    assert not is_observed(symbol, moment)


def test_little_is_lost() -> None:
    for symbol in SYMBOLS:
        counts = cleaned(symbol).counts
        assert set(counts) <= {"missing", "spike", "split"}
        assert counts["spike"] < 0.002 * len(cleaned(symbol).bars)
