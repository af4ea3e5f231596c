"""The lake: what upserts leave behind, and who can read it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lake_bars import VALUES, made_bars

from tsfm.data.ohlcv.lake import Change, Instrument, Lake
from tsfm.errors import ConfigError, DataError

START = datetime(2020, 1, 20, tzinfo=UTC)


def one(symbol: str) -> Instrument:
    return Instrument(asset_class="equity", freq="1h", symbol=symbol)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.create(tmp_path / "lake")


def fill(lake: Lake, bars: pl.DataFrame, timezone: str = "UTC") -> Change:
    return lake.upsert_many(bars, asset_class="equity", freq="1h", timezone=timezone)


def test_the_layout_is_exactly_the_one_promised(lake):
    fill(lake, made_bars(("AAPL",), 100))
    names = sorted(path.relative_to(lake.path).as_posix() for path in lake.path.rglob("*.parquet"))
    root = "asset_class=equity/freq=1h/symbol=AAPL/year=2020"
    assert names == [f"{root}/month=01/part.parquet", f"{root}/month=02/part.parquet"]
    frame = pl.read_parquet(lake.path / names[0], hive_partitioning=False)
    assert dict(frame.schema) == {
        "ts": pl.Datetime("us", "UTC"),
        **dict.fromkeys(VALUES, pl.Float64()),
    }
    assert frame["ts"].dt.month().unique().to_list() == [1]
    assert lake.months(one("AAPL")) == [(2020, 1), (2020, 2)]


def test_what_is_read_is_what_was_written_in_any_order(lake):
    bars = made_bars(("B", "A", "C"), 300)
    change = fill(lake, bars.sample(fraction=1, shuffle=True, seed=1))
    assert change == Change(added=900)
    assert lake.read([one("B"), one("A"), one("C")]).equals(bars)
    assert lake.read(one("A")).equals(bars.filter(pl.col("symbol") == "A"))


def test_ranges_and_columns_are_cut_as_asked(lake):
    bars = made_bars(("A",), 500)
    fill(lake, bars)
    start, stop = START + timedelta(days=20), START + timedelta(days=50)
    wanted = bars.filter(pl.col("ts").is_between(start, stop, closed="left"))
    assert lake.read(one("A"), start, stop).equals(wanted)
    text = lake.read(one("A"), "2020-02-09", "2020-03-10", columns=["close"])
    assert text.equals(wanted.select("symbol", "close"))
    assert lake.read(one("A"), "2031-01-01").is_empty()


def test_the_same_rows_twice_are_there_once_and_nothing_is_rewritten(lake):
    bars = made_bars()
    fill(lake, bars)
    files = {path: path.stat().st_mtime_ns for path in lake.path.rglob("*.parquet")}
    fingerprint = lake.fingerprint()
    assert fill(lake, bars) == Change(unchanged=400)
    assert {path: path.stat().st_mtime_ns for path in lake.path.rglob("*.parquet")} == files
    assert lake.fingerprint() == fingerprint


def test_a_corrected_bar_replaces_the_old_one(lake):
    bars = made_bars(("A",), 100)
    fill(lake, bars)
    corrected = bars[40:42].with_columns(close=pl.Series([7.0, None], dtype=pl.Float64))
    corrected = corrected.with_columns(
        pl.when(pl.col("close").is_null()).then(None).otherwise(pl.col(VALUES)).name.keep()
    )
    assert fill(lake, corrected) == Change(replaced=2)
    assert lake.read(one("A")).equals(pl.concat([bars[:40], corrected, bars[42:]]))


def test_of_a_date_given_twice_the_last_row_counts(lake):
    bars = made_bars(("A",), 10)
    later = bars.with_columns(volume=pl.lit(3.0))
    assert fill(lake, pl.concat([bars, later])) == Change(added=10)
    assert lake.read(one("A")).equals(later)


@settings(max_examples=15, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 290), st.integers(1, 120), st.integers(0, 2)),
        min_size=1,
        max_size=5,
    )
)
def test_any_sequence_of_upserts_equals_a_dictionary(tmp_path_factory, pieces):
    lake = Lake.create(tmp_path_factory.mktemp("lakes") / "lake")
    versions = [made_bars(("A", "B"), 300, seed=seed) for seed in range(3)]
    held: dict[tuple, tuple] = {}
    for first, count, version in pieces:
        piece = (
            versions[version]
            .group_by("symbol", maintain_order=True)
            .map_groups(lambda rows, first=first, count=count: rows[first : first + count])
        )
        rows = {row[:2]: row[2:] for row in piece.rows()}
        expected = Change(
            added=len(rows.keys() - held.keys()),
            replaced=sum(key in held and held[key] != row for key, row in rows.items()),
            unchanged=sum(held.get(key) == row for key, row in rows.items()),
        )
        assert fill(lake, piece) == expected
        held |= rows
    assert lake.read([one("A"), one("B")]).rows() == [
        (*key, *values) for key, values in sorted(held.items())
    ]
    before = lake.catalogue()
    assert before["bars"].sum() == len(held)
    lake.rebuild()
    assert lake.catalogue().equals(before)


def test_the_fingerprint_is_of_the_content(tmp_path):
    bars = made_bars(("A", "B"), 300)
    lakes = [Lake.create(tmp_path / str(k)) for k in range(3)]
    fill(lakes[0], bars)
    for rows in (bars[450:], bars[:200], bars[100:500]):
        fill(lakes[1], rows)
    fill(lakes[2], bars.with_columns(volume=pl.col("volume") + (pl.col("volume") == 17.0)))
    fill(lakes[2], bars[:-1])
    assert lakes[0].fingerprint() == lakes[1].fingerprint()
    fill(lakes[1], bars[:1].with_columns(volume=pl.lit(0.5)))
    assert lakes[0].fingerprint() != lakes[1].fingerprint()


def test_other_engines_read_the_directory_as_hive_partitions(lake):
    bars = made_bars(("AAPL", "BRK.B", "005930"), 200)
    fill(lake, bars)
    engines = {
        "polars, directory": pl.scan_parquet(lake.path, hive_partitioning=True),
        "polars, pattern": pl.scan_parquet(lake.path / "**/*.parquet", hive_partitioning=True),
        "ours": lake.scan(),
    }
    for name, frame in engines.items():
        total = frame.filter(pl.col("asset_class") == "equity").select(pl.col("volume").sum())
        assert total.collect().item() == bars["volume"].sum(), name
    months = duckdb.sql(
        f"""SELECT symbol, year::INT, month::INT, count(*), sum(volume)
        FROM read_parquet('{lake.path}/**/*.parquet', hive_partitioning=true)
        WHERE freq = '1h' GROUP BY ALL ORDER BY ALL"""
    )
    counted = bars.group_by(
        "symbol", pl.col("ts").dt.year().alias("y"), pl.col("ts").dt.month().alias("m")
    ).agg(pl.len(), pl.col("volume").sum())
    assert months.fetchall() == sorted(counted.rows())
    columns = lake.scan(asset_class="equity", freq="1h").collect_schema()
    assert columns["symbol"] == pl.String
    assert columns["month"] == pl.Int8


def test_nothing_but_partitions_disturbs_readers(lake):
    fill(lake, made_bars())
    others = [
        path for path in lake.path.rglob("*") if path.is_file() and path.name != "part.parquet"
    ]
    assert all(path.name.startswith("_") and path.stat().st_size == 0 for path in others)


def test_an_empty_lake_scans_to_no_rows(lake):
    assert lake.scan().collect().is_empty()
    assert lake.catalogue().is_empty()
    assert fill(lake, made_bars()[:0]) == Change()


def test_the_time_zone_of_the_source_is_kept_in_the_part_and_the_catalogue(lake):
    fill(lake, made_bars(("A",)), timezone="America/New_York")
    (part, *_) = sorted(lake.path.rglob("*.parquet"))
    assert pl.read_parquet_metadata(part)["tsfm.timezone"] == "America/New_York"
    assert lake.catalogue()["timezone"].to_list() == ["America/New_York"]
    lake.rebuild()
    assert lake.catalogue()["timezone"].to_list() == ["America/New_York"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume": pl.lit(-1.0)}, "volume is negative"),
        ({"high": pl.lit(float("inf"))}, "not finite"),
        ({"low": pl.lit(None, pl.Float64)}, "some prices are missing"),
        ({"open": pl.lit("1")}, "types"),
        ({"ts": pl.col("ts").dt.replace_time_zone(None)}, "types"),
        ({"ts": pl.lit(None, pl.Datetime("us", "UTC"))}, "ts"),
        ({"ts": pl.col("ts").dt.offset_by("-500y")}, "1900"),
        ({"symbol": pl.lit("../../x")}, "cannot name"),
        ({"symbol": pl.lit(None, pl.String)}, "symbol"),
    ],
)
def test_bars_that_break_the_schema_are_refused_and_nothing_is_written(lake, change, message):
    with pytest.raises(DataError, match=message):
        fill(lake, made_bars().with_columns(**change))
    assert not list(lake.path.parent.rglob("*.parquet"))
    assert lake.catalogue().is_empty()


def test_a_missing_column_is_named(lake):
    with pytest.raises(DataError, match="volume"):
        fill(lake, made_bars().drop("volume"))


def test_what_is_not_there_is_named(lake, tmp_path):
    with pytest.raises(DataError, match="equity/1h/NONE"):
        lake.read(one("NONE"))
    fill(lake, made_bars(("A",)))
    with pytest.raises(ConfigError, match="vwap"):
        lake.read(one("A"), columns=["vwap"])
    with pytest.raises(ConfigError, match="tomorrow"):
        lake.read(one("A"), "tomorrow")
    with pytest.raises(DataError, match="no lake"):
        Lake.open(tmp_path / "nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DataError, match="not empty"):
        Lake.create(tmp_path / "full")


def test_a_lake_is_known_by_its_marker(lake, tmp_path):
    assert Lake.is_lake(lake.path)
    assert not Lake.is_lake(tmp_path)
    assert Lake.create(lake.path).path == lake.path


def test_a_lake_that_is_moved_takes_its_bars_along(lake, tmp_path):
    fill(lake, made_bars())
    fingerprint = lake.fingerprint()
    moved = lake.path.rename(tmp_path / "elsewhere")
    assert Lake.open(moved).fingerprint() == fingerprint
    other = Lake.create(tmp_path / "lake")
    assert other.catalogue().is_empty()


def test_a_damaged_part_is_named_on_reading(lake):
    fill(lake, made_bars(("A",)))
    damaged = sorted(lake.path.rglob("*.parquet"))[1]
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(DataError, match="month=02"):
        lake.read(one("A"))


def test_no_space_left_is_told_and_the_lake_stays_whole(lake, monkeypatch):
    from tsfm.data.ohlcv import part

    bars = made_bars(("A",), 400)
    fill(lake, bars[:300])
    before = lake.read(one("A"))
    write = part.write
    calls = iter(range(100))

    def full(path, columns, **options):
        if next(calls) == 1:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device", path)
        return write(path, columns, **options)

    monkeypatch.setattr(part, "write", full)
    with pytest.raises(DataError, match="No space left"):
        fill(lake, bars)
    monkeypatch.undo()
    after = lake.read(one("A"))
    assert after.height >= before.height
    assert lake.catalogue()["bars"].to_list() == [after.height]
    fill(lake, bars)
    assert lake.read(one("A")).equals(bars)
    assert not list((lake.path.parent / ".lake.lake" / "staging").iterdir())


def test_writers_at_once_lose_nothing(lake):
    bars = made_bars(("A", "B"), 400)
    shares = [bars.filter(pl.int_range(pl.len()) % 4 == k) for k in range(4)]

    def write(share: pl.DataFrame) -> None:
        other = Lake.open(lake.path)
        for first in range(0, len(share), 50):
            fill(other, share[first : first + 50])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, shares))
    assert lake.read([one("A"), one("B")]).equals(bars)
    catalogue = lake.catalogue()
    assert catalogue["bars"].to_list() == [400, 400]
    lake.rebuild()
    assert lake.catalogue().equals(catalogue)
