"""The weekly timetable that timestamps keep, week by week."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

MINUTE = 60_000_000
DAY = 1440 * MINUTE
WEEK = 7 * DAY
MONDAY = 3 * DAY
AROUND = 4
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """Which times of the week have bars, in each week that has any.

    Attributes
    ----------
    weeks
        ``int64 [week]``: weeks since 1970 (Monday first) that have a bar.
    slots
        ``int64 [slot]``: microseconds since Monday's midnight, increasing.
    present
        ``bool [week, slot]``: there is a bar.
    """

    weeks: np.ndarray
    slots: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, local: np.ndarray) -> Timetable:
        """The timetable of local microseconds ``int64 [bar]``."""
        week, slot = np.divmod(local + MONDAY, WEEK)
        new_week = np.diff(week, prepend=week[0] - 1) != 0
        weeks, row = week[new_week], np.cumsum(new_week) - 1
        slots, column, counts = _counted(slot)
        usual = 2 * counts > min(len(weeks), AROUND + 1)
        place = np.cumsum(usual) - 1
        kept = usual[column]
        present = np.zeros((len(weeks), int(usual.sum())), bool)
        present[row[kept], place[column[kept]]] = True
        return cls(weeks=weeks, slots=slots[usual], present=present)

    @cached_property
    def usual(self) -> np.ndarray:
        """``bool [week, slot]``: most of the nine weeks around had a bar then."""
        count = len(self.weeks)
        sums = np.zeros((count + 1, len(self.slots)), np.int32)
        np.cumsum(self.present, axis=0, out=sums[1:])
        first = np.maximum(np.arange(count) - AROUND, 0)
        stop = np.minimum(np.arange(count) + AROUND + 1, count)
        return 2 * (sums[stop] - sums[first]) > (stop - first)[:, None]

    @cached_property
    def weekday(self) -> np.ndarray:
        """``int [slot]``, Monday 0."""
        return self.slots // DAY

    def is_always_open(self, step: int) -> bool:
        """Whether nearly every bar of the week is usual in nearly every week."""
        return len(self.slots) == WEEK // step and float(self.usual.mean()) > 0.98

    @cached_property
    def closed(self) -> np.ndarray:
        """``bool [week, weekday]``: bars are usual that day, none is there."""
        days = self._by_day(self.usual) & ~self._by_day(self.present & self.usual)
        days[0, : self._first_day] = days[-1, self._last_day + 1 :] = False
        return days

    @cached_property
    def shortened(self) -> np.ndarray:
        """``bool [week, slot]``: usual bars before a late opening or after an early close."""
        cut = np.zeros_like(self.usual)
        for day in np.unique(self.weekday):
            columns = np.flatnonzero(self.weekday == day)
            usual, seen = self.usual[:, columns], (self.present & self.usual)[:, columns]
            cut[:, columns] = usual & (_after_last(seen) | _after_last(seen[:, ::-1])[:, ::-1])
        return cut & self._recurrent(cut)

    def expected(self, *, holidays: bool) -> np.ndarray:
        """``int64 [bar]``: local microseconds of the bars to be expected, increasing.

        Parameters
        ----------
        holidays
            Days without any bar are closed, and recurring early closes are none of the data's
            faults.
        """
        mask = self.usual
        if not holidays:
            weeks = np.arange(self.weeks[0], self.weeks[-1] + 1)
            mask = mask[np.searchsorted(self.weeks, weeks, side="right") - 1]
        else:
            weeks = self.weeks
            mask = mask & ~self.closed[:, self.weekday] & ~self.shortened
        row, column = np.nonzero(mask)
        return weeks[row] * WEEK - MONDAY + self.slots[column]

    def described(self, *, always_open: bool) -> str:
        """The present timetable and how many there were before, in words."""
        if always_open:
            return "open at all hours"
        changes = 1 + np.flatnonzero((np.diff(self.usual.view(np.int8), axis=0) != 0).any(axis=1))
        eras = [
            (first, stop)
            for first, stop in zip([0, *changes], [*changes, len(self.weeks)])
            if stop - first > 2 * AROUND
        ] or [(0, len(self.weeks))]
        first, stop = eras[-1]
        words = _in_words(self.slots[self.usual[(first + stop) // 2]])
        lasting = [self.usual[(first + stop) // 2].tobytes() for first, stop in eras]
        earlier = len(set(lasting)) - 1
        return words + (f"; {earlier} other timetables before" if earlier else "")

    def exceptions(self) -> dict[str, str]:
        """Counts of what was taken for holidays and short days."""
        short = self._by_day(self.shortened) & ~self.closed
        return {
            "weekdays without bars": str(int(self.closed.sum())),
            "short days": str(int(short.sum())),
        }

    @property
    def _first_day(self) -> int:
        return int(np.flatnonzero(self._by_day(self.present)[0])[:1].sum())

    @property
    def _last_day(self) -> int:
        return int(np.flatnonzero(self._by_day(self.present)[-1])[-1:].sum())

    def _by_day(self, mask: np.ndarray) -> np.ndarray:
        """``bool [week, 7]``: any slot of the day."""
        days = np.zeros((len(mask), 7), bool)
        for day in range(7):
            days[:, day] = mask[:, self.weekday == day].any(axis=1)
        return days

    def _recurrent(self, cut: np.ndarray) -> np.ndarray:
        """``bool [week, slot]``: the day's remaining hours are those of some other short days."""
        left = self.usual & ~cut & ~self.closed[:, self.weekday]
        shared = np.zeros_like(cut)
        time_of_day = self.slots % DAY
        hours = {}
        for day in np.unique(self.weekday):
            columns = np.flatnonzero(self.weekday == day)
            rows = np.flatnonzero(cut[:, columns].any(axis=1) & left[:, columns].any(axis=1))
            remaining = left[np.ix_(rows, columns)]
            opening = time_of_day[columns[remaining.argmax(axis=1)]]
            closing = time_of_day[columns[len(columns) - 1 - remaining[:, ::-1].argmax(axis=1)]]
            hours[day] = (columns, rows, np.stack([opening, closing], axis=1))
        if not hours:
            return shared
        kinds, counts = np.unique(
            np.concatenate([kind for _, _, kind in hours.values()]), axis=0, return_counts=True
        )
        years = (self.weeks[-1] - self.weeks[0] + 1) / 52.18
        known = {tuple(kind) for kind in kinds[counts >= max(3, years / 2)]}
        for columns, rows, kind in hours.values():
            accepted = rows[[tuple(one) in known for one in kind]] if len(rows) else rows
            shared[np.ix_(accepted, columns)] = True
        return shared


def _counted(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``np.unique`` with inverse and counts; without sorting where slots are whole minutes."""
    minutes, rest = np.divmod(slots, MINUTE)
    if rest.any():
        return np.unique(slots, return_inverse=True, return_counts=True)
    counts = np.bincount(minutes)
    used = counts > 0
    place = np.cumsum(used) - 1
    return np.flatnonzero(used) * MINUTE, place[minutes], counts[used]


def _after_last(seen: np.ndarray) -> np.ndarray:
    """``bool [week, slot]``: later than the last ``True`` of the row."""
    return ~np.logical_or.accumulate(seen[:, ::-1], axis=1)[:, ::-1]


def _in_words(slots: np.ndarray) -> str:
    """Weekdays of equal hours together: ``Mon-Fri 09:00-15:00 (7 bars a day)``."""
    hours: dict[str, list[int]] = {}
    for day in np.unique(slots // DAY):
        times = slots[slots // DAY == day] % DAY
        bars = f"({len(times)} bars a day)" if len(times) > 1 else "(1 bar a day)"
        span = f"{_clock(times[0])}-{_clock(times[-1])} " if len(times) > 1 else ""
        hours.setdefault(span + bars, []).append(int(day))
    return ", ".join(f"{_days(days)} {span}" for span, days in hours.items())


def _days(days: list[int]) -> str:
    if len(days) > 2 and days == list(range(days[0], days[-1] + 1)):
        return f"{WEEKDAYS[days[0]]}-{WEEKDAYS[days[-1]]}"
    return " ".join(WEEKDAYS[day] for day in days)


def _clock(microseconds: int) -> str:
    minutes = int(microseconds) // MINUTE
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
