"""One Parquet file of a lake: the bars of one instrument in one month.

Libraries need 300 to 600 µs for a file, however small it is. A month of hourly bars is 7 kB, so
small months without missing values are written by hand: Parquet's plain encoding is the columns'
own memory, and all bytes around it depend on the number of rows only (but for the dates, the digest
and the time zone, whose places are known). Anything else goes through pyarrow, compressed.
Format: https://github.com/apache/parquet-format.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import xxhash

from tsfm.data.ohlcv.thrift import Long, Value, encode, varint
from tsfm.errors import DataError

VALUES = ("open", "high", "low", "close", "volume")
COLUMNS = ("ts", *VALUES)
FILE_NAME = "part.parquet"
SMALL = 8192
_AT_ONCE = 1 << 16

_MAGIC = b"PAR1"
_TIMEZONE, _DIGEST = b"tsfm.timezone", b"tsfm.digest"
_LAST, _FIRST, _MARK = b"<last..>", b"<first.>", b"<digest>" * 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the footer of a part tells without reading its bars.

    Attributes
    ----------
    first, last
        Microseconds since 1970 UTC of the first and last bar.
    bars
        Rows.
    timezone
        Of the source.
    digest
        See :func:`digest`.
    """

    first: int
    last: int
    bars: int
    timezone: str
    digest: int


def digest(columns: Sequence[np.ndarray]) -> int:
    """A 128-bit hash of bars: the same for the same bars, however they were written.

    Parameters
    ----------
    columns
        ``ts`` as ``int64 [row]`` microseconds, then five ``float64 [row]``, NaN where missing.
    """
    state = xxhash.xxh3_128()
    for column in columns:
        state.update(column.data)
    return state.intdigest()


def write(path: str, columns: Sequence[np.ndarray], *, complete: bool, timezone: str) -> int:
    """Write a new file and return its :func:`digest`.

    Parameters
    ----------
    path
        Must not exist.
    columns
        As for :func:`digest`, contiguous, in the order of :data:`COLUMNS`.
    complete
        No value is missing.
    timezone
        Of the source, kept in the footer.
    """
    mark = digest(columns)
    if complete and len(columns[0]) <= SMALL:
        _write_plain(path, columns, mark, timezone)
    else:
        _write_compressed(path, columns, mark, timezone)
    return mark


def read(path: str | Path) -> list[np.ndarray]:
    """The columns of a part, as :func:`digest` takes them.

    Raises
    ------
    DataError
        When the file is not a part of a lake, or damaged.
    """
    dates, *values = np.ascontiguousarray(read_bits(path))
    return [dates, *(column.view(float) for column in values)]


def read_bits(path: str | Path) -> np.ndarray:
    """The columns of a part, ``int64 [column, row]``: dates, and the bits of the other numbers.

    Raises
    ------
    DataError
        When the file is not a part of a lake, or damaged.
    """
    try:
        content = _content(path)
        found = _read_plain(content)
        return _read_any(content) if found is None else found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(Path(path), error) from error


def _content(path: str | Path) -> bytes:
    """A file's bytes, with as few system calls as a small one needs."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(file, _AT_ONCE)
        if len(content) < _AT_ONCE:
            return content
        with open(file, "rb", closefd=False) as rest:
            return content + rest.read()
    finally:
        os.close(file)


def read_footer(path: str | Path) -> Part:
    """The facts of a part.

    Raises
    ------
    DataError
        When the file is not a part of a lake, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        metadata = parquet.read_metadata(path)
        notes = metadata.metadata
        dates = [metadata.row_group(k).column(0).statistics for k in range(metadata.num_row_groups)]
        return Part(
            first=min(statistics.min_raw for statistics in dates),
            last=max(statistics.max_raw for statistics in dates),
            bars=metadata.num_rows,
            timezone=notes[_TIMEZONE].decode(),
            digest=int(notes[_DIGEST], 16),
        )
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(Path(path), error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"the file is not a part of a lake, or is damaged: {error}",
        where=str(path),
        remedy="move it away and ingest its source again",
    )


def _read_plain(content: bytes) -> np.ndarray | None:
    """The columns of a file that :func:`_write_plain` made: a view of its bytes."""
    body = len(content) - 12 - int.from_bytes(content[-8:-4], "little")
    head = _plain(body)
    if head is None:
        return None
    chunks = np.frombuffer(content, np.uint8, body, len(_MAGIC)).reshape(len(COLUMNS), -1)
    if (chunks[:, : len(head)] != head).any():
        return None
    return chunks[:, len(head) :].view("<i8")


@lru_cache(maxsize=4096)
def _plain(body: int) -> np.ndarray | None:
    """The bytes before each column, by the bytes of all columns."""
    share, rest = divmod(body, len(COLUMNS))
    if rest or body <= 0:
        return None
    for rows in range(max((share - 48) // 8, 1), share // 8 + 1):
        (head, *_), _ = _layout(rows, "UTC")
        if len(head) + 8 * rows == share:
            return np.frombuffer(head, np.uint8)
    return None


def _read_any(content: bytes) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = parquet.ParquetFile(pa.BufferReader(content)).read(list(COLUMNS)).combine_chunks()
    dates = table["ts"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    values = [np.array(table[name].to_numpy(), float) for name in VALUES]
    return np.stack([dates, *(column.view(np.int64) for column in values)])


def _write_compressed(path: str, columns: Sequence[np.ndarray], mark: int, timezone: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    dates = pa.array(columns[0]).cast(pa.timestamp("us", tz="UTC"))
    values = [pa.array(column, from_pandas=True) for column in columns[1:]]
    table = pa.table([dates, *values], names=list(COLUMNS))
    table = table.replace_schema_metadata({_TIMEZONE: timezone, _DIGEST: f"{mark:032x}"})
    parquet.write_table(
        table, path, compression="zstd", use_dictionary=False, use_byte_stream_split=list(VALUES)
    )


def _write_plain(path: str, columns: Sequence[np.ndarray], mark: int, timezone: str) -> None:
    heads, footer = _layout(len(columns[0]), timezone)
    dates = columns[0]
    filled = (dates[-1].tobytes(), dates[0].tobytes(), f"{mark:032x}".encode(), b"")
    pieces: list[bytes | memoryview] = [_MAGIC]
    for column, head in zip(columns, heads):
        pieces += (head, column.data.cast("B"))
    pieces += (piece for pair in zip(footer, filled) for piece in pair)
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        written = os.writev(file, pieces)
    finally:
        os.close(file)
    if written != sum(map(len, pieces)):
        raise OSError(28, "No space left on device", path)


@lru_cache(maxsize=4096)
def _layout(rows: int, timezone: str) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The bytes before every column, and the footer around last and first date and digest."""
    run = varint(rows << 1) + b"\x01"
    levels = len(run).to_bytes(4, "little") + run
    size = len(levels) + 8 * rows
    page: Value = {1: 0, 2: size, 3: size, 5: {1: rows, 2: 0, 3: 3, 4: 3}}
    head = encode(page) + levels
    whole = len(head) + 8 * rows
    chunks = [_chunk(name, rows, len(_MAGIC) + k * whole, whole) for k, name in enumerate(COLUMNS)]
    notes: list[Value] = [{1: _TIMEZONE, 2: timezone}, {1: _DIGEST, 2: _MARK}]
    root: Value = {3: 0, 4: "schema", 5: len(COLUMNS)}
    group: Value = {1: chunks, 2: Long(whole * len(COLUMNS)), 3: Long(rows)}
    metadata = encode(
        {
            1: 2,
            2: [root, *map(_element, COLUMNS)],
            3: Long(rows),
            4: [group],
            5: notes,
            6: "tsfm-lab",
            7: [{1: {}}] * len(COLUMNS),
        }
    )
    before, rest = metadata.split(_LAST)
    between, rest = rest.split(_FIRST)
    until, after = rest.split(_MARK)
    after += len(metadata).to_bytes(4, "little") + _MAGIC
    return (head,) * len(COLUMNS), (before, between, until, after)


def _element(name: str) -> Value:
    """A column of the schema: optional; ``ts`` a UTC instant in microseconds."""
    if name != "ts":
        return {1: 5, 3: 1, 4: name}
    return {1: 2, 3: 1, 4: name, 6: 10, 10: {8: {1: True, 2: {2: {}}}}}


def _chunk(name: str, rows: int, offset: int, size: int) -> Value:
    """A column's place, uncompressed, in plain encoding; statistics of ``ts``."""
    place: dict[int, Value] = {
        1: 2 if name == "ts" else 5,
        2: [0, 3],
        3: [name],
        4: 0,
        5: Long(rows),
        6: Long(size),
        7: Long(size),
        9: Long(offset),
    }
    if name == "ts":
        place[12] = {3: Long(0), 5: _LAST, 6: _FIRST}
    return {2: Long(0), 3: place}
