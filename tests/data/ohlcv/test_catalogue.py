"""The catalogue: quick, and right after crashes and by many writers."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from support.lake_bars import made_bars

from tsfm.data.ohlcv.catalogue import Catalogue, Facts
from tsfm.data.ohlcv.lake import Instrument, Lake

FACTS = Facts(first=1, last=2, bars=3, timezone="UTC", digest=2**128 - 1)


def one(symbol: str, freq: str = "1h") -> Instrument:
    return Instrument(asset_class="equity", freq=freq, symbol=symbol)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.create(tmp_path / "lake")


def fill(lake: Lake, bars: pl.DataFrame) -> None:
    lake.upsert_many(bars, asset_class="equity", freq="1h")


def fill_and_die(lake: Lake, bars: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are written, the catalogue is not."""

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Catalogue, "finish", die)
        with pytest.raises(RuntimeError):
            fill(lake, bars)


def catalogue_file(lake: Lake) -> Path:
    return lake.path.parent / ".lake.lake" / "catalogue.sqlite"


def test_rows_tell_what_the_lake_holds(lake):
    bars = made_bars(("B", "A"), 100)
    fill(lake, bars)
    lake.upsert(
        Instrument(asset_class="fx", freq="1d", symbol="EURUSD"),
        bars[:5].drop("symbol"),
        timezone="Europe/London",
    )
    frame = lake.catalogue()
    expected = bars.group_by("symbol").agg(
        first=pl.col("ts").min(), last=pl.col("ts").max(), bars=pl.len().cast(pl.Int64)
    )
    stocks = frame.filter(pl.col("asset_class") == "equity")
    assert stocks.select("symbol", "first", "last", "bars").equals(expected.sort("symbol"))
    assert frame.columns == [
        "asset_class", "freq", "symbol", "first", "last", "bars", "timezone", "digest",
    ]  # fmt: skip
    assert lake.catalogue(asset_class="fx")["timezone"].to_list() == ["Europe/London"]
    assert lake.catalogue(freq="1d")["symbol"].to_list() == ["EURUSD"]
    assert lake.catalogue(asset_class="fx", freq="1h").is_empty()


def test_ten_thousand_symbols_are_read_in_milliseconds(tmp_path):
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    catalogue.replace("id", {one(f"S{k:05d}"): FACTS for k in range(10_000)})
    elapsed = []
    for _ in range(5):
        begin = time.perf_counter()
        frame = catalogue.frame()
        elapsed.append(time.perf_counter() - begin)
    assert len(frame) == 10_000
    assert min(elapsed) < 0.25


def test_marks_outlive_their_writer(tmp_path):
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    catalogue.replace("id", {one("A"): FACTS})
    assert catalogue.begin([one("A"), one("B")]) == ({one("A"): FACTS}, set())
    assert catalogue.begin([one("B"), one("C")]) == ({}, {one("B")})
    assert sorted(catalogue.dirty()) == [one("A"), one("B"), one("C")]
    catalogue.finish({one("A"): None, one("B"): FACTS})
    assert catalogue.dirty() == [one("C")]
    assert catalogue.frame()["symbol"].to_list() == ["B"]
    assert catalogue.frame()["digest"].to_list() == ["f" * 32]


def test_what_a_killed_writer_left_is_listed_again(lake, monkeypatch):
    bars = made_bars(("A", "B"), 300)
    fill(lake, bars[:100])
    fill_and_die(lake, bars, monkeypatch)
    frame = Lake.open(lake.path).catalogue()
    assert frame["bars"].to_list() == [300, 300]
    lake.rebuild()
    assert lake.catalogue().equals(frame)


def test_a_writer_after_a_killed_one_lists_again_too(lake, monkeypatch):
    bars = made_bars(("A",), 300)
    fill_and_die(lake, bars[:200], monkeypatch)
    fill(lake, bars[150:])
    frame = lake.catalogue()
    assert frame["bars"].to_list() == [300]
    lake.rebuild()
    assert lake.catalogue().equals(frame)


def test_instruments_being_written_are_left_to_their_writer(lake):
    fill(lake, made_bars(("A",)))
    lake._catalogue.begin([one("A")])
    with ThreadPoolExecutor(1) as other, lake._sidecar.locked([one("A")]):
        assert len(other.submit(lake.catalogue).result()) == 1
        assert other.submit(lake._catalogue.dirty).result() == [one("A")]
    lake.catalogue()
    assert lake._catalogue.dirty() == []


@pytest.mark.parametrize("damage", ["lost", "emptied", "garbage", "cut", "other lake"])
def test_a_lost_or_damaged_catalogue_is_made_again(lake, damage):
    fill(lake, made_bars(("A", "B"), 300))
    before = lake.catalogue()
    path = catalogue_file(lake)
    if damage == "lost":
        path.unlink()
    elif damage == "other lake":
        Catalogue(path).replace("another", {one("X"): FACTS})
    else:
        content = path.read_bytes()
        cut = content[: len(content) // 2]
        path.write_bytes({"emptied": b"", "garbage": b"x" * 9000, "cut": cut}[damage])
    assert Lake.open(lake.path).catalogue().equals(before)


def test_a_writer_that_is_interrupted_in_sqlite_leaves_the_rows_before(tmp_path):
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    catalogue.replace("id", {one("A"): FACTS})
    database = sqlite3.connect(catalogue.path, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    database.execute("DELETE FROM instruments")
    assert catalogue.frame()["symbol"].to_list() == ["A"]
    database.close()
    assert catalogue.frame()["symbol"].to_list() == ["A"]


def test_parts_added_by_hand_are_seen_by_a_rebuild(lake):
    fill(lake, made_bars(("A",), 300))
    copy = lake.path / one("COPY").directory
    (lake.path / one("A").directory).rename(copy)
    lake.rebuild()
    assert lake.catalogue()["symbol"].to_list() == ["COPY"]
