"""Kept blocks: the scored windows of one model on one task, in files that survive a kill.

A directory holds Parquet files of consecutive windows, ``<first>-<stop>.parquet``, each of which
appears only when it is whole; a file that cannot be read ends what is known. What has been answered
is thus told by the names, and a run that was killed goes on after the last file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsfm.evaluation.window_blocks import SCHEMA, told

_TEXTS = ["model", "task", "item_id", "variate"]
_OPTIONS: dict[str, Any] = {"compression": "zstd", "use_dictionary": _TEXTS}


class KeptBlocks:
    """Tables of window blocks, in order.

    Parameters
    ----------
    home
        A directory, made on first use; None: in memory.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home
        self._held: list[pa.Table] = []

    def __iter__(self) -> Iterator[pa.Table]:
        return self.tables()

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """One after the other, some of their columns or all."""
        if self.home is None:
            yield from self._held
            return
        first = 0
        while (path := self._following(first)) is not None:
            try:
                table = pq.read_table(path, columns=columns, page_checksum_verification=True)
                count = told(table)["windows"]
            except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
                return
            yield table
            first += count

    def add(self, table: pa.Table, first: int) -> None:
        """Keep the table of the windows from ``first`` on."""
        if self.home is None:
            self._held.append(table)
            return
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / f"{first:09d}-{first + told(table)['windows']:09d}.parquet"
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        pq.write_table(table, temporary, **_OPTIONS, write_page_checksum=True)
        temporary.replace(path)

    def _following(self, first: int) -> Path | None:
        assert self.home is not None
        return max(self.home.glob(f"{first:09d}-*.parquet"), default=None)


def write_blocks(cells: Iterable[tuple[str, str, Iterable[pa.Table]]], path: Path) -> Path:
    """One Parquet file of several models and tasks, whole or not at all, a table in memory.

    Parameters
    ----------
    cells
        Model, task, and the tables of their window blocks.
    """
    names = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema([pa.field("model", names), pa.field("task", names), *SCHEMA])
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with pq.ParquetWriter(temporary, schema, **_OPTIONS) as writer:
        for model, task, tables in cells:
            for table in tables:
                named = [pa.array([text] * len(table), pa.string()).cast(names)
                         for text in (model, task)]  # fmt: skip
                columns = [*named, *table.columns]
                writer.write_table(pa.table(columns, schema=schema))
    temporary.replace(path)
    return path
