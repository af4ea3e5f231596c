"""A random walk: the last value, and a normal spread that grows with the horizon."""

from statistics import NormalDist

import numpy as np

CAPABILITIES = {"variates": 1, "context": 2048, "parameters": 0}


def forecast(request):
    spread = np.array([NormalDist().inv_cdf(level) for level in request.quantile_levels])
    means, deviations = zip(*[walk(past[:, 0], request.horizon) for past in request.past])
    quantiles = np.array(means)[..., None] + np.array(deviations)[..., None] * spread
    return {"mean": np.array(means), "quantiles": quantiles}


def walk(past, horizon):
    """Mean and deviation of each bar; a step across a gap of several bars counts as several."""
    past = past.astype(np.float64)
    bars = np.flatnonzero(np.isfinite(past))
    steps = np.diff(past[bars]) ** 2 / np.diff(bars)
    variance = steps.mean() if len(steps) else 0.0
    ahead = np.arange(1, horizon + 1) + len(past) - 1 - bars[-1]
    return np.full(horizon, past[bars[-1]]), np.sqrt(variance * ahead)
