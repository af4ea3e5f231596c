"""Dates of a file turned into UTC instants, its time zone found and checked on the way.

The rule for local times that clocks repeat in autumn: the first row of a symbol with such a time
is the earlier hour, a second one the later. Local times that clocks skip in spring do not exist.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tsfm.data.ohlcv.date_text import TextFormat, take_apart
from tsfm.data.ohlcv.epochs import NumberFormat
from tsfm.data.ohlcv.header import TIME_OF_DAY
from tsfm.data.ohlcv.ingest_config import IngestConfig, check_timezone
from tsfm.data.ohlcv.ingest_report import FileLog
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_NUMBER = r"^-?\d+(\.\d+)?$"
_HOUR = 3600


class MixedTimezones(DataError):
    """Dates of a file are not of one time zone; ``row`` is the first that differs."""

    def __init__(self, what: str, *, row: int) -> None:
        remedy = "write all dates in one time zone, and name it with timezone"
        super().__init__(what, where=f"row {row}", remedy=remedy)
        self.row = row


class Instants:
    """Reads the dates of one file, batch after batch.

    Attributes
    ----------
    timezone
        As told; otherwise what the dates carry: a zone, ``UTC``, or their offsets.
    """

    def __init__(self, config: IngestConfig, log: FileLog) -> None:
        self.timezone = config.timezone or "UTC"
        self._config, self._log = config, log
        self._numbers: NumberFormat | None = None
        self._text: TextFormat | None = None
        self._offsets: dict[str, int] = {}
        self._is_naive: bool | None = None

    def read(self, batch: pl.DataFrame) -> pl.Series:
        """``Datetime("us", "UTC") [row]``; null where a date is missing or means nothing.

        Raises
        ------
        DataError
            When the column holds no dates, or dates of several time zones, naming the first row.
        """
        import polars as pl

        dates = batch["ts"]
        if dates.dtype == pl.Categorical or dates.dtype == pl.Enum:
            dates = dates.cast(pl.String)
        if TIME_OF_DAY in batch.columns:
            joined = pl.concat_str(dates.cast(pl.String), batch[TIME_OF_DAY], separator=" ")
            dates = batch.select(joined).to_series()
        if dates.dtype == pl.String and self._holds_numbers(dates):
            kind = pl.Float64 if dates.str.contains(".", literal=True).any() else pl.Int64
            dates = dates.cast(kind, strict=False)
        if dates.dtype.is_numeric():
            return self._from_numbers(dates, batch)
        if dates.dtype == pl.String:
            return self._from_text(dates, batch)
        if dates.dtype == pl.Date or dates.dtype == pl.Datetime:
            zone = getattr(dates.dtype, "time_zone", None)
            if zone is None:
                return self._from_local(dates.cast(pl.Datetime("us")), batch, self._local_zone())
            self._adopt(zone)
            return dates.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))
        raise DataError(f"the column of dates has type {dates.dtype}")

    def _holds_numbers(self, dates: pl.Series) -> bool:
        if self._numbers is not None or self._text is not None:
            return self._numbers is not None
        some = dates.drop_nulls().head(100)
        return bool(len(some)) and bool(some.str.contains(_NUMBER).all())

    def _from_numbers(self, numbers: pl.Series, batch: pl.DataFrame) -> pl.Series:
        if self._numbers is None:
            self._numbers = NumberFormat.of(numbers)
            self._log.note(f"dates are read as {self._numbers.name}")
        read = self._numbers.read(numbers)
        if self._numbers.digits is not None:
            return self._from_local(read, batch, self._local_zone())
        return read.dt.replace_time_zone("UTC")

    def _from_text(self, dates: pl.Series, batch: pl.DataFrame) -> pl.Series:
        import polars as pl

        local, zones = take_apart(dates)
        if self._text is None:
            form = self._config.date_format
            self._text = TextFormat(date=form, times=None) if form else TextFormat.of(local)
        read = self._text.read(dates if self._text.times is None else local)
        if getattr(read.dtype, "time_zone", None) is not None:
            return read.dt.convert_time_zone("UTC")
        zones = zones.set(read.is_null(), None)
        self._one_kind(zones, read, batch)
        if self._is_naive:
            return self._from_local(read, batch, self._local_zone())
        names = zones.drop_nulls().unique(maintain_order=True).to_list()
        named = [name for name in names if "/" in name]
        if named:
            self._same(named[:1], [name for name in names if name != named[0]], zones, batch)
            return self._from_local(read, batch, self._adopt(named[0]))
        seconds = {name: _seconds(name) for name in names}
        self._check_offsets(seconds, zones, batch)
        shift = zones.replace_strict(seconds, default=None, return_dtype=pl.Int64)
        instants = (read - (shift * 1_000_000).cast(pl.Duration("us"))).dt.replace_time_zone("UTC")
        self._check_zone(instants, shift, batch)
        return instants

    def _one_kind(self, zones: pl.Series, read: pl.Series, batch: pl.DataFrame) -> None:
        """All dates have an offset, or none has, as the first."""
        naive = zones.is_null().filter(read.is_not_null())
        if self._is_naive is None:
            self._is_naive = bool(naive[0]) if len(naive) else True
        if (naive != self._is_naive).any():
            other = read.is_not_null() & (zones.is_null() != self._is_naive)
            raise _mixed("dates with and without an offset", other, batch)

    def _check_offsets(
        self, seconds: dict[str, int], zones: pl.Series, batch: pl.DataFrame
    ) -> None:
        """Without a zone told, the offsets are one, or two an hour apart (summer and winter)."""
        if self._config.timezone is not None:
            return
        for name, offset in seconds.items():
            known = set(self._offsets.values())
            span = max({*known, offset}) - min({*known, offset})
            if len({*known, offset}) > 2 or span > _HOUR:
                raise _mixed(f"offsets {', '.join([*self._offsets, name])}", zones == name, batch)
            self._offsets[name] = offset
        distinct = sorted(set(self._offsets.values()))
        self.timezone = "UTC" if distinct == [0] else "/".join(map(_shown, distinct))

    def _check_zone(self, instants: pl.Series, shift: pl.Series, batch: pl.DataFrame) -> None:
        """With a zone told, each offset is that zone's at that time; UTC is always right."""
        if self._config.timezone is None:
            return
        there = instants.dt.convert_time_zone(self._config.timezone).dt
        offset = (there.base_utc_offset() + there.dst_offset()).dt.total_seconds()
        wrong = (offset != shift) & (shift != 0)
        if wrong.any():
            raise _mixed(f"an offset that is not {self._config.timezone}'s", wrong, batch)

    def _same(
        self, names: list[str], others: list[str], zones: pl.Series, batch: pl.DataFrame
    ) -> None:
        if others:
            raise _mixed(f"zones {', '.join(names + others)}", zones == others[0], batch)

    def _local_zone(self) -> str:
        if self._config.timezone is None:
            self._log.note("dates have no time zone: they are read as UTC")
        return self._config.timezone or "UTC"

    def _adopt(self, zone: str) -> str:
        """The zone that dates carry is the one they are read in."""
        check_timezone(zone)
        if self._config.timezone is None:
            self.timezone = zone
        elif zone not in (self._config.timezone, "UTC"):
            self._log.note(f"dates carry the time zone {zone} and are read in it")
        return zone

    def _from_local(self, local: pl.Series, batch: pl.DataFrame, zone: str) -> pl.Series:
        import polars as pl

        if zone == "UTC":
            return local.dt.replace_time_zone("UTC")
        early, late = (
            local.dt.replace_time_zone(zone, ambiguous=end, non_existent="null")
            for end in ("earliest", "latest")
        )
        twice = (early != late).fill_null(False)
        if twice.any():
            row = int(batch["row"].filter(twice)[0])
            self._log.note(
                "clocks repeat an hour: the first row of a symbol with such a local time is read "
                "as the earlier hour, a second as the later",
                row,
            )
            repeated = self._is_second(local, batch, twice)
            early = early.zip_with(~repeated, late)
        return early.dt.convert_time_zone("UTC").cast(pl.Datetime("us", "UTC"))

    def _is_second(self, local: pl.Series, batch: pl.DataFrame, twice: pl.Series) -> pl.Series:
        """True where a symbol has an ambiguous local time again, in a row that differs."""
        import polars as pl

        names = [name for name in batch.columns if name not in ("row", "ts", TIME_OF_DAY)]
        keys = ["symbol", "local"] if "symbol" in names else ["local"]
        rows = batch.select(names).with_columns(local=local, place=pl.int_range(pl.len()))
        rows = rows.filter(twice).unique([*names, "local"], keep="first", maintain_order=True)
        later = rows.filter(pl.int_range(pl.len()).over(keys) > 0)["place"]
        return pl.Series(range(len(local)), dtype=pl.Int64).is_in(later.implode())


def _seconds(name: str) -> int:
    found = re.match(r"([+-])(\d{2}):?(\d{2})?$", name)
    if found is None:
        return 0
    sign, hours, minutes = found.groups()
    return (1 if sign == "+" else -1) * (int(hours) * _HOUR + int(minutes or 0) * 60)


def _shown(seconds: int) -> str:
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}"


def _mixed(what: str, rows: pl.Series, batch: pl.DataFrame) -> MixedTimezones:
    return MixedTimezones(
        f"dates are of mixed time zones ({what})", row=int(batch["row"].filter(rows)[0])
    )
