"""Stationarity of many series at once: the augmented Dickey–Fuller and KPSS tests.

Equal to ``statsmodels.tsa.stattools.adfuller(x, autolag="AIC")`` and ``kpss(x, nlags="auto")``;
one QR decomposition of the regression with most lags serves all smaller ones.

References
----------
Dickey & Fuller (1979) with the p-values of MacKinnon (2010) as in statsmodels; Kwiatkowski,
Phillips, Schmidt & Shin (1992) with the lags of Hobijn, Franses & Ooms (1998).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_KPSS_VALUES = (0.347, 0.463, 0.574, 0.739)
_KPSS_LEVELS = (0.10, 0.05, 0.025, 0.01)


def adf_pvalues(series: Float[np.ndarray, "series time"]) -> Float[np.ndarray, " series"]:
    """p of a unit root, with a constant and as many lags as Akaike's criterion takes.

    Series that stand still have NaN.
    """
    from statsmodels.tsa.adfvalues import mackinnonp

    series = np.asarray(series, dtype=np.float64)
    statistics = np.full(len(series), np.nan)
    moving = np.flatnonzero(np.ptp(series, axis=1) > 0)
    if len(moving):
        most = _most_lags(series.shape[1])
        lags = _lags_by_aic(_regression(series[moving], most))
        for lag in np.unique(lags):
            rows = moving[lags == lag]
            statistics[rows] = _level_statistic(_regression(series[rows], int(lag)))
    return np.array([np.nan if np.isnan(value) else mackinnonp(value) for value in statistics])


def kpss_pvalues(series: Float[np.ndarray, "series time"]) -> Float[np.ndarray, " series"]:
    """p of stationarity around a constant, between 0.01 and 0.1 as the test's table goes.

    Series that stand still have NaN.
    """
    series = np.asarray(series, dtype=np.float64)
    time = series.shape[1]
    residuals = series - series.mean(axis=1, keepdims=True)
    size = 2 ** int(np.ceil(np.log2(2 * time)))
    power = np.abs(np.fft.rfft(residuals, size, axis=1)) ** 2
    covariances = np.fft.irfft(power, axis=1)[:, :time]
    lags = _bartlett_lags(covariances, time)
    reach = np.arange(1, time)
    weights = np.clip(1 - reach / (lags[:, None] + 1.0), 0, None)
    variance = (covariances[:, 0] + 2 * (weights * covariances[:, 1:]).sum(axis=1)) / time
    level = (residuals.cumsum(axis=1) ** 2).sum(axis=1) / time**2
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic = np.where(np.ptp(series, axis=1) > 0, level / variance, np.nan)
    return np.where(np.isnan(statistic), np.nan, np.interp(statistic, _KPSS_VALUES, _KPSS_LEVELS))


def _most_lags(time: int) -> int:
    """Schwert's rule as in statsmodels."""
    return min(int(np.ceil(12 * (time / 100) ** 0.25)), time // 2 - 2)


def _regression(series: np.ndarray, lags: int) -> np.ndarray:
    """Constant, level, lagged differences, and the difference to explain: ``[…, row, column]``."""
    steps = np.diff(series, axis=1)
    rows = steps.shape[1] - lags
    level = series[:, lags : lags + rows]
    lagged = [steps[:, lags - k : lags - k + rows] for k in range(1, lags + 1)]
    return np.stack([np.ones_like(level), level, *lagged, steps[:, lags:]], axis=-1)


def _triangles(design: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.qr(design, mode="r"))


def _lags_by_aic(design: np.ndarray) -> np.ndarray:
    """Lags with the least Akaike criterion, all on the rows that the most lags leave."""
    rows = design.shape[1]
    unexplained = _triangles(design)[:, :, -1] ** 2
    remaining = unexplained[:, ::-1].cumsum(axis=1)[:, ::-1][:, 2:]
    used = 2 + np.arange(remaining.shape[1])
    with np.errstate(divide="ignore"):
        criterion = rows * np.log(remaining) + 2 * used
    return criterion.argmin(axis=1)


def _level_statistic(design: np.ndarray) -> np.ndarray:
    """t of the level's coefficient."""
    rows, used = design.shape[1], design.shape[2] - 1
    triangle = _triangles(design)
    inverse = np.linalg.pinv(triangle[:, :used, :used])
    coefficient = (inverse[:, 1] * triangle[:, :used, -1]).sum(axis=1)
    variance = triangle[:, used, used] ** 2 / (rows - used)
    with np.errstate(invalid="ignore", divide="ignore"):
        return coefficient / np.sqrt(variance * (inverse[:, 1] ** 2).sum(axis=1))


def _bartlett_lags(covariances: np.ndarray, time: int) -> np.ndarray:
    """Hobijn, Franses & Ooms' number of lags."""
    most = int(time ** (2 / 9))
    reach = np.arange(1, most + 1)
    first = covariances[:, 0] + 2 * covariances[:, 1 : most + 1].sum(axis=1)
    second = 2 * (reach * covariances[:, 1 : most + 1]).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gamma = 1.1447 * ((second / first) ** 2) ** (1 / 3)
    lags = np.nan_to_num(gamma * time ** (1 / 3))
    return np.minimum(lags.astype(int), time - 1)
