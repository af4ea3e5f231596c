"""What a boosted model is told of a series' past, of a step ahead, and in which units.

Every series is seen from its own last value, in units of its own steps, so that one model serves
series of any level and size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from tsfm.models.statistical import carried

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

_MOST_CYCLES, _LEAST_CYCLES, _BARS_OF_CYCLES = 7, 2, 512
_FEWEST_BARS = 4


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which features there are.

    Attributes
    ----------
    season
        Bars; 1: none.
    lags
        Latest differences to the last value.
    averages
        Bars of the trailing means and deviations.
    """

    season: int
    lags: int
    averages: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """Earlier seasons that are looked at: 7, or as many as fit into 512 bars, but 2."""
        return int(np.clip(_BARS_OF_CYCLES // self.season, _LEAST_CYCLES, _MOST_CYCLES))

    @property
    def reach(self) -> int:
        """Bars of the past that are looked at."""
        cycles = self.cycles * self.season + 1 if self.season > 1 else 0
        return max(self.lags + 1, *self.averages, cycles)


class Examples(NamedTuple):
    """Pasts and the steps ahead that are asked of them, one a row.

    Attributes
    ----------
    past
        Up to the origin, NaN where unobserved or before the series began.
    step
        From 1.
    variate
        Its place among the variates fitted.
    calendar
        Month, day of the month, day of the week and hour of the bar forecast; NaN if undated.
    outcome
        The bar forecast; NaN where it is not known.
    place
        Of the bar forecast within its series, 0 to 1.
    """

    past: Float[np.ndarray, "row reach"]
    step: Int[np.ndarray, " row"]
    variate: Int[np.ndarray, " row"]
    calendar: Float[np.ndarray, "row 4"]
    outcome: Float[np.ndarray, " row"]
    place: Float[np.ndarray, " row"]


class Seen(NamedTuple):
    """Features, and what turns a forecast in their units into the series' own.

    Attributes
    ----------
    bases
        Simple forecasts of the step, in units of ``scale`` from ``last``; 0 where unknown.
    """

    features: Float[np.ndarray, "row feature"]
    bases: Float[np.ndarray, "row base"]
    last: Float[np.ndarray, " row"]
    scale: Float[np.ndarray, " row"]


def seen(examples: Examples, layout: Layout) -> Seen:
    """Features of every example; nothing after the origin is looked at but the calendar."""
    past, step = examples.past.astype(np.float64), examples.step
    whole = carried(past)
    last = whole[:, -1]
    steps = np.diff(whole, axis=1)
    scale = _scale(whole, steps)
    units = (whole - last[:, None]) / scale[:, None]
    columns = [step, examples.variate, last / scale, *units[:, -1 - layout.lags : -1].T]
    known = np.isfinite(past)
    columns += [known.mean(axis=1), known[:, ::-1].argmax(axis=1)]
    simple = [units[:, -2]]
    for bars in layout.averages:
        recent = units[:, -bars:]
        level = _mean(recent)
        columns += [level, _mean(np.abs(np.diff(recent, axis=1))), recent[:, 0]]
        columns.append(_deviation(recent))
        simple.append(level)
    longest = layout.averages[-1]
    simple.append(-units[:, -longest] / max(longest - 1, 1) * step)
    if layout.season > 1:
        cycles, moved = _cycles(units, step, layout)
        usual = _mean(cycles)
        columns += [*cycles[:, :2].T, usual, _deviation(cycles), moved, (step - 1) % layout.season]
        simple += [cycles[:, 0], usual, moved]
    columns += list(examples.calendar.T)
    bases = np.nan_to_num(np.stack(simple, axis=1), nan=0.0)
    bases = np.concatenate([bases, bases * np.log(step)[:, None]], axis=1)
    return Seen(np.stack(columns, axis=1).astype(np.float32), bases, last, scale)


def _mean(values: Float[np.ndarray, "row bar"]) -> Float[np.ndarray, " row"]:
    """Of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1))


def _deviation(values: Float[np.ndarray, "row bar"]) -> Float[np.ndarray, " row"]:
    return np.sqrt(np.maximum(_mean(values**2) - _mean(values) ** 2, 0))


def _scale(whole: np.ndarray, steps: np.ndarray) -> Float[np.ndarray, " row"]:
    """Mean absolute step; the mean distance from the last value, or one, where nothing moved."""
    moved = _mean(np.abs(steps))
    distance = _mean(np.abs(whole - whole[:, -1:]))
    scale = np.where(moved > 0, moved, distance)
    return np.where(scale > 0, scale, 1.0)


def _cycles(
    units: np.ndarray, step: np.ndarray, layout: Layout
) -> tuple[Float[np.ndarray, "row cycle"], Float[np.ndarray, " row"]]:
    """Bars of the same place in earlier seasons, and the last value moved as one season before."""
    rows, now = np.arange(len(units)), units.shape[1] - 1
    season = layout.season
    seasons = -(-step // season)
    place = now + step - season * seasons
    cycles = np.stack([units[rows, place - k * season] for k in range(layout.cycles)], axis=1)
    return cycles, cycles[:, 0] - seasons * units[:, now - season]


def training_examples(
    panel: Panel, layout: Layout, horizon: int, max_rows: int, seed: int
) -> Examples:
    """Places drawn evenly over all series of a panel, and a step ahead of each of them.

    The draw depends on the lengths of the series alone.
    """
    lengths = np.asarray(panel.lengths)
    usable = np.maximum(lengths - _FEWEST_BARS, 0) * len(panel.info.variates)
    rng = np.random.default_rng(seed)
    wanted = min(max_rows, int(usable.sum()) * horizon)
    counts = rng.multinomial(wanted, usable / max(usable.sum(), 1)) if usable.any() else usable
    parts = list(_drawn(panel, layout, horizon, counts, rng))
    if not parts:
        nothing = np.empty(0)
        empty = nothing.astype(int)
        past = np.empty((0, layout.reach))
        return Examples(past, empty, empty, np.empty((0, 4)), nothing, nothing)
    joined = Examples(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    kept = np.isfinite(joined.outcome) & np.isfinite(joined.past).any(axis=1)
    return Examples(*(values[kept] for values in joined))


def _drawn(
    panel: Panel, layout: Layout, horizon: int, counts: np.ndarray, rng: np.random.Generator
) -> Iterator[Examples]:
    for item in np.flatnonzero(counts):
        target = np.asarray(panel.series(int(item)).target, np.float32)
        width, length = target.shape
        origin = rng.integers(_FEWEST_BARS, length, counts[item])
        step = 1 + (rng.random(counts[item]) * np.minimum(horizon, length - origin)).astype(int)
        variate = rng.integers(0, width, counts[item])
        padded = np.pad(target, ((0, 0), (layout.reach, 0)), constant_values=np.nan)
        views = np.lib.stride_tricks.sliding_window_view(padded, layout.reach, axis=1)
        bar = origin + step - 1
        stamps = panel.timestamps(int(item))
        yield Examples(
            views[variate, origin],
            step,
            variate,
            calendar(None if stamps is None else stamps[bar], len(bar)),
            target[variate, bar],
            bar / length,
        )


def calendar(stamps: np.ndarray | None, count: int) -> Float[np.ndarray, "row 4"]:
    """Month, day of the month, day of the week and hour; NaN where undated."""
    if stamps is None:
        return np.full((count, 4), np.nan, np.float32)
    import pandas as pd

    dates = pd.DatetimeIndex(stamps)
    parts = (dates.month, dates.day, dates.dayofweek, dates.hour)
    return np.stack([np.asarray(part, np.float32) for part in parts], axis=1)
