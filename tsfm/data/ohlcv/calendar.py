"""Calendars learnt from the bars themselves: nominal frequency and bars in a season."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

DAY = np.timedelta64(1, "D").astype("m8[ns]").astype(np.int64)
WEEK = 7 * DAY


def infer_freq(calendars: Sequence[np.ndarray]) -> str | None:
    """The pandas frequency of regular bars, ``B`` for trading days, else ``None``.

    Bars are regular when every step is one duration (up to gaps, where every slot of the week is
    in use: a market that never closes), or one calendar period. Sessions (about seven hourly bars
    a day) are not: counting on from a date would mis-date them.

    Parameters
    ----------
    calendars
        ``datetime64[ns] [time]`` of each series, increasing.
    """
    steps = _steps(calendars)
    if not len(steps):
        return None
    step = _modal(steps)
    moments = np.concatenate([_integers(stamps) for stamps in calendars])
    if step < WEEK and (steps % step == 0).all():
        slots = np.unique(moments % WEEK)
        never_closed = WEEK % step == 0 and len(slots) == WEEK // step
        if never_closed or (steps == step).all():
            return _alias(step)
    if _on_trading_days(moments) and step == DAY and (steps <= 7 * DAY).all():
        return "B"
    if (steps >= WEEK).all():
        return _common(
            [pd.infer_freq(pd.DatetimeIndex(stamps)) for stamps in calendars if len(stamps) > 2]
        )
    return None


def infer_seasonality(calendars: Sequence[np.ndarray]) -> int:
    """Bars in one season: a day of intraday bars, a week of daily ones, a year of longer ones.

    A day has the modal number of bars of a session day: 24 hourly bars of a market that never
    closes, 7 of a stock exchange's.

    Parameters
    ----------
    calendars
        ``datetime64[ns] [time]`` of each series, increasing.
    """
    steps = _steps(calendars)
    if not len(steps):
        return 1
    step = _modal(steps)
    if step < DAY:
        counts = [
            np.unique(_integers(stamps) // DAY, return_counts=True)[1] for stamps in calendars
        ]
        return _modal(np.concatenate(counts))
    if step < WEEK:
        moments = np.concatenate([_integers(stamps) for stamps in calendars])
        return 5 if _on_trading_days(moments) else 7
    return max(round(365.25 * DAY / float(np.median(steps))), 1)


def continue_calendar(timestamps: np.ndarray, horizon: int) -> np.ndarray | None:
    """The next bars' dates by the weekly timetable of the past ones.

    A time of the week belongs to the timetable when at least half of the weeks had a bar then;
    holidays to come are not known. ``None`` where the past covers less than two weeks or follows
    no weekly timetable.

    Parameters
    ----------
    timestamps
        ``datetime64[ns] [time]``, increasing; NaT where padded.
    horizon
        Bars to date.

    Returns
    -------
    np.ndarray | None
        ``datetime64[ns] [horizon]``.
    """
    moments = _integers(timestamps[~np.isnat(timestamps)])
    if len(moments) < 2 or moments[-1] - moments[0] < 2 * WEEK:
        return None
    times, counts = np.unique(moments % WEEK, return_counts=True)
    timetable = times[counts >= (moments[-1] - moments[0]) / WEEK / 2]
    if not len(timetable):
        return None
    weeks = moments[-1] // WEEK + np.arange(horizon // len(timetable) + 2)
    coming = (weeks[:, None] * WEEK + timetable).reshape(-1)
    return coming[coming > moments[-1]][:horizon].view("M8[ns]")


def _integers(stamps: np.ndarray) -> np.ndarray:
    return np.asarray(stamps, "M8[ns]").astype(np.int64)


def _steps(calendars: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.diff(_integers(stamps)) for stamps in calendars] or [np.empty(0)])


def _modal(values: np.ndarray) -> int:
    unique, counts = np.unique(values, return_counts=True)
    return int(unique[counts.argmax()])


def _on_trading_days(moments: np.ndarray) -> bool:
    """Monday to Friday at midnight only (1970 began on a Thursday)."""
    weekdays = (moments // DAY + 3) % 7
    return bool((moments % DAY == 0).all() and (weekdays < 5).all())


def _alias(step: int) -> str:
    return pd.tseries.frequencies.to_offset(pd.Timedelta(step)).freqstr


def _common(aliases: Sequence[str | None]) -> str | None:
    return aliases[0] if len(set(aliases)) == 1 else None
