"""Cleaned bars kept between two passes over a lake."""

from __future__ import annotations

from pathlib import Path

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

    def keep(self, number: int, bars: pl.DataFrame) -> None:
        """Keep the bars of a batch, if there is room."""
        size = int(bars.estimated_size())
        if size <= self._left:
            bars.write_ipc(self._path(number), compression="uncompressed")
            self._left -= size

    def take(self, number: int) -> pl.DataFrame | None:
        """The bars of a batch, removed from the disk; ``None`` where they were not kept."""
        path = self._path(number)
        if not path.exists():
            return None
        bars = pl.read_ipc(path)
        path.unlink()
        return bars

    def _path(self, number: int) -> Path:
        return self.directory / f"bars-{number:06d}.arrow"
