"""The catalogue of a lake: one row per instrument, in SQLite.

A writer marks its instruments as dirty before it touches their files and clears the marks with the
new rows: marks that outlive their writer (kill -9) tell which instruments must be listed again.
Nothing here is the only copy of anything, so writes are not synchronised to the disk: a file that a
power cut has damaged is thrown away and listed again.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.data.ohlcv.instrument import Instrument

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
_WAIT_SECONDS = 300.0
_KEY = ("asset_class", "freq", "symbol")
_FACTS = ("first", "last", "bars", "timezone", "digest")
_TABLES = """
CREATE TABLE IF NOT EXISTS lake (id TEXT, version INTEGER);
CREATE TABLE IF NOT EXISTS instruments (
    asset_class TEXT, freq TEXT, symbol TEXT, first INTEGER, last INTEGER, bars INTEGER,
    timezone TEXT, digest TEXT, PRIMARY KEY (asset_class, freq, symbol)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dirty (
    asset_class TEXT, freq TEXT, symbol TEXT, PRIMARY KEY (asset_class, freq, symbol)
    ) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the catalogue knows of an instrument.

    Attributes
    ----------
    first, last
        Microseconds since 1970 UTC of the first and last bar.
    bars
        Rows.
    timezone
        Of the latest source.
    digest
        Sum of its parts' digests modulo 2^128.
    """

    first: int
    last: int
    bars: int
    timezone: str
    digest: int


class Catalogue:
    """The table in one file; every method opens it for itself, in any thread or process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_of(self, lake_id: str) -> bool:
        """The file is whole and belongs to the lake with this id."""
        if not self.path.exists():
            return False
        try:
            with _open(self.path) as database:
                is_whole = database.execute("PRAGMA quick_check").fetchall() == [("ok",)]
                belongs = database.execute("SELECT id, version FROM lake").fetchall()
                return is_whole and belongs == [(lake_id, VERSION)]
        except sqlite3.DatabaseError:
            return False

    def replace(self, lake_id: str, facts: Mapping[Instrument, Facts]) -> None:
        """Start anew with these instruments, while nobody else writes."""
        for left_by_killed in self.path.parent.glob(f"{self.path.name}.*"):
            left_by_killed.unlink()
        made = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}")
        with _open(made) as database, database:
            for statement in _TABLES.split(";"):
                database.execute(statement)
            database.execute("BEGIN")
            database.executemany(_INSERT, map(_row, facts, facts.values()))
            database.execute("INSERT INTO lake VALUES (?, ?)", (lake_id, VERSION))
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
        made.replace(self.path)

    def begin(
        self, instruments: Sequence[Instrument]
    ) -> tuple[dict[Instrument, Facts], set[Instrument]]:
        """Mark instruments as dirty; their facts, and those that were dirty already."""
        with _open(self.path) as database, database:
            database.execute("BEGIN IMMEDIATE")
            known, dirty = {}, set()
            for instrument in instruments:
                key = _key(instrument)
                row = database.execute(_SELECT_ONE, key).fetchone()
                if row is not None:
                    known[instrument] = _facts(row)
                if database.execute(_SELECT_DIRTY, key).fetchone() is not None:
                    dirty.add(instrument)
            database.executemany(
                "INSERT OR IGNORE INTO dirty VALUES (?, ?, ?)", map(_key, instruments)
            )
        return known, dirty

    def finish(self, facts: Mapping[Instrument, Facts | None]) -> None:
        """Store the facts (``None``: no bars left) and clear the marks."""
        with _open(self.path) as database, database:
            database.execute("BEGIN IMMEDIATE")
            for instrument, known in facts.items():
                if known is None:
                    database.execute(_DELETE, _key(instrument))
                else:
                    database.execute(_INSERT, _row(instrument, known))
            database.executemany(_CLEAR, map(_key, facts))

    def dirty(self) -> list[Instrument]:
        """Instruments being written, or whose writer was killed."""
        with _open(self.path) as database:
            return [_instrument(row) for row in database.execute("SELECT * FROM dirty")]

    def frame(self, asset_class: str | None = None, freq: str | None = None) -> pl.DataFrame:
        """``asset_class, freq, symbol, first, last, bars, timezone, digest``, sorted."""
        import polars as pl

        wanted = {"asset_class": asset_class, "freq": freq}
        terms = [f"{name} = :{name}" for name, value in wanted.items() if value is not None]
        where = f"WHERE {' AND '.join(terms)}" if terms else ""
        with _open(self.path) as database:
            rows = database.execute(
                f"SELECT * FROM instruments {where} ORDER BY asset_class, freq, symbol", wanted
            ).fetchall()
        columns = list(zip(*rows)) or [()] * len(_KEY + _FACTS)
        types = dict.fromkeys(_KEY, pl.String) | dict(
            zip(_FACTS, (pl.Int64,) * 3 + (pl.String,) * 2)
        )
        frame = pl.DataFrame(dict(zip(types, columns)), schema=types)
        instant = pl.Datetime("us", "UTC")
        return frame.with_columns(pl.col("first").cast(instant), pl.col("last").cast(instant))


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        yield database


_SELECT_ONE = (
    f"SELECT {', '.join(_FACTS)} FROM instruments WHERE asset_class = ? AND freq = ? AND symbol = ?"
)
_SELECT_DIRTY = "SELECT 1 FROM dirty WHERE asset_class = ? AND freq = ? AND symbol = ?"
_CLEAR = "DELETE FROM dirty WHERE asset_class = ? AND freq = ? AND symbol = ?"
_DELETE = "DELETE FROM instruments WHERE asset_class = ? AND freq = ? AND symbol = ?"
_INSERT = "INSERT OR REPLACE INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _key(instrument: Instrument) -> tuple[str, str, str]:
    return instrument.asset_class, instrument.freq, instrument.symbol


def _row(instrument: Instrument, facts: Facts) -> tuple[str | int, ...]:
    digest = f"{facts.digest:032x}"
    return (*_key(instrument), facts.first, facts.last, facts.bars, facts.timezone, digest)


def _facts(row: Sequence[Any]) -> Facts:
    *facts, digest = row
    return Facts(**dict(zip(_FACTS, facts)), digest=int(digest, 16))


def _instrument(row: Iterable[str]) -> Instrument:
    return Instrument(**dict(zip(_KEY, row)))
