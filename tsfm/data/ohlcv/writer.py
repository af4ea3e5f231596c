"""Partitions written into a lake: staged, then moved into place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsfm.data.ohlcv import part
from tsfm.data.ohlcv.change import Change
from tsfm.data.ohlcv.instrument import Instrument
from tsfm.data.ohlcv.part import FILE_NAME
from tsfm.data.ohlcv.partitions import Partition, merge


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written of an instrument.

    Attributes
    ----------
    change
        In bars.
    first, last
        Microseconds since 1970 UTC of the first and last bar given.
    digest
        To be added to the instrument's, modulo 2^128.
    existed
        The instrument had a directory before.
    """

    change: Change
    first: int
    last: int
    digest: int
    existed: bool


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes instruments whose locks are held.

    Attributes
    ----------
    lake, staging
        Directories of one file system.
    timezone
        Of the source.
    """

    lake: Path
    staging: Path
    timezone: str

    def write(self, instrument: Instrument, parts: Sequence[Partition]) -> Written:
        """Add the bars of an instrument, months increasing."""
        directory = self.lake / instrument.directory
        existed = directory.is_dir()
        change, digest = (self._merge if existed else self._add)(directory, instrument, parts)
        return Written(
            change=change,
            first=int(parts[0].columns[0][0]),
            last=int(parts[-1].columns[0][-1]),
            digest=digest,
            existed=existed,
        )

    def _add(
        self, directory: Path, instrument: Instrument, parts: Sequence[Partition]
    ) -> tuple[Change, int]:
        """A new instrument appears as a whole."""
        staged = f"{self.staging}/{instrument.directory.name}"
        os.mkdir(staged)
        digest, year = 0, None
        for bars in parts:
            if bars.year != year:
                year = bars.year
                os.mkdir(f"{staged}/year={year:04d}")
            month = f"{staged}/{bars.directory}"
            os.mkdir(month)
            digest += self._write(f"{month}/{FILE_NAME}", bars)
        directory.parent.mkdir(parents=True, exist_ok=True)
        os.rename(staged, directory)
        return Change(added=sum(len(bars.columns[0]) for bars in parts)), digest

    def _merge(
        self, directory: Path, instrument: Instrument, parts: Sequence[Partition]
    ) -> tuple[Change, int]:
        """Parts are added and replaced one by one."""
        change, digest = Change(), 0
        staged = f"{self.staging}/{instrument.directory.name}"
        for bars in parts:
            target = directory / bars.directory / FILE_NAME
            merged: Partition | None = bars
            if target.exists():
                old = part.read(target)
                merged, made = merge(old, bars)
                digest -= part.digest(old) if merged is not None else 0
            else:
                made = Change(added=len(bars.columns[0]))
                target.parent.mkdir(parents=True, exist_ok=True)
            change += made
            if merged is not None:
                digest += self._write(staged, merged)
                os.replace(staged, target)
        return change, digest

    def _write(self, path: str, bars: Partition) -> int:
        return part.write(path, bars.columns, complete=bars.complete, timezone=self.timezone)
