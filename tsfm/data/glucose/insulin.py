"""Insulin and carbohydrates on board, from doses and meals, by published absorption curves.

Both look back only: a dose counts from the moment it was given.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from tsfm.errors import ConfigError, one_of

Remaining = Callable[[np.ndarray], np.ndarray]
_MICROSECONDS = 60_000_000
_HOVORKA_TAIL = 12.0


def insulin_remaining(
    minutes: Float[np.ndarray, "*any"],
    *,
    duration: float = 360.0,
    peak: float = 75.0,
    delay: float = 10.0,
) -> Float[np.ndarray, "*any"]:
    """Share of a dose of rapid-acting insulin that has not acted yet, by minutes since it.

    The exponential model of LoopKit (``ExponentialInsulinModel``), proposed by D. Maksimovic in
    https://github.com/LoopKit/Loop/issues/388: activity ``t · (1 - t/duration) · exp(-t/τ)`` with
    its maximum at ``peak``. The defaults are LoopKit's for rapid-acting insulin in adults.

    Raises
    ------
    ConfigError
        When ``peak`` is not before half of ``duration``.
    """
    if not 0 < 2 * peak < duration or delay < 0:
        raise ConfigError(
            f"insulin that peaks after {peak:g} of {duration:g} minutes has no curve",
            remedy="give a peak before half of the duration, such as 75 of 360",
        )
    tau = peak * (1 - peak / duration) / (1 - 2 * peak / duration)
    a = 2 * tau / duration
    scale = 1 / (1 - a + (1 + a) * np.exp(-duration / tau))
    t = np.clip(np.asarray(minutes, float) - delay, 0, duration)
    bend = t**2 / (tau * duration * (1 - a)) - t / tau - 1
    return np.clip(1 - scale * (1 - a) * (bend * np.exp(-t / tau) + 1), 0, 1)


def carbohydrates_remaining(
    minutes: Float[np.ndarray, "*any"], *, curve: str = "parabolic", duration: float = 180.0
) -> Float[np.ndarray, "*any"]:
    """Share of a meal's carbohydrates that has not been absorbed yet, by minutes since it.

    ``parabolic``: G. Scheiner's curve as LoopKit has it (``ParabolicAbsorption``): rate up to half
    of ``duration`` and down to nothing at its end. ``linear``: a constant rate. ``hovorka``: two
    compartments (Hovorka et al., Physiol. Meas. 25:905, 2004), rate ``t · exp(-t/duration)`` with
    its maximum at ``duration`` (40 minutes there) and no end.

    Raises
    ------
    ConfigError
        When the curve is not known, or the duration not positive.
    """
    one_of("carbohydrate_curve", curve, ("parabolic", "hovorka", "linear"))
    if not duration > 0:
        raise ConfigError(f"an absorption over {duration:g} minutes has no curve")
    t = np.maximum(np.asarray(minutes, float), 0) / duration
    if curve == "hovorka":
        return (1 + t) * np.exp(-t)
    t = np.minimum(t, 1)
    if curve == "linear":
        return 1 - t
    return np.where(t <= 0.5, 1 - 2 * t**2, 2 * (1 - t) ** 2)


def carbohydrates_end(curve: str, duration: float) -> float:
    """Minutes after which less than a ten-thousandth of a meal is left."""
    return duration * _HOVORKA_TAIL if curve == "hovorka" else duration


def on_board(
    given: Int[np.ndarray, " dose"],
    amounts: Float[np.ndarray, " dose"],
    grid: Int[np.ndarray, " time"],
    remaining: Remaining,
    *,
    until: float,
) -> Float[np.ndarray, " time"]:
    """What is left of all doses at every bar of a regular grid.

    Parameters
    ----------
    given
        When, in microseconds on the grid's clock; also before its first bar.
    amounts
        How much: U or g.
    grid
        Equal steps, in microseconds.
    remaining
        Share left after so many minutes.
    until
        Minutes after which nothing is left.
    """
    board = np.zeros(len(grid))
    if not len(given) or not len(grid):
        return board
    step = int(grid[1] - grid[0]) if len(grid) > 1 else 5 * _MICROSECONDS
    first = -((grid[0] - given) // step)
    for lag in range(int(until * _MICROSECONDS // step) + 2):
        bar = first + lag
        kept = (bar >= 0) & (bar < len(grid))
        bars = bar[kept]
        ages = (grid[bars] - given[kept]) / _MICROSECONDS
        np.add.at(board, bars, amounts[kept] * np.where(ages <= until, remaining(ages), 0))
    return board
