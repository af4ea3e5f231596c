"""Dates written as text: the format of a column found from its values, offsets taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y",
    "%m-%d-%Y", "%d-%b-%Y", "%m/%d/%y", "%d/%m/%y",
)  # fmt: skip
_TIMES = ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%H%M%S", "%H%M")
_SAMPLE = 2000
_MAYBE_ZONED = r"(?:[A-Za-z]|:\d{2}(?:\.\d+)?\s*[+-]\d{2}(?::?\d{2})?)$"
_ZONED = (
    r"^(.*:\d{2}(?:\.\d+)?)\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?|[A-Z][A-Za-z]+/[A-Za-z_/+0-9-]+)$"
)


def take_apart(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Local times, and the zone or offset written behind them (null where there is none)."""
    if not text.str.contains(_MAYBE_ZONED).any():
        return text, text.set(text.is_not_null(), None)
    local, zone = text.str.extract(_ZONED, 1), text.str.extract(_ZONED, 2)
    return local.zip_with(local.is_not_null(), text), zone


@dataclass(frozen=True, kw_only=True)
class TextFormat:
    """How the local times of a column are written.

    Attributes
    ----------
    date
        The format of the date, or of the whole where ``times`` is ``None``.
    times
        Formats of what follows a blank or ``T``, tried in this order.
    """

    date: str
    times: tuple[str, ...] | None

    @classmethod
    def of(cls, local: pl.Series) -> TextFormat:
        """The format that reads all values, or most of them.

        Raises
        ------
        DataError
            When none reads half of the values, or several read all (day or month first).
        """
        dates, times = _parts(local)
        sample = dates.drop_nulls().unique(maintain_order=True)
        values = sample.gather_every(max(len(sample) // _SAMPLE, 1)).to_list()
        if not values:
            raise DataError("no date can be read")
        counts = {form: _fitting(values, form) for form in _DATES}
        best = max(counts, key=lambda form: counts[form])
        rivals = [form for form in _DATES if counts[form] == counts[best]]
        if counts[best] * 2 < len(values):
            raise DataError(
                f"dates such as {values[0]!r} cannot be read",
                remedy="give their format with date_format, such as %d.%m.%Y %H:%M",
            )
        if len(rivals) > 1:
            raise DataError(
                f"dates such as {values[0]!r} could be {' or '.join(rivals)}",
                remedy="choose one with date_format",
            )
        some = times.drop_nulls().unique(maintain_order=True).head(_SAMPLE)
        used = [form for form in _TIMES if some.str.to_time(form, strict=False).is_not_null().any()]
        return cls(date=best, times=tuple(used))

    def read(self, local: pl.Series) -> pl.Series:
        """``Datetime("us")``, with UTC where the format has an offset; null where unreadable."""
        import polars as pl

        if self.times is None:
            try:
                return local.str.to_datetime(self.date, time_unit="us", strict=False)
            except pl.exceptions.ComputeError as error:
                raise DataError(
                    f"date_format={self.date!r} cannot be used: {str(error).splitlines()[0]}",
                    remedy="write it like %d.%m.%Y %H:%M",
                ) from error
        if self.times:
            for between in " T":
                whole = f"{self.date}{between}{self.times[0]}"
                read = local.str.to_datetime(whole, time_unit="us", strict=False)
                if read.null_count() == local.null_count():
                    return read
        dates, times = _parts(local)
        day = dates.str.to_date(self.date, strict=False)
        if not self.times:
            return day.cast(pl.Datetime("us")).set(times.is_not_null(), None)
        parts = pl.DataFrame({"day": day, "time": times})
        time = pl.col("time")
        clock = pl.coalesce(time.str.to_time(form, strict=False) for form in self.times)
        clock = pl.when(time.is_null()).then(pl.time(0)).otherwise(clock)
        return parts.select(pl.col("day").dt.combine(clock)).to_series()


def _parts(local: pl.Series) -> tuple[pl.Series, pl.Series]:
    """What stands before and after the first blank or ``T``."""
    parts = local.str.extract_groups(r"^([^ T]*)(?:[ T]+(.*))?$")
    dates, times = parts.struct.unnest()
    return dates, times


def _fitting(values: Sequence[str], form: str) -> int:
    return sum(_fits(value, form) for value in values)


def _fits(value: str, form: str) -> bool:
    try:
        datetime.strptime(value, form)
    except ValueError:
        return False
    return True
