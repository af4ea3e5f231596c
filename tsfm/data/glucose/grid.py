"""A regular grid for readings that come about every five minutes, and for what happens between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from tsfm.data.kernel_cache import njit

MINUTE = 60_000_000
_REACH = 0.55


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Readings on bars.

    Attributes
    ----------
    bars
        Of the readings kept, counted from 1970.
    kept
        Which readings those are.
    moved
        Readings put on the bar beside their nearest one.
    """

    bars: Int[np.ndarray, " kept"]
    kept: Bool[np.ndarray, " reading"]
    moved: int


def resolution(stamps: Int[np.ndarray, " reading"]) -> int:
    """Whole minutes between most readings; 0 where there are fewer than two."""
    steps = np.diff(stamps)
    steps = steps[steps > MINUTE // 4]
    return max(round(float(np.median(steps)) / MINUTE), 1) if len(steps) else 0


def place(stamps: Int[np.ndarray, " reading"], step: int) -> Placed:
    """Put every reading on its nearest bar; where two meet, the nearer stays.

    Sensors drift against the clock, so that of two readings five minutes apart both may be nearest
    to one bar and none to the next. A reading therefore takes the bar after the last reading's
    rather than its nearest one, where that is hardly farther: up to 0.55 steps away. The order of
    readings never changes, so no bar holds a reading that was taken after that of a later bar.

    Parameters
    ----------
    stamps
        Microseconds, increasing.
    step
        Microseconds.
    """
    bars, moved = _follow(np.ascontiguousarray(stamps), step)
    distance = np.abs(stamps - bars * step)
    order = np.lexsort((distance, bars))
    first = np.diff(bars[order], prepend=bars[order][:1] - 1) != 0
    kept = np.zeros(len(stamps), bool)
    kept[order[first]] = True
    return Placed(bars=bars[kept], kept=kept, moved=int(moved))


@njit(cache=True)
def _follow(stamps: np.ndarray, step: int) -> tuple[np.ndarray, int]:
    bars = np.empty(len(stamps), np.int64)
    moved = 0
    for k, stamp in enumerate(stamps):
        bars[k] = (stamp + step // 2) // step
        if k and bars[k] != bars[k - 1] + 1 and bars[k] <= bars[k - 1] + 2:
            following = bars[k - 1] + 1
            if abs(stamp - following * step) < _REACH * step:
                bars[k] = following
                moved += 1
        if k and bars[k] < bars[k - 1]:
            bars[k] = bars[k - 1]
    return bars, moved


def past_bar(stamps: Int[np.ndarray, " event"], step: int) -> Int[np.ndarray, " event"]:
    """The first bar that knows of an event: at its time or later."""
    return -np.floor_divide(-stamps, step)


def summed(
    bars: Int[np.ndarray, " event"], amounts: Float[np.ndarray, " event"], length: int
) -> Float[np.ndarray, " time"]:
    """Sums by bar; 0 where nothing happened."""
    inside = (bars >= 0) & (bars < length)
    return np.bincount(bars[inside], weights=amounts[inside], minlength=length)


def averaged(
    bars: Int[np.ndarray, " event"], values: Float[np.ndarray, " event"], length: int
) -> Float[np.ndarray, " time"]:
    """Means by bar; NaN where nothing was observed."""
    count = summed(bars, np.ones(len(bars)), length)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, summed(bars, values, length) / count, np.nan)


def held(
    bars: Int[np.ndarray, " event"],
    values: Float[np.ndarray, " event"],
    length: int,
    longest: int,
) -> Float[np.ndarray, " time"]:
    """The last value so far, for at most ``longest`` bars; ``bars`` increase."""
    if not len(bars):
        return np.full(length, np.nan)
    at = np.arange(length)
    last = np.searchsorted(bars, at, side="right") - 1
    known = (last >= 0) & (at - bars[np.maximum(last, 0)] <= longest)
    return np.where(known, values[np.maximum(last, 0)], np.nan)
