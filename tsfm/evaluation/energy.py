"""Energy score of joint samples (Gneiting & Raftery 2007), by scoringrules."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def energy_scores(
    actual: Float[np.ndarray, "window horizon variate"],
    samples: Float[np.ndarray, "window sample horizon variate"],
) -> Float[np.ndarray, "window horizon"]:
    """``E|X − y| − ½ E|X − X′|`` of every bar, Euclidean over its variates.

    Of one variate it is the CRPS of the samples. Variates count in their own units.

    Returns
    -------
    np.ndarray
        NaN where a variate is unobserved or a sample is not finite.
    """
    from scoringrules import es_ensemble

    drawn = np.ascontiguousarray(samples.swapaxes(1, 2), dtype=np.float64)
    known = np.isfinite(actual).all(axis=-1) & np.isfinite(drawn).all(axis=(-2, -1))
    scores = np.full(actual.shape[:2], np.nan)
    if known.any():
        scores[known] = es_ensemble(actual[known].astype(np.float64), drawn[known])
    return scores
