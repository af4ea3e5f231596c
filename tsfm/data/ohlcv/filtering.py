"""The forward filter of a hidden Markov model: what is known of its state, and no more."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from tsfm.data.kernel_cache import njit


def gaussian_log_density(
    values: Float[np.ndarray, "time column"],
    means: Float[np.ndarray, "state column"],
    covariances: Float[np.ndarray, "state column column"],
) -> Float[np.ndarray, "time state"]:
    """Log density of every row under every state."""
    density = np.empty((len(values), len(means)))
    for state, (mean, covariance) in enumerate(zip(means, covariances)):
        factor = np.linalg.cholesky(covariance)
        white = np.linalg.solve(factor, (values - mean).T)
        constant = np.log(2 * np.pi) * len(mean) / 2 + np.log(np.diag(factor)).sum()
        density[:, state] = -(white**2).sum(axis=0) / 2 - constant
    return density


@njit(cache=True, nogil=True)
def forward_filter(
    log_density: Float[np.ndarray, "time state"],
    observed: Bool[np.ndarray, " time"],
    begins: Bool[np.ndarray, " time"],
    start: Float[np.ndarray, " state"],
    transition: Float[np.ndarray, "state state"],
) -> Float[np.ndarray, "time state"]:
    """``P(state at t | rows up to t)`` (Rabiner 1989, eq. 19–21, scaled).

    Parameters
    ----------
    observed
        Where false, the row tells nothing: the state is only carried on.
    begins
        Where a new sequence begins, at ``start``.
    transition
        Rows sum to one: from, to.
    """
    rows, states = log_density.shape
    filtered = np.empty((rows, states))
    belief = np.empty(states)
    for row in range(rows):
        if row == 0 or begins[row]:
            belief[:] = start
        else:
            belief[:] = 0.0
            for origin in range(states):
                for state in range(states):
                    belief[state] += filtered[row - 1, origin] * transition[origin, state]
        if observed[row]:
            highest = -np.inf
            for state in range(states):
                if belief[state] > 0:
                    highest = max(highest, log_density[row, state])
            for state in range(states):
                if belief[state] > 0:
                    belief[state] *= np.exp(log_density[row, state] - highest)
        filtered[row] = belief / belief.sum()
    return filtered
