"""MOIRAI's mixtures as marginals: parameters in a table, so that they scatter like numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tsfm.models.marginals import Marginals, Points, Values

COLUMNS = 14


@dataclass(frozen=True, kw_only=True)
class MixtureMarginals(Marginals):
    """:class:`tsfm.models.distributions.Mixture` without torch, evaluated by compiled kernels.

    Attributes
    ----------
    table
        The kernels' twelve parameters in the components' units, then location and scale of the map
        to the data's; NaN where nothing is forecast.
    """

    table: Float[np.ndarray, "*shape 14"]

    def cdf(self, value: Points) -> Points:
        """Absolute error below 1e-6."""
        from tsfm.models import mixture_kernels

        known, rows = self._known()
        out = np.full((len(known), value.shape[-1]), np.nan)
        x = np.asarray(value, float).reshape(len(known), -1)[known]
        out[known] = mixture_kernels.cdf(rows[:, :12], (x - rows[:, 12:13]) / rows[:, 13:])
        return np.where(np.isnan(value), np.nan, out.reshape(*self.table.shape[:-1], -1))

    def quantiles(
        self, levels: Points | Float[np.ndarray, " level"]
    ) -> Float[np.ndarray, "*shape level"]:
        """To 1e-5 in probability.

        ``levels`` increase along their last axis and are the same for all elements, or one row
        for each.
        """
        from tsfm.models import mixture_kernels

        known, rows = self._known()
        asked = np.asarray(levels, float).reshape(-1, np.shape(levels)[-1])
        asked = asked[known] if len(asked) > 1 else asked
        out = np.full((len(known), asked.shape[1]), np.nan)
        out[known] = mixture_kernels.quantiles(rows[:, :12], asked) * rows[:, 13:] + rows[:, 12:13]
        return out.reshape(*self.table.shape[:-1], -1)

    def crps(self, actual: Values) -> Values:
        """By :mod:`tsfm.models.mixture_scores`: relative error 1e-5, of odd mixtures below 1e-2."""
        from tsfm.models import mixture_scores

        known, rows = self._known(np.isfinite(actual).reshape(-1))
        out = np.full(len(known), np.nan)
        x = (np.asarray(actual, float).reshape(-1)[known] - rows[:, 12]) / rows[:, 13]
        out[known] = mixture_scores.crps(rows[:, :12], x) * rows[:, 13]
        return out.reshape(self.table.shape[:-1])

    def _known(self, asked: np.ndarray | bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Which elements there are, flattened, and their parameters."""
        flat = self.table.reshape(-1, COLUMNS)
        known = np.isfinite(flat).all(axis=1) & asked
        return known, flat[known].astype(np.float64)
