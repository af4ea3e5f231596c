"""Attractors compared: does a long forecast visit the right states, at the right frequencies?

Trajectories are ``[time, variate]`` with every value known. Distances are in the true
trajectory's units: each coordinate is standardised by its mean and deviation.

References
----------
Hess, Monfared, Brenner & Durstewitz, Generalized teacher forcing for learning chaotic dynamics
(2023), appendix, for both divergences of invariant measures. Mikhaeil, Monfared & Durstewitz, On
the difficulty of learning chaotic dynamics with RNNs (2022), for the Hellinger distance of
smoothed power spectra.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike

from tsfm.data.dynamics.estimator_kernels import log_density
from tsfm.data.dynamics.estimators import correlation_dimension, largest_lyapunov
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.chaos import dynamics_of, score_rows
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.metrics import OF_ATTRACTORS

SCORES = OF_ATTRACTORS
"""Metrics of :func:`score_invariants`, all of them losses."""


def spectral_hellinger(true: ArrayLike, forecast: ArrayLike, *, smoothing: float = 2.0) -> float:
    """Hellinger distance of smoothed, normalised power spectra, 0 to 1, averaged over variates.

    Parameters
    ----------
    true, forecast
        ``[time, variate]`` of equal shape.
    smoothing
        Width of the Gaussian over frequencies, in bins; 0: none.

    Raises
    ------
    DataError
        When shapes differ or values are missing.
    """
    spectra = [_spectrum(states, smoothing) for states in _pair(true, forecast, same=True)]
    overlap = np.sqrt(spectra[0] * spectra[1]).sum(axis=0)
    return float(np.sqrt(np.clip(1 - overlap, 0, 1)).mean())


def kl_mixture(
    true: ArrayLike,
    forecast: ArrayLike,
    *,
    variance: float = 1.0,
    samples: int = 1000,
    seed: int = 0,
) -> float:
    """Kullback–Leibler divergence of invariant measures, by mixtures of a Gaussian per point.

    Parameters
    ----------
    true, forecast
        ``[time, variate]``; their lengths may differ.
    variance
        Of every Gaussian, in the true trajectory's units.
    samples
        Drawn from the true mixture.

    Raises
    ------
    DataError
        When variates differ or values are missing.
    """
    p, q = _standard(*_pair(true, forecast))
    rng = np.random.default_rng(seed)
    centres = p[rng.integers(len(p), size=samples)]
    drawn = centres + np.sqrt(variance) * rng.standard_normal(centres.shape)
    return float(np.mean(log_density(drawn, p, variance) - log_density(drawn, q, variance)))


def kl_histogram(
    true: ArrayLike, forecast: ArrayLike, *, bins: int = 30, floor: float = 1e-5
) -> float:
    """Kullback–Leibler divergence of invariant measures, by binning the state space.

    Only for three variates or fewer and long trajectories. Bins cover the true trajectory's
    range; what the forecast spends elsewhere counts as mass lost.

    Parameters
    ----------
    bins
        Per variate.
    floor
        Probability added to every bin (Laplace smoothing).

    Raises
    ------
    DataError
        When variates differ, are more than three, or values are missing.
    """
    p, q = _pair(true, forecast)
    if p.shape[1] > 3:
        raise DataError(
            f"{p.shape[1]} variates cannot be binned",
            where="KL divergence",
            remedy="use kl_method=mixture",
        )
    edges = [np.linspace(column.min(), column.max(), bins + 1) for column in p.T]
    edges = [
        edge if edge[-1] > edge[0] else edge[0] + np.linspace(-1, 1, bins + 1) for edge in edges
    ]
    shares = [np.histogramdd(states, bins=edges)[0].ravel() / len(states) for states in (p, q)]
    total = 1 + floor * shares[0].size
    smoothed = [(share + floor) / total for share in shares]
    return float((smoothed[0] * np.log(smoothed[0] / smoothed[1])).sum())


def attractor_invariants(
    true: ArrayLike, forecast: ArrayLike, config: ChaosConfig | None = None, *, dt: float = 1.0
) -> dict[str, float]:
    """Everything that is measured of a pair of trajectories of equal length.

    Returns
    -------
    dict
        ``hellinger, kl, dimension_true, dimension, lyapunov_true, lyapunov``: both exponents in
        nats per unit of time, and both dimensions, are estimated alike from the two trajectories,
        short as they are. A forecast that stands still has dimension and exponent 0.

    Raises
    ------
    DataError
        When shapes differ, values are missing, or the trajectories are too short.
    """
    config = config or ChaosConfig()
    one, other = _pair(true, forecast, same=True)
    if config.kl_method == "histogram":
        divergence = kl_histogram(one, other, bins=config.kl_bins)
    else:
        divergence = kl_mixture(
            one, other, variance=config.kl_variance, samples=config.kl_samples, seed=config.seed
        )
    return {
        "hellinger": spectral_hellinger(one, other, smoothing=config.spectrum_smoothing),
        "kl": divergence,
        "dimension_true": _finite(correlation_dimension(one)),
        "dimension": _finite(correlation_dimension(other)),
        "lyapunov_true": _finite(largest_lyapunov(one, dt=dt)),
        "lyapunov": _finite(largest_lyapunov(other, dt=dt)),
    }


def invariants_of(
    backtest: Backtest, panel: Panel, config: ChaosConfig | None = None
) -> pd.DataFrame:
    """:func:`attractor_invariants` of every window, true against the forecast medians.

    Returns
    -------
    pd.DataFrame
        Columns ``model, task, item_id, origin`` (as in the backtest), ``system`` and the
        invariants; windows with missing values in all variates have NaN.

    Raises
    ------
    ConfigError
        When the task's horizon is shorter than ``config.invariant_steps``.
    DataError
        When items lack static attributes.
    """
    config = config or ChaosConfig()
    if backtest.task.horizon < config.invariant_steps:
        raise ConfigError(
            f"{backtest.task.horizon} steps are too few to measure an attractor",
            where=f"task {backtest.task.name}",
            remedy=f"forecast {config.invariant_steps} steps, or set invariant_steps",
        )
    known = dynamics_of(panel, backtest.item_ids)
    median = backtest.median
    rows = []
    for window, name in enumerate(backtest.item_ids):
        scored = backtest.scored[window].all(axis=0)
        found: Mapping[str, Any] = {}
        if scored.any():
            pair = backtest.actual[window][:, scored], median[window][:, scored]
            found = attractor_invariants(*pair, config, dt=known[name].dt)
        rows.append(
            {
                "model": backtest.model,
                "task": backtest.task.name,
                "item_id": name,
                "origin": backtest.origins[window],
                "system": known[name].system,
            }
            | dict.fromkeys(_NAMES, float("nan"))
            | dict(found)
        )
    return pd.DataFrame(rows)


_NAMES = ("hellinger", "kl", "dimension_true", "dimension", "lyapunov_true", "lyapunov")


def score_invariants(
    backtest: Backtest, panel: Panel, config: ChaosConfig | None = None
) -> pd.DataFrame:
    """Losses :data:`SCORES` in the columns of :func:`tsfm.evaluation.chaos.score_chaos`.

    ``dimension_error`` is the absolute difference of correlation dimensions, ``lyapunov_error``
    that of exponents times the true system's Lyapunov time.

    Raises
    ------
    ConfigError
        When the task's horizon is shorter than ``config.invariant_steps``.
    DataError
        When items lack static attributes.
    """
    config = config or ChaosConfig()
    table = invariants_of(backtest, panel, config)
    known = dynamics_of(panel, backtest.item_ids)
    rate = np.array([known[name].lyapunov for name in backtest.item_ids])
    losses = {
        "hellinger": table["hellinger"],
        "kl": table["kl"],
        "dimension_error": (table["dimension"] - table["dimension_true"]).abs(),
        "lyapunov_error": (table["lyapunov"] - table["lyapunov_true"]).abs() / rate,
    }
    return pd.concat(
        [
            score_rows(
                backtest, known, config, name, values.to_numpy()[:, None], backtest.task.name
            )
            for name, values in losses.items()
        ],
        ignore_index=True,
    )


def _pair(
    true: ArrayLike, forecast: ArrayLike, *, same: bool = False
) -> tuple[Float[np.ndarray, "time variate"], Float[np.ndarray, "time variate"]]:
    one, other = (np.asarray(states, dtype=np.float64) for states in (true, forecast))
    fit = one.ndim == other.ndim == 2 and one.shape[1] == other.shape[1]
    if not fit or (same and len(one) != len(other)) or min(one.size, other.size) == 0:
        raise DataError(
            f"trajectories of shapes {one.shape} and {other.shape} cannot be compared",
            where="invariants",
            remedy="give [time, variate] of the same variates",
        )
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise DataError(
            "values are missing", where="invariants", remedy="leave unobserved variates out"
        )
    return one, other


def _standard(true: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, spread = true.mean(axis=0), true.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return (true - mean) / spread, (forecast - mean) / spread


def _spectrum(states: np.ndarray, smoothing: float) -> np.ndarray:
    """Shares of power per frequency, all at the lowest one where nothing moves."""
    from scipy.ndimage import gaussian_filter1d

    centred = states - states.mean(axis=0)
    power = np.abs(np.fft.rfft(centred, axis=0)) ** 2
    if smoothing > 0:
        power = gaussian_filter1d(power, smoothing, axis=0, mode="nearest")
    total = power.sum(axis=0)
    moves = total > 1e-20 * (states**2).sum(axis=0)
    still = (np.arange(len(power)) == 0)[:, None]
    return np.where(moves, power / np.where(moves, total, 1), still)


def _finite(value: float) -> float:
    return value if np.isfinite(value) else 0.0
