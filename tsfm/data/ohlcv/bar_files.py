"""Files of bars as they come: found in directories, opened, read in batches."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.ohlcv.header import recognise
from tsfm.data.ohlcv.ingest_config import IngestConfig
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt")
PARQUET = (".parquet", ".pq")
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-"]
_LONGEST_HEADER = 1 << 20
_DELIMITERS = ",;\t|"
_SURPLUS = "surplus field"


def find(source: Path) -> list[Path]:
    """A file, or all files of bars below a directory in the order of their paths.

    Hidden files and directories are passed over.

    Raises
    ------
    DataError
        When there is none.
    """
    if not source.exists():
        raise DataError("the source does not exist", where=str(source))
    if source.is_file():
        return [source]
    paths = (path for path in source.rglob("*") if path.is_file() and _is_bars(path, source))
    if found := sorted(paths):
        return found
    raise DataError(
        "the directory has no file of bars",
        where=str(source),
        remedy=f"give files that end in {', '.join((*CSV, *PARQUET))}",
    )


def read(path: Path, config: IngestConfig) -> Iterator[pl.DataFrame]:
    """Batches with ``row`` and the columns of bars as the file has them.

    A column of dates and one of times are joined to one. Text fields that mean nothing are null; a
    line with too many fields has all null but ``surplus``, which is true there.

    Raises
    ------
    DataError
        When the file is empty, of another kind, damaged (also half way), or a column is missing.
    """
    import polars as pl

    kind = _suffix(path)
    if kind is None:
        raise DataError(f"files of kind {path.suffix or 'without suffix'} are not read")
    if path.stat().st_size == 0:
        raise DataError("the file is empty (0 bytes)")
    try:
        rows = _scan_parquet(path) if kind in PARQUET else _scan_csv(path, config)
        columns = recognise(
            [name for name in rows.collect_schema() if name not in ("row", "surplus")],
            config.columns,
            str(path),
        )
        chosen = [pl.col(source).alias(name) for name, source in columns.items()]
        rows = rows.select("row", "surplus", *chosen)
        yield from rows.collect_batches(chunk_size=config.batch_rows, maintain_order=True)
    except DataError:
        raise
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"the file cannot be read: {reason}") from error


def stem(path: Path) -> str:
    """The file's name without the suffix of its kind: ``BRK.B`` of ``BRK.B.csv.gz``."""
    return path.name[: -len(_suffix(path) or "")] if _suffix(path) else path.name


def _is_bars(path: Path, source: Path) -> bool:
    hidden = any(name.startswith((".", "_")) for name in path.relative_to(source).parts)
    return not hidden and _suffix(path) is not None


def _suffix(path: Path) -> str | None:
    return next((end for end in (*CSV, *PARQUET) if path.name.lower().endswith(end)), None)


def _scan_parquet(path: Path) -> pl.LazyFrame:
    import polars as pl

    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False, row_index_name="row")
    return rows.with_columns(surplus=pl.lit(False))


def _scan_csv(path: Path, config: IngestConfig) -> pl.LazyFrame:
    import polars as pl

    names, delimiter = _header(path, config.delimiter)
    rows = pl.scan_csv(
        path,
        glob=False,
        separator=delimiter,
        has_header=False,
        skip_lines=1,
        missing_columns="insert",
        schema=dict.fromkeys([*names, _SURPLUS], pl.String()),
        null_values=MISSING,
        truncate_ragged_lines=True,
        encoding="utf8-lossy",
        row_index_name="row",
    )
    rows = rows.with_columns(surplus=pl.col(_SURPLUS).is_not_null()).drop(_SURPLUS)
    text = pl.col(names)
    if delimiter == ";":
        rows = rows.with_columns(text.str.replace(r"^(-?\d+),(\d+)$", "$1.$2"))
    return rows.with_columns(text.str.strip_chars())


def _header(path: Path, delimiter: str | None) -> tuple[list[str], str]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rb") as stream:
        line = stream.readline(_LONGEST_HEADER).decode("utf-8-sig", "replace").rstrip("\r\n")
    chosen = delimiter or max(_DELIMITERS, key=line.count)
    names = [name.strip() for name in next(csv.reader([line], delimiter=chosen), [])]
    if not any(any(letter.isalpha() for letter in name) for name in names):
        raise DataError(
            f"the first line names no columns: {line[:80]!r}",
            remedy="give the file a header line, such as ts,open,high,low,close,volume",
        )
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"columns {', '.join(map(repr, repeated))} are named twice")
    return names, chosen
