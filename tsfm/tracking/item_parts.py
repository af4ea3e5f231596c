"""A long Parquet file in parts of whole items, each small enough for memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsfm.data.tidying import listed
from tsfm.errors import DataError

ITEM = "item_id"
BATCH_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class ItemParts:
    """Which items are read together.

    Attributes
    ----------
    path
        The file.
    columns
        Read of it.
    parts
        Items of each part.
    rows
        Of each part.
    together
        Whether the rows of every item follow one another: the file is then read once, else once
        for every part.
    """

    path: Path
    columns: tuple[str, ...]
    parts: tuple[tuple[Any, ...], ...]
    rows: tuple[int, ...]
    together: bool

    @classmethod
    def plan(
        cls, path: str | Path, columns: Sequence[str], *, rows_at_once: int, items_at_once: int
    ) -> ItemParts:
        """Read the items' names once, and nothing else.

        Parameters
        ----------
        columns
            To be read beside ``item_id``; none: all that there are.
        rows_at_once, items_at_once
            The most in a part; an item with more rows is a part of its own.

        Raises
        ------
        DataError
            When the file is missing, damaged, empty, or lacks a column.
        """
        path = Path(path)
        with _opened(path) as file:
            held = file.schema_arrow.names
            wanted = tuple(dict.fromkeys((ITEM, *(columns or held))))
            missing = [name for name in wanted if name not in held]
            if missing:
                raise DataError(
                    f"columns {', '.join(missing)} are missing",
                    where=str(path),
                    remedy=f"there are {listed(held) or 'none'}",
                )
            counts: dict[Any, int] = {}
            together, last = True, None
            for batch in _batches(file, [ITEM]):
                names, runs = _runs(batch.column(0))
                for name, rows in zip(names, runs, strict=True):
                    together &= name == last or name not in counts
                    counts[name] = counts.get(name, 0) + rows
                    last = name
        if not counts:
            raise DataError("there are no rows", where=str(path), remedy="give items' histories")
        if None in counts:
            raise DataError(
                f"item_id is empty in {counts[None]} rows",
                where=str(path),
                remedy="fill it in or drop these rows",
            )
        parts = _grouped(counts, rows_at_once, items_at_once)
        return cls(
            path=path,
            columns=wanted,
            parts=parts,
            rows=tuple(sum(counts[item] for item in part) for part in parts),
            together=together,
        )

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """The rows of one part after the other."""
        return self._slices() if self.together else self._selections()

    def _slices(self) -> Iterator[pd.DataFrame]:
        with _opened(self.path) as file:
            batches = _batches(file, list(self.columns))
            held: list[pa.RecordBatch] = []
            for rows in self.rows:
                while sum(batch.num_rows for batch in held) < rows:
                    held.append(next(batches))
                table = pa.Table.from_batches(held)
                yield table.slice(0, rows).to_pandas()
                held = table.slice(rows).to_batches()

    def _selections(self) -> Iterator[pd.DataFrame]:
        for part in self.parts:
            chosen = [(ITEM, "in", set(part))]
            table = pq.read_table(self.path, columns=list(self.columns), filters=chosen)
            yield table.to_pandas()


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise DataError("the file does not exist", where=str(path)) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the Parquet cannot be read: {error}", where=str(path), remedy="write the file again"
        ) from error


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(BATCH_ROWS, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"the Parquet is damaged: {error}", remedy="write it again") from error


def _runs(column: pa.Array) -> tuple[list[Any], list[int]]:
    """Names in their order, and how many rows in a row have each."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    encoded = pc.run_end_encode(column)
    lengths = np.diff(np.asarray(encoded.run_ends), prepend=0)
    names = encoded.values  # noqa: PD011
    return names.to_pylist(), lengths.tolist()


def _grouped(
    counts: dict[Any, int], rows_at_once: int, items_at_once: int
) -> tuple[tuple[Any, ...], ...]:
    parts: list[list[Any]] = [[]]
    rows = 0
    for item, count in counts.items():
        if parts[-1] and (rows + count > rows_at_once or len(parts[-1]) >= items_at_once):
            parts.append([])
            rows = 0
        parts[-1].append(item)
        rows += count
    return tuple(map(tuple, parts))
