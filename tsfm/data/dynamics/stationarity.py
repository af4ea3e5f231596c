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

from tsfm.data.kernel_cache import njit

_compiled = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
)

_KPSS_VALUES = (0.347, 0.463, 0.574, 0.739)
_KPSS_LEVELS = (0.10, 0.05, 0.025, 0.01)


def adf_pvalues(series: Float[np.ndarray, "series time"]) -> Float[np.ndarray, " series"]:
    """p of a unit root, with a constant and as many lags as Akaike's criterion takes.

    Series that stand still have NaN.
    """
    from statsmodels.tsa.adfvalues import mackinnonp

    series = np.ascontiguousarray(series, dtype=np.float64)
    statistics = _level_statistics(series, _most_lags(series.shape[1]))
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


@_compiled
def _level_statistics(series, most):  # type: ignore[no-untyped-def]
    """t of the level's coefficient, NaN for series that stand still."""
    statistics = np.full(series.shape[0], np.nan)
    for row in range(series.shape[0]):
        values = series[row]
        if np.max(values) > np.min(values):
            lags = _lags_by_aic(_triangle(_regression(values, most)), len(values) - 1 - most)
            rows = len(values) - 1 - lags
            statistics[row] = _level_statistic(_triangle(_regression(values, lags)), rows)
    return statistics


@_compiled
def _regression(values, lags):  # type: ignore[no-untyped-def]
    """Constant, level, lagged differences and the difference to explain: ``[column, row]``."""
    rows = len(values) - 1 - lags
    design = np.ones((lags + 3, rows))
    steps = values[1:] - values[:-1]
    design[1] = values[lags : lags + rows]
    for lag in range(1, lags + 1):
        design[lag + 1] = steps[lags - lag : lags - lag + rows]
    design[lags + 2] = steps[lags:]
    return design


@_compiled
def _triangle(design):  # type: ignore[no-untyped-def]
    """R of the QR decomposition by modified Gram–Schmidt, overwriting the columns by Q.

    Not LAPACK's: its threads would fight those that judge other trajectories.
    """
    count = design.shape[0]
    triangle = np.zeros((count, count))
    for k in range(count):
        norm = np.sqrt(np.sum(design[k] * design[k]))
        triangle[k, k] = norm
        if norm > 0:
            design[k] /= norm
        for other in range(k + 1, count):
            share = np.sum(design[k] * design[other])
            triangle[k, other] = share
            design[other] -= share * design[k]
    return triangle


@_compiled
def _lags_by_aic(triangle, rows):  # type: ignore[no-untyped-def]
    """Lags with the least Akaike criterion, all on the rows that the most lags leave."""
    last = triangle.shape[0] - 1
    unexplained = triangle[last, last] ** 2
    best, lags = np.inf, 0
    for used in range(last, 1, -1):
        criterion = rows * np.log(max(unexplained, 1e-300)) + 2 * used
        if criterion <= best:
            best, lags = criterion, used - 2
        unexplained += triangle[used - 1, last] ** 2
    return lags


@_compiled
def _level_statistic(triangle, rows):  # type: ignore[no-untyped-def]
    used = triangle.shape[0] - 1
    row = np.zeros(used)
    for column in range(1, used):
        total = 1.0 if column == 1 else 0.0
        for k in range(1, column):
            total -= row[k] * triangle[k, column]
        row[column] = total / triangle[column, column] if triangle[column, column] > 0 else 0.0
    variance = triangle[used, used] ** 2 / (rows - used)
    scale = np.sqrt(variance * np.sum(row * row))
    return np.sum(row * triangle[:used, used]) / scale if scale > 0 else -np.inf


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
