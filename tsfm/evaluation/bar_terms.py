"""Terms of every metric of a backtest, bar by bar; what several metrics share is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from tsfm.errors import one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.metric_names import METRIC_NAMES, interval_of, is_within

NEAR_ZERO = 0.01
"""MAPE leaves out bars smaller than this share of the seasonal scale (and zeros)."""

Bars = Float[np.ndarray, "window horizon variate"]


class BarTerms:
    """What :func:`tsfm.evaluation.metrics.per_bar` tells, of several metrics of one backtest."""

    def __init__(self, backtest: Backtest) -> None:
        self.backtest = backtest

    def of(self, metric: str) -> Bars:
        """NaN where nothing is scored.

        Raises
        ------
        ConfigError
            When the metric is unknown.
        """
        return np.where(self.scored, self.everywhere(metric), np.nan)

    def everywhere(self, metric: str) -> Bars:
        """The same, with anything where nothing is scored."""
        one_of("metric", metric, METRIC_NAMES)
        kind = metric.partition("_")[0]
        if kind == "coverage":
            return self._coverage(metric)
        if kind == "winkler":
            return self._winkler(metric)
        return _TERMS[metric](self)

    def names(self) -> tuple[str, ...]:
        """Metrics that the backtest has what it takes for."""
        backtest = self.backtest
        lacking = {
            "rmsse": backtest.squared_scale is None,
            "energy": backtest.energy is None,
            "crps_exact": not self.is_exact,
        }
        return tuple(
            name
            for name in METRIC_NAMES
            if not lacking.get(name) and is_within(name, backtest.task.quantile_levels)
        )

    @cached_property
    def scored(self) -> Bool[np.ndarray, "window horizon variate"]:
        return self.backtest.scored

    @cached_property
    def actual(self) -> Bars:
        return self.backtest.actual.astype(np.float64)

    @cached_property
    def median(self) -> Bars:
        levels = self.backtest.task.quantile_levels
        is_held = levels[0] <= 0.5 <= levels[-1]
        return self.quantile(0.5) if is_held else self.backtest.median

    @cached_property
    def absolute(self) -> Bars:
        return np.abs(self.actual - self.median)

    @cached_property
    def squared(self) -> Bars:
        return (self.actual - self.backtest.mean) ** 2

    @cached_property
    def scale(self) -> Bars:
        return self.backtest.scale[:, None, :]

    @cached_property
    def squared_scale(self) -> Bars:
        scale = self.backtest.squared_scale
        return np.full_like(self.scale, np.nan) if scale is None else scale[:, None, :]

    @cached_property
    def crps(self) -> Bars:
        """Twice the pinball loss, averaged over levels."""
        total = np.zeros(self.actual.shape)
        levels = self.backtest.task.quantile_levels
        for level, quantile in zip(levels, self.quantiles, strict=True):
            error = self.actual - quantile
            total += np.maximum(level * error, (level - 1) * error)
        return 2 / len(levels) * total

    @cached_property
    def is_exact(self) -> bool:
        """Whether the exact CRPS of everything scored is known."""
        exact = self.backtest.crps_exact
        return exact is not None and bool(np.isfinite(exact[self.scored]).all())

    @property
    def crps_exact(self) -> Bars:
        exact = self.backtest.crps_exact
        if exact is None or not self.is_exact:
            return np.full(self.actual.shape, np.nan)
        return exact

    @cached_property
    def quantiles(self) -> list[Bars]:
        """Of every level."""
        quantiles = self.backtest.quantiles
        return [quantiles[..., k].astype(np.float64) for k in range(quantiles.shape[-1])]

    def quantile(self, level: float) -> Bars:
        """Linear between the levels held."""
        return quantile_between(self.backtest.task.quantile_levels, self.quantiles, level)

    @property
    def percentage(self) -> Bars:
        size = np.abs(self.actual)
        least = np.nan_to_num(NEAR_ZERO * self.scale)
        large = (size > 0) & (size >= least)
        return np.where(large, 100 * self.absolute / np.where(large, size, 1), np.nan)

    @property
    def symmetric(self) -> Bars:
        size = np.abs(self.actual) + np.abs(self.median)
        return np.where(size > 0, 200 * self.absolute / np.where(size > 0, size, 1), 0 * size)

    @property
    def energy(self) -> Bars:
        energy = self.backtest.energy
        if energy is None:
            return np.full(self.actual.shape, np.nan)
        return np.broadcast_to(energy[..., None], self.actual.shape)

    def _interval(self, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
        ends = interval_of(metric)
        if ends is None or not is_within(metric, self.backtest.task.quantile_levels):
            return None
        return self.quantile(ends[0]), self.quantile(ends[1])

    def _coverage(self, metric: str) -> np.ndarray:
        ends = self._interval(metric)
        if ends is None:
            return np.full(self.actual.shape, np.nan)
        lower, upper = ends
        return np.where(np.isnan(lower), np.nan, (lower <= self.actual) & (self.actual <= upper))

    def _winkler(self, metric: str) -> np.ndarray:
        ends, levels = self._interval(metric), interval_of(metric)
        if ends is None or levels is None:
            return np.full(self.actual.shape, np.nan)
        lower, upper = ends
        miss = np.maximum(lower - self.actual, 0) + np.maximum(self.actual - upper, 0)
        return upper - lower + 2 / (1 - (levels[1] - levels[0])) * miss


_TERMS: dict[str, Callable[[BarTerms], np.ndarray]] = {
    "crps": lambda of: of.crps,
    "crps_exact": lambda of: of.crps_exact,
    "wql": lambda of: of.crps,
    "sql": lambda of: of.crps / of.scale,
    "mase": lambda of: of.absolute / of.scale,
    "rmsse": lambda of: of.squared / of.squared_scale,
    "mae": lambda of: of.absolute,
    "mse": lambda of: of.squared,
    "rmse": lambda of: of.squared,
    "mape": lambda of: of.percentage,
    "smape": lambda of: of.symmetric,
    "energy": lambda of: of.energy,
}


def quantile_between(levels: Sequence[float], quantiles: Sequence[Bars], level: float) -> Bars:
    """The quantile of a level inside the range of those held, linear between its neighbours."""
    known = np.asarray(levels)
    near = int(np.abs(known - level).argmin())
    if abs(known[near] - level) < 1e-9:
        return quantiles[near]
    above = int(np.searchsorted(known, level))
    weight = (level - known[above - 1]) / (known[above] - known[above - 1])
    return (1 - weight) * quantiles[above - 1] + weight * quantiles[above]
