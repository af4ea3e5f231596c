"""The model behind this directory: whatever is imported here is loaded once, then asked."""

from typing import Any

import numpy as np

# What the model can do; all may be left out.
#   variates    forecast together at most; 1: each variate comes as a series of its own
#   context     latest bars wanted at most
#   horizon     bars that can be forecast at most
#   covariates  True: covariates are sent too
#   parameters  how many the model has, for the leaderboard
CAPABILITIES = {"variates": 1}

# model = load(...)                 # once, before the first question


def forecast(request: Any) -> dict[str, Any]:
    """Forecast a batch.

    ``request.past`` is float32 [batch, time, variate], NaN where unobserved or padded;
    ``request.series()`` lists its series without padding and gaps. Also there: ``horizon``,
    ``quantile_levels``, ``freq``, ``seasonality``, ``timestamps``, ``future_timestamps``,
    ``observed``, ``variates``, ``past_covariates``, ``known_covariates``, ``item_ids``, ``seed``.

    Return some of
        quantiles  [batch, horizon, variate, level]
        mean       [batch, horizon, variate]
        samples    [batch, sample, horizon, variate]
        quantile_levels, where the levels are the model's own rather than those asked for
    as numpy arrays or torch tensors; with one variate its axis may be left out.
    """
    last = np.array([series[-1] for series in request.series()])
    return {"mean": np.repeat(last[:, None], request.horizon, axis=1)}
