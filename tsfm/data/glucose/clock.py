"""The order of one person's readings: clocks that went back, and two people in one file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tsfm.errors import DataError

HOUR = 3_600_000_000
_APART = 15.0
_TWO_PEOPLE_SHARE = 0.1
_ROUGHNESS = 2.0
_CLOSE = HOUR // 3


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """Readings in the order of time.

    Attributes
    ----------
    rows
        Which of the readings given are kept, in order of time, once each.
    counts
        ``clock`` jumps back, ``duplicate`` readings and ``conflict``: two values at one time.
    jumps
        Where clocks went back: microseconds.
    """

    rows: Int[np.ndarray, " kept"]
    counts: dict[str, int]
    jumps: Int[np.ndarray, " jump"]


def ordered(
    stamps: Int[np.ndarray, " reading"],
    values: Float[np.ndarray, " reading"],
    *,
    clock_hours: float,
    where: str,
) -> Ordered:
    """Sort readings, drop repeated ones, and refuse what cannot be one person's.

    Parameters
    ----------
    stamps
        Microseconds, in the order of the file; newest first is turned around.
    values
        mg/dL.
    clock_hours
        A clock may go back so far.

    Raises
    ------
    DataError
        When the clock goes back further, or two people's readings are mixed.
    """
    rows = np.arange(len(stamps))
    steps = np.diff(stamps)
    if (steps < 0).sum() > (steps > 0).sum():
        rows = rows[::-1]
        steps = np.diff(stamps[rows])
    back = np.flatnonzero(steps < 0)
    furthest = -int(steps.min(initial=0)) / HOUR
    if furthest > clock_hours:
        row = int(rows[int(steps.argmin()) + 1])
        raise DataError(
            f"the clock goes back by {furthest:.0f} hours at reading {row}",
            where=where,
            remedy="sort the file by time if it is one person's, name a column of people if it is "
            "several, or allow it with clock_hours",
        )
    jumps = stamps[rows[back]]
    rows = rows[np.argsort(stamps[rows], kind="stable")]
    _expect_one_person(stamps[rows], values[rows], where)
    same_time = np.diff(stamps[rows], prepend=stamps[rows][:1] - 1) == 0
    same_value = np.abs(np.diff(values[rows], prepend=np.nan)) <= 0
    both_out = np.diff(values[rows], prepend=np.nan)
    same_value |= np.isnan(both_out) & same_time & ~np.isfinite(values[rows])
    counts = {
        "clock": len(back),
        "duplicate": int((same_time & same_value).sum()),
        "conflict": int((same_time & ~same_value).sum()),
    }
    return Ordered(
        rows=rows[~same_time],
        counts={kind: count for kind, count in counts.items() if count},
        jumps=jumps,
    )


def _expect_one_person(stamps: np.ndarray, values: np.ndarray, where: str) -> None:
    """One person's glucose changes little between neighbours; two people's alternate."""
    finite = np.isfinite(values)
    stamps, values = stamps[finite], values[finite]
    if len(values) < 20:
        return
    steps, jumps = np.diff(stamps), np.abs(np.diff(values))
    clashes = float(((steps == 0) & (jumps > _APART)).mean())
    close = (stamps[2:] - stamps[:-2]) <= _CLOSE
    alternates = False
    if close.mean() > 0.5:
        one, two = jumps[:-1][close], np.abs(values[2:] - values[:-2])[close]
        alternates = float(np.median(one)) > max(_APART, _ROUGHNESS * float(np.median(two)))
    if clashes >= _TWO_PEOPLE_SHARE or alternates:
        raise DataError(
            "readings of two or more people seem to be mixed: "
            + (
                f"{clashes:.0%} have another value at the same time"
                if clashes >= _TWO_PEOPLE_SHARE
                else f"neighbours differ by {np.median(one):.0f} mg/dL, next but one by "
                f"{np.median(two):.0f}"
            ),
            where=where,
            remedy="add a column that names the person, such as p_num",
        )
