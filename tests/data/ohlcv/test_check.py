"""The quality report of a lake."""

import json
from pathlib import Path

import polars as pl
import pytest
from support.hourly_bars import NEW_YORK, stock

from tsfm.data.ohlcv.check import check_lake
from tsfm.data.ohlcv.cleaning_config import CleaningConfig
from tsfm.data.ohlcv.corporate_actions import split_table
from tsfm.data.ohlcv.lake import Instrument, Lake
from tsfm.errors import ConfigError, DataError

SPLIT = 60 * 7


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.create(tmp_path / "market")
    later = pl.int_range(pl.len()) >= SPLIT
    prices = pl.col("open", "high", "low", "close")
    bars = {
        "SOUND": stock(seed=1),
        "SPLIT": stock(seed=2).with_columns(
            pl.when(later).then(prices / 2).otherwise(prices),
            pl.when(later).then(pl.col("volume") * 2).otherwise(pl.col("volume")),
        ),
        "GAPS": stock(seed=3).filter(pl.int_range(pl.len()) % 100 != 50),
    }
    for symbol, frame in bars.items():
        name = Instrument(asset_class="equity", freq="1h", symbol=symbol)
        lake.upsert(name, frame, timezone=NEW_YORK)
    return lake


def test_counts_coverage_and_facts(lake: Lake) -> None:
    seen: list[tuple[int, int]] = []
    report = check_lake(lake, progress=lambda done, total: seen.append((done, total)))
    series = {one.name.split("/")[-1]: one for one in report.series}
    assert series["SOUND"].counts == {}
    assert series["SPLIT"].counts == {"split": 1}
    assert series["GAPS"].counts == {"missing": 8}
    assert report.counts == {"missing": 8, "split": 1}
    assert seen == [(1, 3), (2, 3), (3, 3)]
    bars = stock(seed=2)
    assert (series["SPLIT"].first, series["SPLIT"].last) == (bars["ts"][0], bars["ts"][-1])
    assert series["SPLIT"].facts["splits"] == f"{bars['ts'][SPLIT]:%Y-%m-%d} 2:1 (split)"
    assert series["SOUND"].facts["sessions"] == "Mon-Fri 09:00-15:00 (7 bars a day)"
    assert series["SOUND"].facts["time zone"] == NEW_YORK
    months = bars["ts"].dt.strftime("%Y-%m").value_counts(sort=False).sort("ts")["count"]
    assert series["SOUND"].coverage.observed.tolist() == months.to_list()
    assert series["GAPS"].rows == len(bars)
    assert series["GAPS"].observed == len(bars) - 8
    assert report.facts["fingerprint"] == lake.fingerprint()


def test_the_lake_is_not_changed(lake: Lake) -> None:
    before = lake.fingerprint()
    check_lake(lake)
    assert lake.fingerprint() == before


def test_some_instruments_and_a_table(lake: Lake) -> None:
    bars = stock(seed=2)
    table = split_table(
        pl.DataFrame(
            {
                "symbol": ["SPLIT", "SOUND"],
                "date": [bars["ts"][SPLIT].date(), bars["ts"][SPLIT].date()],
                "ratio": [2.0, 2.0],
            }
        )
    )
    report = check_lake(lake, splits=table, symbols=["SPLIT", "SOUND"])
    assert [one.counts for one in report.series] == [{"split_absent": 1}, {"split": 1}]
    with pytest.raises(DataError, match="nothing to check"):
        check_lake(lake, symbols=["NOBODY"])


def test_a_damaged_part_is_named_and_the_rest_is_checked(lake: Lake) -> None:
    part = next(iter((lake.path / "asset_class=equity/freq=1h/symbol=GAPS").rglob("*.parquet")))
    part.write_bytes(part.read_bytes()[:200])
    report = check_lake(lake)
    assert report.unreadable == ["equity/1h/GAPS"]
    assert report.counts == {"split": 1, "unreadable": 1}
    assert "equity/1h/GAPS" in report.to_html()


def test_strictness_does_not_stop_a_look(lake: Lake) -> None:
    assert check_lake(lake, CleaningConfig(strict=True)).repairs == 9


def test_an_unknown_exchange(lake: Lake) -> None:
    pytest.importorskip("exchange_calendars")
    with pytest.raises(ConfigError, match="sessions='NOWHERE'"):
        check_lake(lake, CleaningConfig(sessions="NOWHERE"))


def test_the_written_report(lake: Lake, tmp_path: Path) -> None:
    page, state = check_lake(lake).write(tmp_path / "report")
    assert "Quality of market" in page.read_text()
    assert json.loads(state.read_text())["totals"]["series"] == 3
