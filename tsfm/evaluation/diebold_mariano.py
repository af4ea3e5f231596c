"""The test of Diebold & Mariano (1995) for equal accuracy, with the correction for small samples of
Harvey, Leybourne & Newbold (1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.evaluation.pairing import OTHER, sums

LEAST_TIMES = 3


@dataclass(frozen=True, kw_only=True)
class DieboldMariano:
    """What the test found.

    Attributes
    ----------
    statistic
        Negative where the first forecaster's loss is lower; NaN where the test cannot be made.
    p_value
        Two-sided, by the t distribution with ``units - 1`` degrees of freedom.
    units
        Independent units behind it: origins in time, or clusters.
    lags
        Autocovariances counted in the variance.
    """

    statistic: float
    p_value: float
    units: int
    lags: int


def diebold_mariano(differences: Float[np.ndarray, " time"], lags: int = 0) -> DieboldMariano:
    """Whether losses differ in the mean, given their differences in the order of time.

    Parameters
    ----------
    differences
        Loss of the first forecaster minus that of the second.
    lags
        Autocovariances that overlap makes non-zero: one less than the horizon counted in steps
        between origins. Where their sum is not positive, Bartlett's weights are used instead
        (Newey & West 1987).

    Returns
    -------
    DieboldMariano
        NaN for fewer than three values, no spread at all or more lags than half the values.

    Raises
    ------
    ConfigError
        When a difference is not finite or ``lags`` is negative.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=np.float64)
    if lags < 0 or not np.isfinite(values).all():
        raise ConfigError(
            f"lags={lags}, {(~np.isfinite(values)).sum()} differences are not finite",
            where="Diebold–Mariano",
            remedy="pair the losses first, and give lags of at least 0",
        )
    count = len(values)
    unknown = DieboldMariano(statistic=np.nan, p_value=np.nan, units=count, lags=lags)
    if count < LEAST_TIMES or 2 * lags >= count:
        return unknown
    centered = values - values.mean()
    covariances = np.array([centered[k:] @ centered[: count - k] for k in range(lags + 1)]) / count
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= 0:
        weights = 1 - np.arange(1, lags + 1) / (lags + 1)
        variance = covariances[0] + 2 * (weights * covariances[1:]).sum()
    if variance <= (1e-12 * np.abs(values).max()) ** 2:
        return unknown
    ahead = lags + 1
    small = (count + 1 - 2 * ahead + ahead * (ahead - 1) / count) / count
    statistic = float(values.mean() / np.sqrt(variance / count) * np.sqrt(small))
    return DieboldMariano(
        statistic=statistic,
        p_value=float(2 * t.sf(abs(statistic), count - 1)),
        units=count,
        lags=lags,
    )


def of_windows(joined: pd.DataFrame, labels: np.ndarray) -> DieboldMariano:
    """The test on paired windows.

    Losses are summed over what is not independent, then linearised: their difference over the mean
    size. Tasks whose clusters are items (patients, system families) compare those; others compare
    origins in time, over all items together, with the lags that overlapping windows give.

    Parameters
    ----------
    joined
        From :func:`tsfm.evaluation.pairing.paired`.
    labels
        Cluster of each window.
    """
    by_item = str(joined["cluster"].iloc[0]) == "item"
    when = joined["origin"] if joined["timestamp"].isna().any() else joined["timestamp"]
    (top, bottom), (top_b, bottom_b) = sums(joined), sums(joined, OTHER)
    frame = pd.DataFrame(
        {
            "unit": labels if by_item else when.to_numpy(),
            "gap": top - top_b * (bottom.sum() / bottom_b.sum()),
        }
    )
    totals = frame.groupby("unit", sort=True)["gap"].sum().to_numpy()
    return diebold_mariano(
        totals * len(totals) / bottom.sum(), 0 if by_item else _overlap(joined, len(totals))
    )


def _overlap(joined: pd.DataFrame, times: int) -> int:
    """Later origins whose windows share bars with a window, at most a third of the origins."""
    first = joined[joined["item_id"] == joined["item_id"].iloc[0]]
    steps = np.diff(np.sort(first["origin"].unique()))
    told = joined["horizon"] if "horizon" in joined else joined["terms"].map(len)
    horizon = int(told.iloc[0])
    lags = int(np.ceil(horizon / np.median(steps))) - 1 if len(steps) else 0
    return min(lags, times // 3)
