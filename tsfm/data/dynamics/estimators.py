"""Estimators of chaos from trajectories: Lyapunov exponent, correlation dimension, 0–1 test.

Trajectories are ``[time, state]``, or ``[time]`` for one coordinate; their coordinates are
standardised first, so that a state of small units counts as much as the others. What is observed
incompletely is unfolded with :func:`delay_embedding`.

References
----------
Rosenstein, Collins & De Luca, A practical method for calculating largest Lyapunov exponents from
small data sets (1993). Grassberger & Procaccia, Measuring the strangeness of strange attractors
(1983). Theiler, Spurious dimension from correlation algorithms applied to limited time-series data
(1986). Gottwald & Melbourne, On the implementation of the 0–1 test for chaos (2009). Gilmore,
Topological analysis of chaotic dynamical systems (1998), section on close returns.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from tsfm.data.dynamics import estimator_kernels as kernels
from tsfm.errors import DataError

LEAST_POINTS = 64
MOST_POINTS = 4096


def standardise(trajectory: ArrayLike) -> Float[np.ndarray, "*batch time state"]:
    """Each coordinate with mean 0 and deviation 1 over time; constant ones become 0."""
    states = np.asarray(trajectory, dtype=np.float64)
    centred = states - states.mean(axis=-2, keepdims=True)
    spread = centred.std(axis=-2, keepdims=True)
    moves = spread > 1e-12 * np.abs(states).max(axis=-2, keepdims=True)
    return np.where(moves, centred / np.where(moves, spread, 1.0), 0.0)


def delay_embedding(
    series: Float[np.ndarray, " time"], dimension: int, lag: int
) -> Float[np.ndarray, "time state"]:
    """Delay vectors (Takens 1981), ``dimension`` values each ``lag`` samples apart.

    Raises
    ------
    DataError
        When the series is too short for one vector.
    """
    series = np.asarray(series, dtype=np.float64)
    count = len(series) - (dimension - 1) * lag
    if series.ndim != 1 or dimension < 1 or lag < 1 or count < 1:
        raise DataError(
            f"a series of shape {series.shape} has no {dimension} values {lag} samples apart",
            remedy="give a longer series, or fewer delays",
        )
    return np.stack([series[k * lag : k * lag + count] for k in range(dimension)], axis=1)


def samples_per_period(
    trajectory: Float[np.ndarray, "*batch time state"],
) -> Float[np.ndarray, "*batch"]:
    """Samples in one oscillation: the inverse of the power-weighted mean frequency.

    Averaged over standardised coordinates (the "mean period" that Rosenstein et al. separate
    neighbours by); the length of the series where nothing moves.
    """
    states = standardise(trajectory)
    time = states.shape[-2]
    power = np.abs(np.fft.rfft(states * np.hanning(time)[:, None], axis=-2)) ** 2
    total = power.sum(axis=-1)[..., 1:]
    weight = total.sum(axis=-1)
    moment = (total * np.arange(1, total.shape[-1] + 1)).sum(axis=-1)
    return np.where(weight > 0, time * weight / np.where(weight > 0, moment, 1.0), float(time))


def divergence_curve(
    trajectory: ArrayLike, *, theiler: int, horizon: int, references: int = MOST_POINTS
) -> Float[np.ndarray, " step"]:
    """Mean logarithm of the distance of nearest neighbours, 0 to ``horizon`` samples on.

    Parameters
    ----------
    theiler
        Neighbours are more than so many samples apart in time.
    references
        Points whose neighbours are followed, about: more make the curve smoother.

    Raises
    ------
    DataError
        When the trajectory is too short, or not finite.
    """
    states = _checked(trajectory)
    horizon = min(horizon, len(states) // 2)
    return kernels.divergence(standardise(states), theiler, horizon, references)


def largest_lyapunov(
    trajectory: ArrayLike,
    *,
    dt: float = 1.0,
    period: float | None = None,
    theiler: int | None = None,
    transient: int | None = None,
    horizon: int | None = None,
    references: int = MOST_POINTS,
) -> float:
    """Largest Lyapunov exponent in nats per unit of time (Rosenstein et al. 1993).

    The slope of :func:`divergence_curve` from ``transient`` to where the distance has covered
    60 % of its way to the largest.

    Parameters
    ----------
    dt
        Time between samples.
    period
        Time of one oscillation, by default estimated; for maps give ``dt``.
    theiler
        Samples between neighbours, by default more than a period.
    transient
        Samples until neighbours have turned into the unstable direction, by default half a period.
    horizon
        Samples that neighbours are followed, by default eight periods.
    references
        Points whose neighbours are followed, about.

    Returns
    -------
    float
        NaN where no neighbours exist (a trajectory that stands still).

    Raises
    ------
    DataError
        When the trajectory is too short, or not finite.
    """
    states = _checked(trajectory)
    turn = float(samples_per_period(states)) if period is None else period / dt
    theiler = round(turn) if theiler is None else theiler
    transient = int(turn / 2) if transient is None else transient
    horizon = max(round(8 * turn), 12) if horizon is None else horizon
    curve = divergence_curve(states, theiler=theiler, horizon=horizon, references=references)
    return kernels.growth(curve, transient) / dt


def correlation_dimension(
    trajectory: ArrayLike, *, theiler: int | None = None, max_points: int = MOST_POINTS
) -> float:
    """Correlation dimension (Grassberger & Procaccia 1983).

    The slope of log C(r) against log r where the share C of pairs within r lies between 5 pairs
    per point (but at least 0.1 %) and 5 %.

    Parameters
    ----------
    theiler
        Pairs are more than so many samples apart in time (Theiler 1986), by default a period.
    max_points
        Longer trajectories are thinned evenly.

    Returns
    -------
    float
        NaN where the trajectory stands still.

    Raises
    ------
    DataError
        When the trajectory is too short, or not finite.
    """
    states = _checked(trajectory)
    theiler = round(float(samples_per_period(states))) if theiler is None else theiler
    stride = -(-len(states) // max_points)
    points = standardise(states)[::stride]
    counts = kernels.pair_counts(points, max(theiler // stride, 0), *_RADII)
    total = counts.sum()
    if total == 0 or not points.any():
        return float("nan")
    share = np.cumsum(counts) / total
    edges = _RADII[0] + _RADII[1] * np.arange(1, len(share) + 1)
    lowest = max(1e-3, 5 / len(points))
    scaling = (share >= lowest) & (share <= 0.05)
    if scaling.sum() < 3:
        return float("nan")
    return float(np.polyfit(edges[scaling], np.log(share[scaling]), 1)[0])


def zero_one_test(
    series: Float[np.ndarray, " time"], *, draws: int = 100, seed: int = 0
) -> Float[np.ndarray, " draw"]:
    """K of the 0–1 test for frequencies in [π/5, 4π/5]: near 0 regular, near 1 chaotic.

    Correlation method on the mean square displacement without its oscillating term (Gottwald &
    Melbourne 2009), up to a fifth of the length: with a tenth, as they use on long series, a torus
    seen for 30 oscillations cannot be told from chaos. A flow must be thinned to a few samples per
    oscillation: oversampled, every flow looks regular.

    Raises
    ------
    DataError
        When the series is too short, or not finite.
    """
    values = _checked(series)
    if values.shape[1] != 1:
        raise DataError(
            f"{values.shape[1]} coordinates", where="0–1 test", remedy="give one at a time"
        )
    return kernels.zero_one(standardise(values)[:, 0], zero_one_frequencies(draws, seed))


def zero_one_frequencies(draws: int, seed: int) -> Float[np.ndarray, " draw"]:
    """Frequencies of the 0–1 test."""
    return np.random.default_rng(seed).uniform(np.pi / 5, 4 * np.pi / 5, draws)


def close_returns(
    trajectory: ArrayLike, *, tolerance: float, least: int, references: int = 128
) -> Float[np.ndarray, " lag"]:
    """Share of points to which the trajectory returns after each number of samples.

    Between samples the trajectory is interpolated by parabolas, so that a cycle need not be a
    whole number of samples.

    Parameters
    ----------
    tolerance
        Distance that counts as a return, in standard deviations (root mean square over
        coordinates).
    least
        Shorter lags have share 0.
    references
        Points of the first half that returns are looked for.

    Returns
    -------
    np.ndarray
        For lags 0 to half the trajectory's length; a return within one sample of a lag counts.

    Raises
    ------
    DataError
        When the trajectory is too short, or not finite.
    """
    states = _checked(trajectory)
    return kernels.returns(
        standardise(states), tolerance * sqrt(states.shape[1]), least, references
    )


def _checked(trajectory: ArrayLike) -> Float[np.ndarray, "time state"]:
    states = np.asarray(trajectory, dtype=np.float64)
    states = states[:, None] if states.ndim == 1 else states
    if states.ndim != 2 or len(states) < LEAST_POINTS or not np.isfinite(states).all():
        raise DataError(
            f"a trajectory of shape {np.shape(trajectory)} that is "
            f"{'finite' if np.isfinite(states).all() else 'not finite'}",
            where="estimators of chaos",
            remedy=f"give finite [time, state] with {LEAST_POINTS} samples or more",
        )
    return np.ascontiguousarray(states)


_RADII = (log(1e-4), 0.05, 240)
"""Logarithm of the smallest radius, the bins' width and their number (up to e^2.8)."""
