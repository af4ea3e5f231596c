"""Parts: files written by hand are what libraries read, and what they would have written."""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.ohlcv import part
from tsfm.errors import DataError


def columns(rows: int, *, missing: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(rows)
    dates = 1_577_836_800_000_000 + rng.integers(1, 10**9, rows).cumsum()
    values = rng.normal(size=(5, rows))
    values[:, rng.random(rows) < missing] = np.nan
    return [dates, *values]


def expected(given_columns: list[np.ndarray]) -> pl.DataFrame:
    frame = pl.DataFrame(dict(zip(part.COLUMNS, given_columns)))
    return frame.with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC")), pl.col(part.VALUES).fill_nan(None)
    )


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, part.SMALL + 5), complete=st.booleans())
def test_three_libraries_read_what_was_written(tmp_path_factory, rows, complete):
    path = tmp_path_factory.mktemp("part") / "part.parquet"
    given_columns = columns(rows, missing=0 if complete else 0.2)
    part.write(str(path), given_columns, complete=complete, timezone="America/New_York")
    frame = expected(given_columns)
    assert pl.read_parquet(path).equals(frame)
    assert pl.from_arrow(parquet.read_table(path)).equals(frame)
    epochs = ", ".join(f"epoch_us(ts) AS ts, {', '.join(part.VALUES)}".split(", "))
    read = duckdb.sql(f"SELECT {epochs} FROM '{path}'").pl()
    assert read.equals(frame.with_columns(pl.col("ts").to_physical()))


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 127, 147, 8191, 8192, 8193])
@pytest.mark.parametrize("complete", [True, False])
def test_a_part_reads_back_bit_for_bit_with_its_digest(tmp_path, rows, complete):
    given_columns = columns(rows, missing=0 if complete else 0.3)
    path = tmp_path / "part.parquet"
    mark = part.write(str(path), given_columns, complete=complete, timezone="Asia/Kolkata")
    read = part.read(path)
    for before, after in zip(given_columns, read):
        np.testing.assert_array_equal(before.view(np.int64), after.view(np.int64))
    assert part.digest(read) == mark
    assert part.read_footer(path) == part.Part(
        first=given_columns[0][0],
        last=given_columns[0][-1],
        bars=rows,
        timezone="Asia/Kolkata",
        digest=mark,
    )


def test_the_quick_reader_takes_only_files_of_the_quick_writer(tmp_path):
    given_columns = columns(147)
    expected(given_columns).write_parquet(tmp_path / "polars.parquet", compression="uncompressed")
    for before, after in zip(given_columns, part.read(tmp_path / "polars.parquet")):
        np.testing.assert_array_equal(before, after)


def test_statistics_let_readers_skip_a_part(tmp_path):
    given_columns = columns(100)
    part.write(str(tmp_path / "p"), given_columns, complete=True, timezone="UTC")
    statistics = parquet.read_metadata(tmp_path / "p").row_group(0).column(0).statistics
    assert (statistics.min_raw, statistics.max_raw) == (given_columns[0][0], given_columns[0][-1])
    assert statistics.null_count == 0


def test_digests_depend_on_every_value(tmp_path):
    given_columns = columns(50)
    marks = {part.digest(given_columns)}
    for k in range(len(given_columns)):
        changed = [column.copy() for column in given_columns]
        changed[k][17] += 1
        marks.add(part.digest(changed))
    assert len(marks) == 7


def test_a_file_that_exists_is_never_written_over(tmp_path):
    path = tmp_path / "part.parquet"
    part.write(str(path), columns(5), complete=True, timezone="UTC")
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        part.write(str(path), columns(6), complete=True, timezone="UTC")
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 3, 11, 500, -1])
def test_a_damaged_part_is_named(tmp_path: Path, keep):
    path = tmp_path / "part.parquet"
    part.write(str(path), columns(50), complete=True, timezone="UTC")
    path.write_bytes(path.read_bytes()[:keep])
    for read in (part.read, part.read_footer):
        with pytest.raises(DataError, match=r"part\.parquet"):
            read(path)
