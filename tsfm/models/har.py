"""HAR: the next value from the averages of the last day, week and month, in bars.

Source: Corsi 2009, *A simple approximate long-memory model of realized volatility*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError, one_of
from tsfm.models.base import Context, Forecast
from tsfm.models.statistical import Baseline, RandomWalk, carried

METHODS = ("direct", "iterated")
_VALUES_AT_ONCE = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Har(Baseline):
    """Heterogeneous autoregression by least squares, fitted to each series' own context.

    A value depends on a constant and on the averages of the last ``lags`` bars. ``direct``: one
    regression for every step ahead. ``iterated``: that of one step, fed back to itself. Quantiles
    are the forecast plus those of the errors that the same coefficients make at the same step
    inside the context. Averages are of the observed bars among the last so many; a bar counts in
    the fit where each average has one and the outcome was observed. At the end of the context the
    last observed value stands for what was not, and where ``iterated`` feeds values back. With
    fewer than twice as many outcomes as coefficients at the last step the random walk takes over.

    Meant for volatility (log range, realised variance) and other persistent stationary series.

    Attributes
    ----------
    max_history
        Latest bars that are used.
    lags
        Bars of the averages, increasing.
    method
        ``direct`` or ``iterated``.
    """

    name: ClassVar[str] = "har"
    max_history: int = 1000
    lags: tuple[int, ...] = (1, 5, 22)
    method: str = "direct"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "lags", tuple(int(lag) for lag in self.lags))
        one_of("method", self.method, METHODS)
        if not self.lags or any(b <= a for a, b in zip((0, *self.lags), self.lags)):
            raise ConfigError(
                f"lags={self.lags} are not increasing numbers of bars",
                remedy="for example 1, 5, 22",
            )

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.max_history)
        walk = RandomWalk(max_history=self.max_history).forecast(recent, horizon, quantile_levels)
        walk = replace(walk, distribution=None)
        if recent.length < self.lags[-1] + horizon:
            return walk
        past = np.where(recent.observed, recent.past, np.nan).astype(np.float64)
        places = np.argwhere(recent.observed.any(axis=1))
        at_once = max(1, _VALUES_AT_ONCE // (recent.length * (self.lags[-1] + horizon)))
        for first in range(0, len(places), at_once):
            row, variate = places[first : first + at_once].T
            series = past[row, :, variate]
            center = np.nanmean(series, axis=1, keepdims=True)
            spread = np.nanstd(series, axis=1, keepdims=True)
            spread = np.where(spread > 0, spread, 1.0)
            point, errors = fitted((series - center) / spread, self.lags, horizon, self.method)
            enough = np.isfinite(errors[..., -1]).sum(axis=1) >= 2 * (1 + len(self.lags))
            row, variate, center, spread = (
                row[enough],
                variate[enough],
                center[enough],
                spread[enough],
            )
            if len(row):
                around = np.nanquantile(errors[enough], quantile_levels, axis=1)
                values = center + spread * (point[enough] + around)
                walk.quantiles[row, :, variate] = np.moveaxis(values, 0, -1)
                walk.mean[row, :, variate] = center + spread * point[enough]
        return walk


def fitted(
    series: Float[np.ndarray, "row time"], lags: tuple[int, ...], horizon: int, method: str
) -> tuple[Float[np.ndarray, "row horizon"], Float[np.ndarray, "row time horizon"]]:
    """Forecasts after the last bar, and the errors of forecasts made at every bar (NaN: none)."""
    rows, time = series.shape
    design = _design(series, lags)
    whole = carried(series)
    last = _design(whole[:, -lags[-1] :], lags)[:, -1]
    point, errors = np.empty((rows, horizon)), np.full((rows, time, horizon), np.nan)
    if method == "direct":
        for step in range(1, horizon + 1):
            weights = _least_squares(design[:, :-step], series[:, step:])
            point[:, step - 1] = (last * weights).sum(axis=1)
            told = (design[:, :-step] @ weights[:, :, None])[..., 0]
            errors[:, :-step, step - 1] = series[:, step:] - told
        return point, errors
    weights = _least_squares(design[:, :-1], series[:, 1:])
    view = np.lib.stride_tricks.sliding_window_view(whole, lags[-1], axis=1)
    ahead = np.full((rows, time, horizon), np.nan)
    ahead[:, lags[-1] - 1 :] = _iterated(view, weights, lags, horizon)
    ahead[~np.isfinite(design).all(axis=2)] = np.nan
    for step in range(1, horizon + 1):
        errors[:, :-step, step - 1] = series[:, step:] - ahead[:, :-step, step - 1]
    return _iterated(whole[:, None, -lags[-1] :], weights, lags, horizon)[:, 0], errors


def _design(
    series: Float[np.ndarray, "row time"], lags: tuple[int, ...]
) -> Float[np.ndarray, "row time feature"]:
    """One, and the averages of what was observed of the last bars; NaN where nothing was."""
    known = np.isfinite(series)
    sums = np.pad(np.where(known, series, 0.0).cumsum(axis=1), ((0, 0), (1, 0)))
    counts = np.pad(known.cumsum(axis=1), ((0, 0), (1, 0)))
    design = np.full((*series.shape, 1 + len(lags)), np.nan)
    design[..., 0] = 1.0
    for k, lag in enumerate(lags, start=1):
        total, count = sums[:, lag:] - sums[:, :-lag], counts[:, lag:] - counts[:, :-lag]
        with np.errstate(invalid="ignore"):
            design[:, lag - 1 :, k] = np.where(count > 0, total, np.nan) / count
    return design


def _least_squares(
    design: Float[np.ndarray, "row time feature"], outcome: Float[np.ndarray, "row time"]
) -> Float[np.ndarray, "row feature"]:
    """Of the shortest weights, over the bars where all is known."""
    usable = np.isfinite(design).all(axis=2) & np.isfinite(outcome)
    inputs = np.where(usable[..., None], design, 0.0)
    turned = np.swapaxes(inputs, 1, 2)
    moment = turned @ np.where(usable, outcome, 0.0)[..., None]
    weights: np.ndarray = np.linalg.pinv(turned @ inputs, rcond=1e-13, hermitian=True) @ moment
    return weights[..., 0]


def _iterated(
    recent: Float[np.ndarray, "row origin lag"],
    weights: Float[np.ndarray, "row feature"],
    lags: tuple[int, ...],
    horizon: int,
) -> Float[np.ndarray, "row origin horizon"]:
    """One step after the other, each fed back."""
    longest = recent.shape[2]
    values = np.concatenate([recent, np.empty((*recent.shape[:2], horizon))], axis=2)
    for step in range(longest, longest + horizon):
        values[..., step] = weights[:, :1]
        for k, lag in enumerate(lags, start=1):
            values[..., step] += weights[:, k : k + 1] * values[..., step - lag : step].mean(axis=2)
    return values[..., longest:]
