from __future__ import annotations

import numpy as np
from scipy.stats import norm

from tsfm.models.base import Context
from tsfm.models.mean import Mean


def test_the_forecast_is_the_normal_of_the_observed_context():
    past = np.random.default_rng(0).standard_normal((2, 50, 2)).astype(np.float32)
    past[0, 10:20, 1] = np.nan
    past[1, :, 1] = np.nan
    forecast = Mean().predict(Context(past=past), 4, (0.1, 0.5, 0.9))
    seen = past[0, :, 1][np.isfinite(past[0, :, 1])].astype(np.float64)
    np.testing.assert_allclose(forecast.mean[0, :, 1], seen.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        forecast.quantiles[0, :, 1, 2], norm.ppf(0.9, seen.mean(), seen.std()), rtol=1e-5
    )
    assert np.isnan(forecast.mean[1, :, 1]).all()
