"""GARCH(1,1) volatility of returns, and the range that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from tsfm.models.base import Context, Forecast
from tsfm.models.statistical import Baseline

_FEWEST_RETURNS = 60
_FEWEST_ERRORS = 30


class Volatility(NamedTuple):
    """A fitted GARCH(1,1), in the units of the returns.

    Attributes
    ----------
    ahead
        Variances forecast, ``[horizon]``.
    in_sample
        One-step variances of the context, ``[time]``.
    omega, persistence
        Of the variance recursion: constant, and ``alpha + beta``.
    degrees
        Of freedom of the Student-t innovations; infinite for normal ones.
    """

    ahead: Float[np.ndarray, " horizon"]
    in_sample: Float[np.ndarray, " time"]
    omega: float
    persistence: float
    degrees: float


@dataclass(frozen=True, kw_only=True)
class Garch(Baseline):
    """Zero-mean GARCH(1,1) with Student-t innovations (``arch``) on the log returns.

    Covers two variates and leaves the others NaN; the returns may be a past covariate instead, when
    the log range alone is asked for. Returns: the innovation's distribution at the
    forecast volatility σ_h (exact one step ahead, marginally approximate after). Log range: normal
    around ln σ_h + bias (Alizadeh, Brandt & Diebold 2002), bias and spread of every step being
    those of the h-step variances inside the context. Fewer than 60 returns, or an estimation that
    fails, give a constant variance.

    Attributes
    ----------
    returns, log_range
        Names of the variates.
    """

    name: ClassVar[str] = "garch"
    max_history: int = 1000
    returns: str = "log_return"
    log_range: str = "log_range"

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.max_history)
        shape = (context.batch_size, horizon, len(context.variate_names))
        quantiles = np.full((*shape, len(quantile_levels)), np.nan, np.float32)
        mean = np.full(shape, np.nan, np.float32)
        names = context.variate_names
        column = names.index(self.returns) if self.returns in names else None
        ranges = names.index(self.log_range) if self.log_range in names else None
        levels = np.asarray(quantile_levels)
        returns = _returns(recent, self.returns)
        for row in range(context.batch_size):
            known = np.isfinite(returns[row])
            if known.sum() < 2:
                continue
            volatility = fit_garch(returns[row, known].astype(np.float64), horizon)
            if column is not None:
                mean[row, :, column] = 0.0
                deviation = np.sqrt(volatility.ahead)[:, None]
                spread = deviation * standard_quantiles(levels, volatility.degrees)
                quantiles[row, :, column] = spread
            if ranges is not None and recent.variates[row, ranges]:
                log_range = recent.past[row, known, ranges].astype(np.float64)
                center, spread = _range(volatility, log_range, horizon)
                mean[row, :, ranges] = center
                quantiles[row, :, ranges] = center[:, None] + spread[:, None] * standard_quantiles(
                    levels, np.inf
                )
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)


def _returns(context: Context, name: str) -> Float[np.ndarray, "batch time"]:
    """The variate, or else the past covariate, of that name; NaN where unobserved."""
    if name in context.variate_names:
        column = context.variate_names.index(name)
        return np.where(context.observed[:, :, column], context.past[:, :, column], np.nan)
    if context.past_covariates is None or name not in context.past_covariate_names:
        return np.full(context.past.shape[:2], np.nan)
    return context.past_covariates[:, :, context.past_covariate_names.index(name)]


def fit_garch(returns: Float[np.ndarray, " time"], horizon: int) -> Volatility:
    """Estimate on the context's returns (scaled to unit variance) and forecast the variance."""
    size = float(np.sqrt((returns**2).mean()))
    if len(returns) < _FEWEST_RETURNS or size == 0:
        return _constant(returns, horizon)
    from arch.univariate import GARCH, StudentsT, ZeroMean

    model = ZeroMean(returns / size, volatility=GARCH(), distribution=StudentsT(), rescale=False)
    try:
        fitted: Any = model.fit(disp="off", show_warning=False)
        ahead = fitted.forecast(horizon=horizon, reindex=False).variance.to_numpy()[-1]
    except (ValueError, np.linalg.LinAlgError):
        return _constant(returns, horizon)
    omega, alpha, beta, degrees = (float(value) for value in fitted.params)
    volatility = Volatility(
        ahead=ahead * size**2,
        in_sample=fitted.conditional_volatility**2 * size**2,
        omega=omega * size**2,
        persistence=alpha + beta,
        degrees=degrees,
    )
    finite = np.isfinite(volatility.ahead).all() and np.isfinite(volatility.in_sample).all()
    return volatility if finite else _constant(returns, horizon)


def _constant(returns: np.ndarray, horizon: int) -> Volatility:
    variance = float((returns**2).mean())
    return Volatility(
        ahead=np.full(horizon, variance),
        in_sample=np.full(len(returns), variance),
        omega=variance,
        persistence=0.0,
        degrees=np.inf,
    )


def standard_quantiles(levels: np.ndarray, degrees: float) -> np.ndarray:
    """Of the Student-t with unit variance."""
    from scipy.special import ndtri, stdtrit

    if np.isinf(degrees):
        return np.asarray(ndtri(levels))
    return np.asarray(stdtrit(degrees, levels) * np.sqrt((degrees - 2) / degrees))


def _range(
    volatility: Volatility, log_range: Float[np.ndarray, " time"], horizon: int
) -> tuple[Float[np.ndarray, " horizon"], Float[np.ndarray, " horizon"]]:
    """Mean and deviation of the log range at each step.

    ``variance[t]`` of the bars ``log_range[step - 1:]`` is the one foreseen ``step`` bars before.
    """
    center, spread = np.full(horizon, np.nan), np.full(horizon, np.nan)
    variance = volatility.in_sample
    with np.errstate(divide="ignore"):
        logs = np.log(volatility.ahead) / 2
        for step in range(horizon):
            errors = log_range[step:] - np.log(variance) / 2
            errors = errors[np.isfinite(errors)]
            if len(errors) >= _FEWEST_ERRORS or step == 0:
                bias = errors.mean() if len(errors) else np.nan
                deviation = errors.std() if len(errors) else np.nan
            center[step], spread[step] = logs[step] + bias, deviation
            variance = volatility.omega + volatility.persistence * variance[:-1]
    finite = np.isfinite(center)
    return np.where(finite, center, np.nan), np.where(finite, spread, np.nan)
