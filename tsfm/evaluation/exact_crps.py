"""The CRPS of a whole forecast, rather than of its quantiles at a task's levels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tsfm.models.base import Forecast


def exact_crps(
    forecast: Forecast, actual: Float[np.ndarray, "batch horizon variate"]
) -> Float[np.ndarray, "batch horizon variate"] | None:
    """Continuous ranked probability score of every bar.

    That of the forecast's distribution; else of its samples, joint or not, by :func:`fair_crps`.

    Parameters
    ----------
    actual
        Of the forecast's first variates.

    Returns
    -------
    np.ndarray or None
        NaN where a value is unobserved; None of a forecast that has quantiles only.
    """
    width = actual.shape[2]
    if forecast.distribution is not None:
        asked = np.full(forecast.mean.shape, np.nan)
        asked[..., :width] = actual
        return forecast.distribution.crps(asked)[..., :width]
    if forecast.samples is not None and forecast.samples.shape[1] > 1:
        return fair_crps(forecast.samples[..., :width], actual)
    return None


def fair_crps(
    samples: Float[np.ndarray, "batch sample horizon variate"],
    actual: Float[np.ndarray, "batch horizon variate"],
) -> Float[np.ndarray, "batch horizon variate"]:
    """What a finite number of draws tells of their distribution's CRPS, without bias.

    ``mean |x − y| − ½ mean |x − x′|`` over pairs of different draws (Ferro 2014, *Fair scores for
    ensemble forecasts*), by scoringrules in the form of probability-weighted moments, which is the
    same and takes one sort.

    Returns
    -------
    np.ndarray
        NaN where a value is unobserved or a sample is not finite.
    """
    from scoringrules import crps_ensemble

    drawn = np.moveaxis(samples, 1, -1)
    known = np.isfinite(actual) & np.isfinite(drawn).all(axis=-1)
    scores = np.full(actual.shape, np.nan)
    if known.any():
        rows = drawn[known].astype(np.float64)
        scores[known] = crps_ensemble(actual[known].astype(np.float64), rows, estimator="pwm")
    return scores
