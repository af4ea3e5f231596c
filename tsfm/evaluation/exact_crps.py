"""The CRPS of a whole distribution, rather than of its quantiles at a task's levels."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float

NODES = 64
"""Of the quadrature on either side of the value."""


class Distribution(Protocol):
    """What :class:`tsfm.models.distributions.Mixture` offers, among others."""

    def cdf(self, value: Float[np.ndarray, "*shape point"], /) -> Float[np.ndarray, "*shape point"]:
        """Probability of at most each value."""

    def quantiles(
        self, levels: Float[np.ndarray, "*shape level"], /
    ) -> Float[np.ndarray, "*shape level"]:
        """Where the distribution function reaches each level, increasing, of each element."""


def exact_crps(
    distribution: Distribution, actual: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Continuous ranked probability score of every element.

    Twice the quantile loss, integrated over all levels (Gneiting & Ranjan 2011) by Gauss–Legendre
    quadrature below and above the value's own level, between which the loss has its only kink.
    Levels are spaced by a fifth-degree map, so that heavy tails converge too.

    Returns
    -------
    np.ndarray
        Relative error below 1e-4 for a Student-t of three degrees of freedom, as tested; NaN where
        the value is.
    """
    y = np.asarray(actual, float)[..., None]
    own = distribution.cdf(y)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    place, weight = (nodes + 1) / 2, weights / 2
    share = place**3 * (10 - 15 * place + 6 * place**2)
    slope = 30 * place**2 * (1 - place) ** 2 * weight
    below, above = own * share, own + (1 - own) * share
    levels = np.concatenate([below, above], axis=-1)
    quantiles = distribution.quantiles(np.clip(levels, 1e-12, 1 - 1e-12))
    loss = np.where(quantiles <= y, levels, levels - 1) * (y - quantiles)
    widths = np.concatenate([own * slope, (1 - own) * slope], axis=-1)
    return np.asarray(2 * (loss * widths).sum(axis=-1))
