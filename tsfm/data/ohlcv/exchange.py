"""Opening hours of exchanges, from the library ``exchange_calendars`` (optional)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tsfm.errors import ConfigError

DAY = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class Hours:
    """The sessions of an exchange.

    Attributes
    ----------
    timezone
        The exchange's.
    dates
        ``int64 [session]``: midnight of the session's date, in naive microseconds.
    opens, closes
        ``int64 [part]``: microseconds since 1970 UTC of every part of a session: two where there
        is a break at noon.
    """

    timezone: str
    dates: np.ndarray
    opens: np.ndarray
    closes: np.ndarray

    def bars(self, step: int, *, from_opening: bool) -> np.ndarray:
        """``int64 [bar]``: where bars of ``step`` microseconds begin.

        Parameters
        ----------
        from_opening
            Count from the opening, else from the full multiples of ``step`` in UTC.
        """
        opens = self.opens if from_opening else self.opens - self.opens % step
        counts = -((opens - self.closes) // step)
        first = np.repeat(opens, counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.unique(first + within * step)


@lru_cache(maxsize=64)
def schedule(name: str, first_year: int, last_year: int) -> Hours:
    """The sessions of an exchange from one year to another, as far as the library knows them.

    Raises
    ------
    ConfigError
        When the library is missing or does not know the name.
    """
    try:
        import exchange_calendars
    except ImportError as error:
        raise ConfigError(
            f"sessions={name!r} needs the library exchange_calendars, which is not installed",
            remedy="run pip install exchange_calendars, or give sessions=learn",
        ) from error
    try:
        calendar = exchange_calendars.get_calendar(name)
    except exchange_calendars.errors.InvalidCalendarName as error:
        known = ", ".join(exchange_calendars.get_calendar_names(include_aliases=False))
        raise ConfigError(
            f"sessions={name!r} is no exchange that exchange_calendars knows",
            remedy=f"choose learn, none or one of: {known}",
        ) from error
    earliest, latest = calendar.bound_min(), calendar.bound_max()
    first, last = np.datetime64(f"{first_year}-01-01"), np.datetime64(f"{last_year}-12-31")
    calendar = exchange_calendars.get_calendar(
        name,
        start=first if earliest is None else max(first, earliest.to_datetime64()),
        end=last if latest is None else min(last, latest.to_datetime64()),
    )
    table = calendar.schedule
    whole = table["break_start"].isna().to_numpy()
    opens, closes, pause, resume = (
        table[name].to_numpy("M8[us]").astype(np.int64)
        for name in ("open", "close", "break_start", "break_end")
    )
    return Hours(
        timezone=str(calendar.tz),
        dates=table.index.to_numpy("M8[us]").astype(np.int64),
        opens=np.concatenate([opens, resume[~whole]]),
        closes=np.concatenate([np.where(whole, closes, pause), closes[~whole]]),
    )
