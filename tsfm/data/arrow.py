"""The panel's file format: an Arrow IPC stream, its records as views of its memory, its digests.

A panel is a directory that ``datasets.load_from_disk`` reads: ``data-00000-of-00001.arrow`` (one
row per item, large-list offsets, :class:`PanelInfo` in the schema's metadata), ``state.json`` and
``dataset_info.json``. The rows are never decoded: records are NumPy views of the mapped buffers.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from tsfm.data.digest import Digest
from tsfm.data.panel_state import (
    DATA_FILE,
    STATE_FILE,
    damaged,
    move_into_place,
    read_state,
    write_state,
)
from tsfm.data.series import PanelInfo, Series, checked
from tsfm.errors import DataError

BATCH_BYTES = 32 << 20
BATCH_ITEMS = 4096

_MATRIX = pa.large_list(pa.large_list(pa.float32()))
_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "start": pa.timestamp("ns"),
        "freq": pa.string(),
        "length": pa.int64(),
        "offset": pa.int64(),
        "target": _MATRIX,
        "timestamps": pa.large_list(pa.timestamp("ns")),
        "past_covariates": _MATRIX,
        "known_covariates": _MATRIX,
        "static": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class Record:
    """One stored series; arrays are views of the file's memory."""

    item_id: str
    offset: int
    target: np.ndarray
    start: int | None
    timestamps: np.ndarray | None
    past_covariates: np.ndarray | None
    known_covariates: np.ndarray | None
    static: dict[str, float | str]


class Store:
    """The records of one Arrow stream, made on first use.

    Parameters
    ----------
    source
        A panel's directory, mapped into memory, or a whole stream.

    Raises
    ------
    DataError
        When there is no panel, or it is damaged or incomplete.
    """

    def __init__(self, source: Path | pa.Buffer) -> None:
        self.source = source
        self.path = source if isinstance(source, Path) else None
        self.where = "memory" if self.path is None else str(self.path)
        self.state = read_state(self.path) if self.path else None
        with self._readable():
            self._batches, schema = _read_batches(source)
            self.info = PanelInfo.from_json(schema.metadata[b"tsfm"].decode())
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)
        self._size = int(self._ends[-1]) if len(self._ends) else 0
        if self.state is not None and self.state["tsfm"]["items"] != self._size:
            raise damaged(self.where, f"{self._size} items of {self.state['tsfm']['items']} left")
        self._records: list[Record | None] = [None] * self._size

    def __len__(self) -> int:
        return self._size

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.source, Path):
            return Store, (self.source,)
        return _from_bytes, (self.source.to_pybytes(),)

    def column(self, name: str) -> pa.ChunkedArray:
        """One of the small columns: reading it does not touch the series."""
        with self._readable():
            column = pa.chunked_array([batch.column(name) for batch in self._batches])
            column.validate(full=True)
            return column

    def record(self, item: int) -> Record:
        known = self._records[item]
        if known is None:
            with self._readable():
                known = self._records[item] = self._make(item)
        return known

    def _make(self, item: int) -> Record:
        chunk = int(np.searchsorted(self._ends, item, "right"))
        row = item - (int(self._ends[chunk - 1]) if chunk else 0)
        return record_of(self._batches[chunk], row, self.info)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what damaged bytes provoke into a message."""
        try:
            yield
        except DataError:
            raise
        except (
            pa.ArrowException,
            OSError,
            LookupError,
            TypeError,
            ValueError,
            OverflowError,
        ) as error:
            raise damaged(self.where, f"{type(error).__name__}: {error}") from error


def record_of(batch: pa.RecordBatch, row: int, info: PanelInfo) -> Record:
    """A row of a batch, as views of its memory."""
    length = batch.column("length")[row].as_py()
    start = batch.column("start")[row]
    target = _matrix(batch.column("target"), row, len(info.variates), length)
    if target is None:
        raise ValueError(f"row {row} has no target")
    return Record(
        item_id=_text(batch.column("item_id"), row),
        offset=batch.column("offset")[row].as_py(),
        target=target,
        start=start.value if start.is_valid else None,
        timestamps=_vector(batch.column("timestamps"), row, length),
        past_covariates=_matrix(
            batch.column("past_covariates"), row, len(info.past_covariates), length
        ),
        known_covariates=_matrix(
            batch.column("known_covariates"), row, len(info.known_covariates), length
        ),
        static=json.loads(_text(batch.column("static"), row)),
    )


def write(path: Path, series: Iterable[Series], info: PanelInfo, *, overwrite: bool) -> None:
    """Stream ``series`` into a new panel directory that appears only when it is complete.

    Raises
    ------
    DataError
        When a series does not fit, the path is taken, or it cannot be written.
    """
    if path.exists() and not overwrite:
        raise DataError(
            "the path exists already", where=str(path), remedy="choose another or overwrite"
        )
    if path.exists() and not (path / STATE_FILE).is_file():
        raise DataError(
            "the path is not a panel and is not replaced",
            where=str(path),
            remedy="choose another, or remove it yourself",
        )
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        with (partial / DATA_FILE).open("wb") as sink:
            items, fingerprint = _write_stream(sink, series, info)
        write_state(partial, fingerprint, items)
        move_into_place(partial, path)
    except OSError as error:
        raise DataError(
            f"the panel cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="free space on the disk, or choose a place that can be written to",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def in_memory(series: Iterable[Series], info: PanelInfo) -> tuple[pa.Buffer, str]:
    """The same stream in memory, and the content's fingerprint."""
    sink = pa.BufferOutputStream()
    _, fingerprint = _write_stream(sink, series, info)
    return sink.getvalue(), fingerprint


def schema_of(info: PanelInfo) -> pa.Schema:
    """The stream's, with what the series share in its metadata."""
    return _SCHEMA.with_metadata({"tsfm": info.to_json()})


def _write_stream(
    sink: IO[bytes] | pa.NativeFile, series: Iterable[Series], info: PanelInfo
) -> Any:
    schema = schema_of(info)
    digest, seen, waiting, waiting_bytes = Digest(info), set(), [], 0
    with pa.ipc.new_stream(sink, schema) as stream:
        for raw in series:
            one = checked(raw, info)
            if one.item_id in seen:
                raise DataError(
                    f"item {one.item_id!r} is given twice",
                    where=f"panel {info.name}",
                    remedy="give every item its own id",
                )
            seen.add(one.item_id)
            digest.add(one)
            waiting.append(one)
            waiting_bytes += one.target.nbytes
            if waiting_bytes >= BATCH_BYTES or len(waiting) >= BATCH_ITEMS:
                stream.write_batch(_to_batch(waiting, info, schema))
                waiting, waiting_bytes = [], 0
        if not seen:
            raise DataError("there are no series", where=f"panel {info.name}")
        if waiting:
            stream.write_batch(_to_batch(waiting, info, schema))
    return len(seen), digest.hexdigest()


def encode(series: Sequence[Series], info: PanelInfo) -> pa.RecordBatch:
    """Series as one batch of the stream, by way of little memory that is new to the process.

    Raises
    ------
    DataError
        When a series does not fit ``info``.
    """
    bars = sum(int(one.target.shape[-1]) for one in series)
    widths = {
        "target": len(info.variates),
        "past_covariates": len(info.past_covariates),
        "known_covariates": len(info.known_covariates),
    }
    values = {key: np.empty(width * bars, np.float32) for key, width in widths.items() if width}
    used = dict.fromkeys(values, 0)
    fitting = []
    for raw in series:
        one = checked(raw, info)
        views: dict[str, Any] = {}
        for key, held in values.items():
            matrix = getattr(one, key)
            first, used[key] = used[key], used[key] + matrix.size
            views[key] = held[first : used[key]].reshape(matrix.shape)
            views[key][:] = matrix
        fitting.append(replace(one, **views))
    return _to_batch(fitting, info, schema_of(info), values)


def _to_batch(
    series: list[Series],
    info: PanelInfo,
    schema: pa.Schema,
    values: Mapping[str, np.ndarray] | None = None,
) -> pa.RecordBatch:
    """``values``: all series' matrices one after another, where that is how they lie already."""
    flat = values or {}
    starts = [None if s.start is None else s.start.as_unit("ns").value for s in series]
    columns = {
        "item_id": pa.array([s.item_id for s in series], pa.string()),
        "start": pa.array(starts, pa.int64()).cast(pa.timestamp("ns")),
        "freq": pa.array([info.freq] * len(series), pa.string()),
        "length": pa.array([s.length for s in series], pa.int64()),
        "offset": pa.array([s.offset for s in series], pa.int64()),
        "target": _matrices([s.target for s in series], flat.get("target")),
        "timestamps": _vectors([s.timestamps for s in series]),
        "past_covariates": _matrices(
            [s.past_covariates for s in series], flat.get("past_covariates")
        ),
        "known_covariates": _matrices(
            [s.known_covariates for s in series], flat.get("known_covariates")
        ),
        "static": pa.array([json.dumps(dict(s.static)) for s in series], pa.string()),
    }
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _offsets(counts: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _nullable(offsets: np.ndarray, missing: list[bool]) -> pa.Array:
    """List offsets in which a missing row is null."""
    return pa.array(offsets, pa.int64(), mask=np.array([*missing, False]))


def _matrices(
    matrices: list[np.ndarray | None], values: np.ndarray | None = None
) -> pa.LargeListArray:
    present = [m for m in matrices if m is not None]
    if values is None:
        values = np.concatenate([np.empty(0, np.float32), *(m.ravel() for m in present)])
    inner = _offsets([m.shape[1] for m in present for _ in range(m.shape[0])])
    outer = _offsets([0 if m is None else m.shape[0] for m in matrices])
    rows = pa.LargeListArray.from_arrays(pa.array(inner), pa.array(values, pa.float32()))
    return pa.LargeListArray.from_arrays(_nullable(outer, [m is None for m in matrices]), rows)


def _vectors(vectors: list[np.ndarray | None]) -> pa.LargeListArray:
    present = [v for v in vectors if v is not None]
    values = np.concatenate(present) if present else np.empty(0, "M8[ns]")
    offsets = _offsets([0 if v is None else len(v) for v in vectors])
    return pa.LargeListArray.from_arrays(
        _nullable(offsets, [v is None for v in vectors]), pa.array(values, pa.timestamp("ns"))
    )


def _bounds(lists: pa.LargeListArray, row: int) -> tuple[int, int]:
    offsets = np.frombuffer(lists.buffers()[1], np.int64, count=2, offset=8 * (lists.offset + row))
    return int(offsets[0]), int(offsets[1])


def _flat(values: pa.Array, dtype: str, start: int, count: int) -> np.ndarray:
    width = np.dtype(dtype).itemsize
    return np.frombuffer(values.buffers()[1], dtype, count, offset=width * (values.offset + start))


def _matrix(lists: pa.LargeListArray, row: int, rows: int, length: int) -> np.ndarray | None:
    """``[rows, length]`` view of one cell: its rows are equally long, so they are contiguous."""
    if rows == 0 or not lists[row].is_valid:
        return None
    first, last = _bounds(lists, row)
    start, _ = _bounds(lists.values, first)
    _, stop = _bounds(lists.values, last - 1)
    if last - first != rows or stop - start != rows * length:
        raise ValueError(f"row {row} holds {stop - start} values for [{rows}, {length}]")
    floats = lists.values.values
    return _flat(floats, "f4", start, rows * length).reshape(rows, length)


def _text(strings: pa.StringArray, row: int) -> str:
    cell = strings.slice(row, 1)
    cell.validate(full=True)
    return cell[0].as_py()


def _vector(lists: pa.LargeListArray, row: int, length: int) -> np.ndarray | None:
    if not lists[row].is_valid:
        return None
    start, stop = _bounds(lists, row)
    if stop - start != length:
        raise ValueError(f"row {row} holds {stop - start} timestamps for {length} bars")
    return _flat(lists.values, "M8[ns]", start, length)


def _read_batches(source: Path | pa.Buffer) -> tuple[list[pa.RecordBatch], pa.Schema]:
    """Batch headers only: with a memory map no series is read."""
    is_file = isinstance(source, Path)
    stream = pa.memory_map(str(source / DATA_FILE)) if is_file else pa.BufferReader(source)
    reader = pa.ipc.open_stream(stream)
    batches = list(reader)
    for batch in batches:
        batch.validate()
    missing = set(_SCHEMA.names) - set(reader.schema.names)
    if missing:
        raise KeyError(f"columns {sorted(missing)}")
    return batches, reader.schema


def _from_bytes(content: bytes) -> Store:
    return Store(pa.py_buffer(content))
