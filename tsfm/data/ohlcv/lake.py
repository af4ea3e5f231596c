"""A lake of bars: hive partitions of Parquet that any engine reads, written atomically."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from tsfm.data.ohlcv import part
from tsfm.data.ohlcv.catalogue import Catalogue, Facts
from tsfm.data.ohlcv.change import Change
from tsfm.data.ohlcv.instrument import Instrument, check_name
from tsfm.data.ohlcv.listing import Month, each, instrument_of, month_of, parts_of, read_all
from tsfm.data.ohlcv.part import COLUMNS, FILE_NAME, VALUES, Part
from tsfm.data.ohlcv.partitions import Partition, partitions
from tsfm.data.ohlcv.sidecar import Sidecar
from tsfm.data.ohlcv.writer import Writer, Written
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Change", "Instrument", "Lake"]

Moment = str | datetime
_MARKER = "_lake."
_MODULUS = 1 << 128
_FIRST, _LAST = (0, 0), (9999, 12)


class Lake:
    """Bars in ``asset_class=X/freq=Y/symbol=Z/year=YYYY/month=MM/part.parquet``.

    Columns are ``ts`` (UTC, microseconds; partitions are UTC months), ``open, high, low, close,
    volume`` (``Float64``, null where unobserved), sorted by ``ts``; a part's footer keeps the time
    zone of its source and a digest. Any number of processes may write: each instrument has a lock,
    a part appears or is replaced as a whole, and a writer that is killed leaves nothing half done
    that the next one does not complete. Made by :meth:`create` or :meth:`open`.
    """

    def __init__(self, path: Path, lake_id: str) -> None:
        self.path = path
        self._id = lake_id
        self._sidecar = Sidecar(path)
        self._catalogue = Catalogue(self._sidecar.catalogue)
        self._sidecar.make(path)
        self._sidecar.sweep()
        if not self._catalogue.is_of(lake_id):
            self.rebuild(only_if_missing=True)

    def __repr__(self) -> str:
        return f"Lake({str(self.path)!r})"

    @classmethod
    def create(cls, path: str | Path) -> Self:
        """A new lake in an empty or new directory; the lake itself where there is one.

        Raises
        ------
        DataError
            When the directory holds other things or cannot be made.
        """
        path = Path(path).expanduser().resolve()
        if cls.is_lake(path):
            return cls.open(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise DataError(
                    "the directory is not empty", where=str(path), remedy="name a new directory"
                )
            (path / f"{_MARKER}{uuid.uuid4().hex}").touch()
        except OSError as error:
            raise DataError(f"the lake cannot be made: {error}", where=str(path)) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A lake that exists.

        Raises
        ------
        DataError
            When there is none.
        """
        path = Path(path).expanduser().resolve()
        markers = _markers(path)
        if not markers:
            raise DataError(
                "there is no lake",
                where=str(path),
                remedy="ingest bars into a new directory first, or correct the path",
            )
        return cls(path, markers[0].removeprefix(_MARKER))

    @staticmethod
    def is_lake(path: str | Path) -> bool:
        """The directory is a lake's."""
        return bool(_markers(Path(path).expanduser()))

    def upsert(
        self, instrument: Instrument, bars: pl.DataFrame, *, timezone: str = "UTC"
    ) -> Change:
        """Add bars of one instrument; a bar of a date that is there replaces it where it differs.

        Parameters
        ----------
        bars
            ``ts, open, high, low, close, volume`` in the lake's types, in any order; of a date that
            comes twice the last row counts.
        timezone
            Of the source, recorded.

        Raises
        ------
        DataError
            When bars break :func:`tsfm.data.ohlcv.schema.bars_schema`; nothing is written then.
        """
        import polars as pl

        named = bars.with_columns(pl.lit(instrument.symbol).alias("symbol"))
        return self.upsert_many(
            named,
            asset_class=instrument.asset_class,
            freq=instrument.freq,
            timezone=timezone,
        )

    def upsert_many(
        self, bars: pl.DataFrame, *, asset_class: str, freq: str, timezone: str = "UTC"
    ) -> Change:
        """:meth:`upsert` for a frame with a ``symbol`` column: the fast path.

        Raises
        ------
        DataError
            When bars break the schema, or a name cannot be a directory's; nothing is written then.
        """
        for name, value in (("asset_class", asset_class), ("freq", freq)):
            check_name(name, value)
        found = partitions(bars, where=f"bars for {self.path}")
        wanted = {
            Instrument(asset_class=asset_class, freq=freq, symbol=symbol): parts
            for symbol, parts in found.items()
        }
        if not wanted:
            return Change()
        try:
            return self._upsert(wanted, timezone)
        except OSError as error:
            raise DataError(f"the lake cannot be written: {error}", where=str(self.path)) from error

    def catalogue(self, asset_class: str | None = None, freq: str | None = None) -> pl.DataFrame:
        """One row per instrument, sorted; those of a killed writer are listed again first.

        Returns
        -------
        pl.DataFrame
            ``asset_class, freq, symbol, first, last, bars, timezone, digest``: ``first`` and
            ``last`` are the UTC dates of the outermost bars, ``timezone`` is the latest source's,
            ``digest`` a hash of all bars.
        """
        self._repair()
        return self._catalogue.frame(asset_class, freq)

    def fingerprint(self) -> str:
        """A hash of all bars: the same for the same bars, whatever the order of their ingest."""
        rows = self.catalogue().select("asset_class", "freq", "symbol", "digest").rows()
        return sha256(repr(rows).encode()).hexdigest()

    def months(self, instrument: Instrument) -> list[Month]:
        """Years and months that an instrument has bars of, increasing."""
        return sorted(month_of(path) for path in self._parts(instrument))

    def read(
        self,
        instruments: Instrument | Sequence[Instrument],
        start: Moment | None = None,
        stop: Moment | None = None,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Bars dated in ``[start, stop)``, instrument after instrument in the order given.

        Parameters
        ----------
        start, stop
            In UTC where they have no time zone; ``None``: from the first, to the last bar.
        columns
            Of ``ts, open, high, low, close, volume``, by default all.

        Returns
        -------
        pl.DataFrame
            ``symbol`` and the columns, in the lake's types.

        Raises
        ------
        DataError
            When an instrument is not in the lake, or a part is damaged.
        ConfigError
            When a column is unknown.
        """
        import polars as pl

        chosen = list(COLUMNS if columns is None else columns)
        if not set(chosen) <= set(COLUMNS):
            raise ConfigError(
                f"columns {chosen} are not some of a lake's",
                remedy=f"choose from {', '.join(COLUMNS)}",
            )
        wanted = [instruments] if isinstance(instruments, Instrument) else list(instruments)
        begin, end = _instant(start), _instant(stop)
        first, last = _month(begin, _FIRST), _month(end, _LAST)
        found = [(one, path) for one in wanted for path in self._present(one, first, last)]
        parts = read_all([path for _, path in found])
        bits = np.concatenate(parts or [np.empty((len(COLUMNS), 0), np.int64)], axis=1)
        data = {
            name: row.view(float) if k else row
            for k, (name, row) in enumerate(zip(COLUMNS, bits))
            if name in chosen or name == "ts"
        }
        lengths = [piece.shape[1] for piece in parts]
        symbols = pl.Series("symbol", [one.symbol for one, _ in found], pl.String)
        places = pl.Series(np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths))
        frame = pl.DataFrame(data, schema_overrides={"ts": pl.Datetime("us")})
        frame.replace_column(0, frame["ts"].cast(pl.Datetime("us", "UTC")))
        if any(np.isnan(data[name]).any() for name in data if name != "ts"):
            frame = frame.with_columns(pl.col(pl.Float64).fill_nan(None))
        frame = frame.insert_column(0, symbols.gather(places))
        if begin is not None:
            frame = frame.filter(pl.col("ts") >= begin)
        if end is not None:
            frame = frame.filter(pl.col("ts") < end)
        return frame if frame.columns == ["symbol", *chosen] else frame.select("symbol", *chosen)

    def scan(self, asset_class: str | None = None, freq: str | None = None) -> pl.LazyFrame:
        """All bars, lazily, with the columns of their partitions (``year, month`` as integers)."""
        import polars as pl

        names = ("asset_class", "freq", "symbol")
        hive = pl.Schema(
            {**dict.fromkeys(names, pl.String()), "year": pl.Int32(), "month": pl.Int8()}
        )
        paths = list(self._walk(asset_class or "*", freq or "*"))
        if not paths:
            bars = {"ts": pl.Datetime("us", "UTC"), **dict.fromkeys(VALUES, pl.Float64())}
            return pl.LazyFrame(schema=pl.Schema({**bars, **hive}))
        return pl.scan_parquet(paths, hive_partitioning=True, hive_schema=hive)

    def rebuild(self, *, only_if_missing: bool = False) -> None:
        """Make the catalogue again from the footers of all parts.

        Needed only after parts were added, changed or removed by hand.

        Parameters
        ----------
        only_if_missing
            Unless another process has made it meanwhile.

        Raises
        ------
        DataError
            When a part is damaged.
        """
        with self._sidecar.all_locked():
            if only_if_missing and self._catalogue.is_of(self._id):
                return
            paths = list(self._walk("*", "*"))
            grouped: dict[Instrument, list[Part]] = {}
            for path, footer in zip(paths, each(part.read_footer, paths)):
                grouped.setdefault(instrument_of(path), []).append(footer)
            facts = {instrument: _summed(footers) for instrument, footers in grouped.items()}
            self._catalogue.replace(self._id, facts)

    def _upsert(self, wanted: Mapping[Instrument, Sequence[Partition]], timezone: str) -> Change:
        with self._sidecar.locked(wanted):
            known, dirty = self._catalogue.begin(list(wanted))
            with self._sidecar.staging() as staging:
                writer = Writer(lake=self.path, staging=staging, timezone=timezone)
                done = {one: writer.write(one, parts) for one, parts in wanted.items()}
            self._catalogue.finish(
                {
                    instrument: _updated(known.get(instrument), written, timezone)
                    if instrument not in dirty and (instrument in known) == written.existed
                    else self._listed(instrument)
                    for instrument, written in done.items()
                }
            )
        return sum((written.change for written in done.values()), Change())

    def _repair(self) -> None:
        dirty = self._catalogue.dirty()
        if not dirty:
            return
        with self._sidecar.free(dirty) as abandoned:
            self._catalogue.finish({one: self._listed(one) for one in abandoned})

    def _listed(self, instrument: Instrument) -> Facts | None:
        """Facts from the footers of an instrument's parts."""
        footers = [part.read_footer(path) for path in self._parts(instrument)]
        return _summed(footers) if footers else None

    def _parts(self, instrument: Instrument) -> list[str]:
        return parts_of(self.path / instrument.directory)

    def _present(self, instrument: Instrument, first: Month, last: Month) -> list[str]:
        paths = self._parts(instrument)
        if not paths:
            raise DataError(
                f"{instrument} has no bars",
                where=str(self.path),
                remedy="choose an instrument of the lake's catalogue, or ingest it",
            )
        if (first, last) == (_FIRST, _LAST):
            return paths
        return [path for path in paths if first <= month_of(path) <= last]

    def _walk(self, asset_class: str, freq: str) -> Iterator[Path]:
        pattern = f"asset_class={asset_class}/freq={freq}/symbol=*/year=*/month=*/{FILE_NAME}"
        return iter(sorted(self.path.glob(pattern)))


def _markers(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.glob(f"{_MARKER}*"))


def _updated(known: Facts | None, written: Written, timezone: str) -> Facts:
    if known is None:
        return Facts(
            first=written.first,
            last=written.last,
            bars=written.change.added,
            timezone=timezone,
            digest=written.digest % _MODULUS,
        )
    is_changed = written.change.added or written.change.replaced
    return Facts(
        first=min(known.first, written.first),
        last=max(known.last, written.last),
        bars=known.bars + written.change.added,
        timezone=timezone if is_changed else known.timezone,
        digest=(known.digest + written.digest) % _MODULUS,
    )


def _summed(parts: Sequence[Part]) -> Facts:
    latest = max(parts, key=lambda footer: footer.last)
    return Facts(
        first=min(footer.first for footer in parts),
        last=latest.last,
        bars=sum(footer.bars for footer in parts),
        timezone=latest.timezone,
        digest=sum(footer.digest for footer in parts) % _MODULUS,
    )


def _month(moment: datetime | None, otherwise: Month) -> Month:
    return otherwise if moment is None else (moment.year, moment.month)


def _instant(moment: Moment | None) -> datetime | None:
    """In UTC.

    Raises
    ------
    ConfigError
        When it is no date.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise ConfigError(
                f"{moment!r} is not a date", remedy="write it like 2020-01-31 or 2020-01-31T15:00"
            ) from error
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
