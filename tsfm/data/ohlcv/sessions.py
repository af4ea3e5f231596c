"""When an instrument trades: learnt from its own bars, or taken from an exchange's calendar.

Only timestamps are looked at, never values, and they are looked at on both sides: an exchange
publishes its holidays and hours ahead, so a timetable tells nothing of the future.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.frequency import step_nanoseconds, to_offset
from tsfm.data.ohlcv.local_time import integers, local_time, moments, universal_time
from tsfm.data.ohlcv.timetable import DAY, WEEK, Timetable
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

LEARN, NONE = "learn", "none"


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """The bars that an instrument's market makes.

    Attributes
    ----------
    timezone
        The market's own time zone.
    step
        Microseconds of one bar; of a day for trading days.
    continuous
        The market never closes.
    stamps
        ``int64 [bar]``: microseconds since 1970 UTC of every expected bar, increasing.
    facts
        What was learnt, in words.
    """

    timezone: str
    step: int
    continuous: bool
    stamps: np.ndarray = field(repr=False)
    facts: dict[str, str]

    @classmethod
    def of(cls, wanted: str, ts: pl.Series, *, freq: str, timezone: str = "UTC") -> Sessions | None:
        """Sessions as :attr:`CleaningConfig.sessions` names them: ``learn``, ``none`` or a code.

        Parameters
        ----------
        ts
            As :meth:`learn`; of a named exchange, their span is what is laid out.

        Raises
        ------
        ConfigError, DataError
            As :meth:`learn` and :meth:`named`.
        """
        if wanted == NONE or ts.is_empty():
            return None
        if wanted == LEARN:
            return cls.learn(ts, freq, timezone=timezone)
        stamps = integers(ts)
        choices = [
            cls.named(
                wanted, freq, first=stamps[0], last=stamps[-1], timezone=timezone, labels=labels
            )
            for labels in ("clock", "open")
        ]
        return max(choices, key=lambda one: len(np.intersect1d(one.stamps, stamps)))

    @classmethod
    def learn(cls, ts: pl.Series, freq: str, *, timezone: str = "UTC") -> Sessions:
        """The weekly timetable that the bars themselves keep, in local time.

        A time of the week is expected where most of the nine weeks around have a bar then, so
        that a change of hours is followed at once. A day without any bar of a market that closes
        is a holiday; a day that ends (or begins) early is an early close when that hour recurs
        about every other year, else it has gaps. A market open at all hours has no holidays.

        Parameters
        ----------
        ts
            ``Datetime [bar]`` in UTC, increasing and unique, of the bars that are observed (those
            that cleaning inserted are no evidence); of several instruments of one market, their
            union.
        freq
            Frequency of the bars, ``h`` or ``1h`` for hourly ones.
        timezone
            Of the exchange: its hours shift against UTC by daylight saving.

        Raises
        ------
        ConfigError
            When the frequency or the time zone is not known.
        DataError
            When there are no bars.
        """
        if ts.is_empty():
            raise DataError("there are no bars to learn sessions from", where="ts")
        step, stamps = _step(freq), integers(ts)
        if step >= WEEK:
            stamps = _by_calendar(stamps, freq, timezone)
            facts = {"sessions": f"one bar each {freq}"}
            return cls(timezone=timezone, step=step, continuous=True, stamps=stamps, facts=facts)
        table = Timetable.of(local_time(stamps, timezone))
        continuous = table.is_always_open(step)
        if continuous and step < DAY:
            expected = np.arange(stamps[0], stamps[-1] + 1, step)
        else:
            local = table.expected(holidays=not continuous)
            expected = universal_time(local, timezone)
        inside = (expected >= stamps[0]) & (expected <= stamps[-1])
        return cls(
            timezone=timezone,
            step=step,
            continuous=continuous,
            stamps=expected[inside],
            facts={"sessions": table.described(always_open=continuous), "time zone": timezone}
            | ({} if continuous else table.exceptions()),
        )

    @classmethod
    def named(
        cls,
        name: str,
        freq: str = "1h",
        *,
        first: object = "2000-01-01",
        last: object = "2025-12-31",
        timezone: str | None = None,
        labels: str = "clock",
    ) -> Sessions:
        """The sessions of an exchange, by the calendars of the library ``exchange_calendars``.

        Parameters
        ----------
        name
            Its code there, such as ``XNYS``, ``XLON`` or ``24/5``.
        first, last
            The span laid out, in whole years: dates, or microseconds since 1970.
        timezone
            In which bars of a day are dated (midnight); the exchange's when not given.
        labels
            ``clock``: bars begin at full hours (or other multiples of the frequency), so the bar
            of an opening at 9:30 is labelled 9:00. ``open``: bars count from the opening.

        Raises
        ------
        ConfigError
            When the library is missing or does not know the name, or bars are longer than a day.
        """
        from tsfm.data.ohlcv.exchange import schedule

        step = _step(freq)
        if step > DAY:
            raise ConfigError(
                f"freq={freq!r} has no sessions of an exchange", remedy="give a day or less"
            )
        hours = schedule(name, _year(first), _year(last))
        zone = timezone or hours.timezone
        stamps = (
            universal_time(hours.dates, zone)
            if step == DAY
            else hours.bars(step, from_opening=labels == "open")
        )
        return cls(
            timezone=zone,
            step=step,
            continuous=False,
            stamps=stamps,
            facts={"sessions": f"exchange {name}", "time zone": zone},
        )

    def expected(self, first: object, last: object) -> pl.Series:
        """Expected bars from ``first`` to ``last``, both included.

        Parameters
        ----------
        first, last
            Dates (UTC when naive), or microseconds since 1970.

        Returns
        -------
        pl.Series
            ``Datetime("us", "UTC") [bar]``; empty outside what was learnt or laid out.
        """
        return moments(self.between(_microseconds(first), _microseconds(last)))

    def between(self, first: int, last: int) -> np.ndarray:
        """:meth:`expected` as ``int64 [bar]`` microseconds."""
        start, stop = np.searchsorted(self.stamps, [first, last + 1])
        return self.stamps[start:stop]


def _by_calendar(stamps: np.ndarray, freq: str, timezone: str) -> np.ndarray:
    """Weeks, months or years from the first bar on, where all the bars keep them."""
    import pandas as pd

    local = pd.DatetimeIndex(local_time(stamps, timezone).view("M8[us]"))
    regular = pd.date_range(local[0], local[-1], freq=to_offset(freq)).as_unit("us")
    if not local.isin(regular).all():
        return stamps
    return universal_time(regular.asi8, timezone)


def _step(freq: str) -> int:
    if to_offset(freq).name == "B":
        return DAY
    nanoseconds = step_nanoseconds(freq)
    return nanoseconds // 1000 if nanoseconds is not None else WEEK


def _microseconds(value: object) -> int:
    import pandas as pd

    if isinstance(value, int | np.integer):
        return int(value)
    return pd.Timestamp(value).value // 1000  # type: ignore[arg-type]


def _year(value: object) -> int:
    return int(np.datetime64(_microseconds(value), "us").astype("M8[Y]").astype(int)) + 1970
