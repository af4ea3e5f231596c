"""Times of readings as they are written: text, epochs, with a zone or without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

_DAY_OR_MONTH = (
    ("%m/%d/%Y", "%d/%m/%Y"),
    ("%d-%m-%Y", "%m-%d-%Y"),
    ("%m/%d/%y", "%d/%m/%y"),
)
_TIMES = ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
_EARLIEST, _LATEST = 1980, 2100
_OFFSET = r"^([+-])(\d{2}):?(\d{2})?$"
_SECONDS, _MILLISECONDS = (3e8, 4.2e9), (3e11, 4.2e12)


@dataclass(frozen=True, kw_only=True)
class Times:
    """A column of times.

    Attributes
    ----------
    stamps
        ``Datetime("us")``: instants in UTC, or what a clock showed; null where unreadable.
    absolute
        Whether they are instants.
    offset_minutes
        Of the first one's own clock to UTC, where it is written.
    unreadable
        Cells that hold something else.
    """

    stamps: pl.Series
    absolute: bool
    offset_minutes: int = 0
    unreadable: int = 0


def read_times(cells: pl.Series, *, date_format: str = "", where: str) -> Times:
    """Dates of a column, of whatever type.

    Raises
    ------
    DataError
        When half of them cannot be read, day and month cannot be told apart, or a date is not of
        the age of glucose sensors.
    """
    import polars as pl

    if cells.dtype == pl.Date:
        cells = cells.cast(pl.Datetime("us"))
    if isinstance(cells.dtype, pl.Datetime):
        times = _typed(cells)
    elif cells.dtype.is_numeric():
        times = _epochs(cells, where)
    else:
        times = _written(cells.cast(pl.String).str.strip_chars(), date_format, where)
    years = times.stamps.dt.year()
    odd = (years < _EARLIEST) | (years > _LATEST)
    if odd.any():
        raise DataError(
            f"{int(odd.sum())} dates such as {times.stamps.filter(odd)[0]} are not believable",
            where=where,
            remedy="correct them, or give date_format",
        )
    if times.stamps.null_count() == len(times.stamps):
        raise DataError("no time can be read", where=where, remedy="give date_format")
    return times


def _typed(cells: pl.Series) -> Times:
    plain = cells.dt.cast_time_unit("us")
    if cells.dtype.time_zone is None:  # type: ignore[attr-defined]
        return Times(stamps=plain, absolute=False)
    known = plain.drop_nulls()
    offset = known.dt.base_utc_offset() + known.dt.dst_offset()
    return Times(
        stamps=plain.dt.convert_time_zone("UTC").dt.replace_time_zone(None),
        absolute=True,
        offset_minutes=int(offset.dt.total_minutes()[0]) if len(known) else 0,
    )


def _epochs(cells: pl.Series, where: str) -> Times:
    import polars as pl

    values = cells.cast(pl.Float64)
    median = values.median()
    for (low, high), factor in ((_SECONDS, 1e6), (_MILLISECONDS, 1e3)):
        if isinstance(median, float) and low < median < high:
            stamps = (values * factor).cast(pl.Int64).cast(pl.Datetime("us"))
            return Times(stamps=stamps, absolute=True)
    raise DataError(
        f"times around {median!s} are neither seconds nor milliseconds since 1970",
        where=where,
        remedy="give dates as text, or epochs",
    )


def _written(text: pl.Series, date_format: str, where: str) -> Times:
    import polars as pl

    from tsfm.data.ohlcv.date_text import TextFormat, take_apart

    text = text.set(text == "", None)
    local, zone = take_apart(text)
    try:
        form = TextFormat(date=date_format, times=None) if date_format else TextFormat.of(local)
        stamps = form.read(text if date_format else local)
    except DataError as error:
        continuous = None if date_format else _day_or_month(local)
        if continuous is None:
            raise DataError(error.what, where=where, remedy=error.remedy) from error
        stamps = continuous
    if isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone is not None:
        return Times(
            stamps=stamps.dt.replace_time_zone(None),
            absolute=True,
            unreadable=stamps.null_count() - text.null_count(),
        )
    unreadable = stamps.null_count() - text.null_count()
    if date_format or zone.null_count() == len(zone):
        return Times(stamps=stamps, absolute=False, unreadable=unreadable)
    minutes = _offsets(zone, where)
    if zone.null_count() > text.null_count():
        raise DataError(
            "some times have an offset to UTC and some have none",
            where=where,
            remedy="write all of them one way",
        )
    return Times(
        stamps=(stamps.cast(pl.Int64) - minutes * 60_000_000).cast(pl.Datetime("us")),
        absolute=True,
        offset_minutes=int(minutes.drop_nulls()[0]),
        unreadable=unreadable,
    )


def _day_or_month(local: pl.Series) -> pl.Series | None:
    """Dates read day first or month first, whichever runs on without gaps; ``None``: neither."""
    from tsfm.data.ohlcv.date_text import TextFormat

    for forms in _DAY_OR_MONTH:
        reads = [TextFormat(date=form, times=_TIMES).read(local) for form in forms]
        if any(read.null_count() > local.null_count() for read in reads):
            continue
        days = [1 + (read.dt.date().max() - read.dt.date().min()).days for read in reads]  # type: ignore[operator,union-attr]
        if max(days) > 2 * min(days):
            return reads[days.index(min(days))]
    return None


def _offsets(zone: pl.Series, where: str) -> pl.Series:
    """Minutes ahead of UTC."""
    import polars as pl

    parts = pl.DataFrame({"zone": zone.str.replace(r"^(?:Z|z|UTC|GMT)$", "+00:00")})
    sign = pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
    hours = pl.col("zone").str.extract(_OFFSET, 2).cast(pl.Int64)
    minutes = pl.col("zone").str.extract(_OFFSET, 3).cast(pl.Int64).fill_null(0)
    read = parts.select((sign * (hours * 60 + minutes)).alias("minutes")).to_series()
    if read.null_count() > zone.null_count():
        raise DataError(
            f"the zone {zone.filter(read.is_null() & zone.is_not_null())[0]!r} is not an offset",
            where=where,
            remedy="write offsets such as +01:00, or local times and timezone=",
        )
    return read


def on_steady_clock(
    stamps: pl.Series, *, absolute: bool, offset_minutes: int, timezone: str
) -> pl.Series:
    """Times on a clock that is never changed: the zone's offset at the first of them.

    Parameters
    ----------
    stamps
        In the order they were recorded, which tells the two passes of a repeated hour apart.
    timezone
        Empty: instants get the offset written with them, clocks stay as they are.

    Returns
    -------
    stamps
        Null for clock times that the zone skips.

    Raises
    ------
    ConfigError
        When the zone is not known.
    """
    import polars as pl

    if not timezone:
        return _moved(stamps, offset_minutes if absolute else 0)
    try:
        if absolute:
            universal = stamps.dt.replace_time_zone("UTC")
        else:
            first, second = (
                stamps.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null")
                for which in ("earliest", "latest")
            )
            went_back = (stamps.cast(pl.Int64).diff() < 0).fill_null(value=False)
            passes = pl.DataFrame({"day": stamps.dt.date(), "back": went_back})
            again = passes.select(pl.col("back").cum_sum().over("day") > 0).to_series()
            universal = first.zip_with(~again, second).dt.convert_time_zone("UTC")
        local = universal.dt.convert_time_zone(timezone)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"time zone {timezone!r} is not known",
            remedy="give a name of the IANA database such as Europe/London or UTC",
        ) from error
    known = local.drop_nulls()
    offset = (known.dt.base_utc_offset() + known.dt.dst_offset()).dt.total_minutes()
    return _moved(universal.dt.replace_time_zone(None), int(offset[0]) if len(known) else 0)


def _moved(stamps: pl.Series, minutes: int) -> pl.Series:
    import polars as pl

    if not minutes:
        return stamps
    return (stamps.cast(pl.Int64) + minutes * 60_000_000).cast(pl.Datetime("us"))
