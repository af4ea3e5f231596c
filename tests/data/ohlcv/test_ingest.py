"""Ingest: everything readable gets in, everything else is named, nothing escapes."""

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from support.lake_bars import made_bars

from tsfm.data.ohlcv import bar_files
from tsfm.data.ohlcv.ingest import IngestConfig, IngestReport, ingest
from tsfm.data.ohlcv.lake import Change, Instrument, Lake
from tsfm.errors import ConfigError, DataError

HEADER = "ts,open,high,low,close,volume\n"
ROW = "2020-01-02 10:00:00,1,2,1,2,5\n"


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.create(tmp_path / "lake")


@pytest.fixture
def source(tmp_path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def take(source: Path, lake: Lake, **options) -> IngestReport:
    return ingest(source, lake, IngestConfig(asset_class="equity", freq="1h", **options))


def read(lake: Lake, *symbols: str) -> pl.DataFrame:
    names = symbols or lake.catalogue()["symbol"].to_list()
    return lake.read([Instrument(asset_class="equity", freq="1h", symbol=one) for one in names])


def told(report: IngestReport) -> list[tuple[str, int | None, str]]:
    return [(Path(one.path).name, one.row, one.what) for one in report.problems]


def test_parquet_comes_in_as_it_is_and_only_once(source, lake):
    bars = made_bars(("A", "B", "C"), 300)
    bars.write_parquet(source / "bars.parquet")
    report = take(source, lake)
    assert (report.files, report.rows, report.skipped, report.ok) == (1, 900, 0, True)
    assert report.change == Change(added=900)
    assert read(lake).equals(bars)
    assert take(source, lake).change == Change(unchanged=900)


@pytest.mark.parametrize("batch_rows", [7, 100, 1000])
def test_batches_do_not_change_the_outcome(source, lake, batch_rows):
    bars = made_bars(("A", "B", "C"), 100)
    bars.sort("ts").write_parquet(source / "by_time.parquet", row_group_size=20)
    bars.with_columns(symbol=pl.lit("D")).unique("ts").write_csv(source / "d.csv")
    seen = []
    config = IngestConfig(asset_class="equity", freq="1h", batch_rows=batch_rows)
    report = ingest(source, lake, config, lambda *counts: seen.append(counts))
    assert report.change.added == 400
    assert read(lake, "A", "B", "C").equals(bars)
    assert seen[-1] == (2, 2, 400)


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close,Volume,Ticker",
        "timestamp;o;h;l;c;v;symbol",
        "<DATETIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>\t<TICKER>",
        "Open Time|OPEN|high|Low|last|tick_volume|Instrument",
        "\ufeffts,open,high,low,close,volume,code",
    ],
)
def test_the_usual_names_and_delimiters_are_recognised(source, lake, header):
    delimiter = next(mark for mark in ",;\t|" if mark in header)
    row = delimiter.join(["2020-01-02 10:00:00", "1", "3", "0.5", "2", "7", "XYZ"])
    (source / "bars.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
    assert take(source, lake, timezone="UTC").problems == ()
    stamp = datetime(2020, 1, 2, 10, tzinfo=UTC)
    assert read(lake).rows() == [("XYZ", stamp, 1.0, 3.0, 0.5, 2.0, 7.0)]


def test_other_names_are_told_by_a_mapping(source, lake):
    (source / "x.csv").write_text("When,First,Top,Bottom,End\n2020-01-02,1,2,1,2\n")
    words = "ts:When, open:First,high:Top,low:Bottom,close:End"
    config = IngestConfig.from_text(asset_class="equity", freq="1h", columns=words, timezone="")
    report = ingest(source, lake, config)
    assert report.ok
    assert any("no column of volume" in note.what for note in report.notes)
    assert read(lake).row(0)[2:] == (1.0, 2.0, 1.0, 2.0, None)


@pytest.mark.parametrize("words", ["ts", "ts:", ":Date", "ts:A,ts:B", "vwap:V"])
def test_a_mapping_that_cannot_be_read_is_refused(words):
    with pytest.raises(ConfigError, match="columns"):
        IngestConfig.from_text(asset_class="equity", freq="1h", columns=words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": "Mars/Olympus"}, "Mars"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"delimiter": ",,"}, "delimiter"),
        ({"symbol": "../x"}, "symbol"),
        ({"freq": "1/h"}, "freq"),
    ],
)
def test_bad_configs_are_refused(options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        IngestConfig(**({"asset_class": "equity", "freq": "1h"} | options))


def test_a_symbol_comes_from_column_config_directory_or_file_name(source, lake):
    (source / "MSFT.csv").write_text(HEADER + ROW)
    with gzip.open(source / "GZ.F.csv.gz", "wt") as file:
        file.write(HEADER + ROW)
    nested = source / "symbol=BRK.B" / "year=2020"
    nested.mkdir(parents=True)
    made_bars(("ignored",), 3).drop("symbol").write_parquet(nested / "part.parquet")
    assert take(source, lake).ok
    assert lake.catalogue()["symbol"].to_list() == ["BRK.B", "GZ.F", "MSFT"]
    take(source / "MSFT.csv", lake, symbol="OTHER")
    assert "OTHER" in lake.catalogue()["symbol"]


def test_bad_rows_are_named_and_the_others_taken(source, lake):
    lines = [
        "2020-01-02 10:00,1,2,1,2,5",
        "2020-01-02 11:00,1,2,1,2,-5",
        "2020-01-02 12:00,1,2,1,2,5,9,9",
        "soon,1,2,1,2,5",
        "2020-01-02 14:00,1,2,1,two,5",
        "2020-01-02 15:00,1,2,,2,5",
        ",1,2,1,2,5",
        "2020-01-02 17:00,1,inf,1,2,5",
        "2020-01-02 18:00,,,,,",
        "2020-01-02 19:00,1,2",
    ]
    (source / "A.csv").write_text(HEADER + "\n".join(lines) + "\n")
    report = take(source, lake, timezone="UTC")
    found = {row: what.split(" (")[0] for _, row, what in told(report)}
    assert found == {
        1: "volume is negative",
        2: "the line has too many fields",
        3: "the date cannot be read, or is skipped as clocks go forward",
        4: "close is not a number",
        5: "some prices are missing",
        6: "the date is missing",
        7: "a price is not finite",
        9: "some prices are missing",
    }
    assert (report.rows, report.skipped, report.change.added) == (10, 8, 2)
    assert read(lake)["ts"].dt.hour().to_list() == [10, 18]
    assert any("volume -5" in what for _, _, what in told(report))


def test_many_bad_rows_of_a_kind_are_counted(source, lake):
    bars = made_bars(("A",), 100).with_columns(volume=pl.lit(-1))
    bars.write_parquet(source / "a.parquet")
    report = take(source, lake, batch_rows=30)
    assert [row for _, row, _ in told(report)] == [0, 1, 2, 3, 4, None]
    assert told(report)[-1][2] == "95 more rows: volume is negative"
    assert report.skipped == 100


@pytest.mark.parametrize("symbol", ["../../escaped", "a/b", ".", "", "x\x07", "..", "/root"])
def test_a_symbol_never_leaves_the_lake(source, lake, symbol):
    bars = made_bars(("GOOD", "BAD"), 10)
    named = pl.col("symbol").replace({"BAD": symbol})
    bars.with_columns(named).write_parquet(source / "bars.parquet")
    report = take(source, lake)
    assert report.change.added == 10
    assert report.skipped == 10
    assert told(report)[0][1] == 10
    written = list(lake.path.parents[0].rglob("part.parquet"))
    assert written
    assert all(
        lake.path / "asset_class=equity/freq=1h/symbol=GOOD" in one.parents for one in written
    )


def test_bad_files_are_named_and_the_others_taken(source, lake):
    made_bars(("GOOD",), 50).write_parquet(source / "good.parquet")
    whole = (source / "good.parquet").read_bytes()
    (source / "empty.csv").touch()
    (source / "empty.parquet").touch()
    (source / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (source / "text.parquet").write_text("hello")
    (source / "header.csv").write_text(HEADER)
    (source / "headless.csv").write_text("1,2,3\n4,5,6\n")
    (source / "twice.csv").write_text("ts,open,open,high,low,close\n")
    (source / "other.csv").write_text("a,b\n1,2\n")
    (source / "both.csv").write_text("ts,open,Open,high,low,close\n2020-01-01,1,1,1,1,1\n")
    (source / "bad..name.csv").write_text(HEADER + ROW)
    lists = made_bars(("L",), 5).with_columns(open=pl.concat_list("open"))
    lists.write_parquet(source / "lists.parquet")
    booleans = made_bars(("L",), 5).with_columns(ts=pl.lit(True))
    booleans.write_parquet(source / "booleans.parquet")
    report = take(source, lake)
    problems = {name: what for name, _, what in told(report)}
    expected = {
        "empty.csv": "0 bytes",
        "empty.parquet": "0 bytes",
        "cut.parquet": "cannot be read",
        "text.parquet": "cannot be read",
        "header.csv": "no rows",
        "headless.csv": "names no columns",
        "twice.csv": "twice",
        "other.csv": "no column is recognised as ts, open",
        "both.csv": "could both be open",
        "lists.parquet": "column open has type List",
        "booleans.parquet": "type Boolean",
        "bad..name.csv": "cannot name a directory",
    }
    for name, message in expected.items():
        assert message in problems.pop(name)
    assert problems == {}
    assert lake.catalogue()["symbol"].to_list() == ["GOOD"]


def test_a_column_that_is_damaged_in_the_middle_is_named(source, lake):
    made_bars(("A",), 20_000).write_parquet(source / "a.parquet", compression="zstd")
    content = bytearray((source / "a.parquet").read_bytes())
    content[len(content) // 3 : len(content) // 3 + 500] = b"\xff" * 500
    (source / "a.parquet").write_bytes(content)
    made_bars(("B",), 10).write_parquet(source / "b.parquet")
    report = take(source, lake)
    assert [name for name, *_ in told(report)] == ["a.parquet"]
    assert lake.catalogue()["symbol"].to_list() == ["B"]


def test_a_file_that_changes_while_it_is_read_is_named(source, lake, monkeypatch):
    (source / "A.csv").write_text(HEADER + ROW)
    (source / "B.csv").write_text(HEADER + ROW)
    reading = bar_files.read

    def touched(path, config):
        for batch in reading(path, config):
            if path.name == "A.csv":
                with path.open("a") as file:
                    file.write("2020-01-02 11:00:00,1,")
            yield batch

    monkeypatch.setattr(bar_files, "read", touched)
    report = take(source, lake)
    assert [(name, "changed while it was read" in what) for name, _, what in told(report)] == [
        ("A.csv", True)
    ]
    assert lake.catalogue()["symbol"].to_list() == ["B"]


def test_strict_refuses_at_the_first_problem(source, lake):
    (source / "A.csv").write_text(HEADER + ROW + "2020-01-02 11:00:00,1,2,1,2,-7\n")
    with pytest.raises(DataError, match=r"A\.csv, row 1.*"):
        take(source, lake, strict=True)
    assert lake.catalogue().is_empty()
    (source / "A.csv").write_text("")
    with pytest.raises(DataError, match="0 bytes"):
        take(source, lake, strict=True)


def test_the_last_path_counts_where_files_differ(source, lake):
    (source / "1.csv").write_text("symbol," + HEADER + "A," + ROW)
    (source / "2.csv").write_text("symbol," + HEADER + "A," + ROW.replace(",5", ",6"))
    assert take(source, lake).change == Change(added=1)
    assert read(lake)["volume"].to_list() == [6.0]


def test_a_source_that_is_no_source_is_refused(source, lake):
    with pytest.raises(DataError, match="no file of bars"):
        take(source, lake)
    with pytest.raises(DataError, match="does not exist"):
        take(source / "nothing.csv", lake)
    with pytest.raises(ConfigError, match="one within the other"):
        take(lake.path, lake)
    with pytest.raises(ConfigError, match="one within the other"):
        take(lake.path.parent, lake)
    (source / "x.docx").write_text("x")
    assert "are not read" in take(source / "x.docx", lake).problems[0].what
    (source / ".hidden.csv").write_text(HEADER + ROW)
    with pytest.raises(DataError, match="no file of bars"):
        take(source, lake)


def test_a_file_without_permission_is_named(source, lake, monkeypatch):
    (source / "A.csv").write_text(HEADER + ROW)
    (source / "B.csv").write_text(HEADER + ROW)
    stat = Path.stat

    def guarded(path, **options):
        if path.name == "A.csv" and not os.environ.get("READABLE"):
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    files = bar_files.find(source)
    monkeypatch.setattr(bar_files, "find", lambda _: files)
    monkeypatch.setattr(Path, "stat", guarded)
    report = take(source, lake)
    assert told(report) == [("A.csv", None, "the file cannot be read: Permission denied")]


def test_real_hourly_bars_of_five_stocks(shared, lake):
    path = shared / "data/ohlcv/us_equity_hourly.parquet"
    report = take(path, lake, timezone="America/New_York")
    frame = pl.read_parquet(path)
    assert (report.rows, report.problems) == (len(frame), ())
    assert report.change.added == frame.select(pl.struct("symbol", "ts").n_unique()).item()
    bars = read(lake, "SPY").with_columns(pl.col("ts").dt.convert_time_zone("America/New_York"))
    expected = frame.filter(pl.col("symbol") == "SPY").unique("ts", keep="last").sort("ts")
    assert (bars["ts"].dt.replace_time_zone(None) == expected["ts"]).all()
    assert (bars["close"] == expected["close"]).all()
    assert set(lake.catalogue()["timezone"]) == {"America/New_York"}
