"""Cleaned bars kept between two passes over a lake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl


class BarCache:
    """Cleaned bars in temporary files, as many as may be kept.

    Parameters
    ----------
    directory
        Exists; whoever made it removes it.
    limit
        Bytes in all.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self.directory, self._left = directory, limit
        self._symbols: dict[int, pl.Series] = {}

    def keep(self, number: int, bars: pl.DataFrame) -> None:
        """Keep the bars of a batch, if there is room."""
        values = bars.drop("symbol")
        size = int(values.estimated_size())
        if size <= self._left:
            values.write_ipc(self._path(number), compression="uncompressed")
            self._symbols[number] = bars["symbol"].rle()
            self._left -= size

    def take(self, number: int) -> pl.DataFrame | None:
        """The bars of a batch, removed from the disk; ``None`` where they were not kept."""
        runs = self._symbols.pop(number, None)
        if runs is None:
            return None
        path = self._path(number)
        values = pl.read_ipc(path)
        path.unlink()
        lengths = runs.struct.field("len").to_numpy()
        symbols = runs.struct.field("value").gather(np.repeat(np.arange(len(runs)), lengths))
        return values.insert_column(0, symbols.alias("symbol"))

    def _path(self, number: int) -> Path:
        return self.directory / f"bars-{number:06d}.arrow"
