"""A probabilistic forecast: what every model gives, and what is judged, plotted and served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.quantiles import quantile_column
from tsfm.errors import ConfigError, DataError
from tsfm.models.batching import expect_shape

if TYPE_CHECKING:
    from tsfm.models.marginals import Marginals


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A probabilistic forecast of every variate over the horizon.

    Attributes
    ----------
    quantiles
        ``[batch, horizon, variate, level]``, non-decreasing along ``level``.
    mean
        ``[batch, horizon, variate]``.
    samples
        ``[batch, sample, horizon, variate]`` where the model draws them.
    is_joint
        True when one sample is one joint path over horizon and variates (energy score is valid).
    is_degenerate
        True when a point model repeats its point at every level.
    distribution
        The marginals that the quantiles are those of, where the model knows them. Quantiles that
        take the place of these (``dataclasses.replace``: sorted, sliced, corrected, joined …) drop
        it, unless another one comes with them.
    """

    quantiles: Float[np.ndarray, "batch horizon variate level"]
    quantile_levels: tuple[float, ...]
    mean: Float[np.ndarray, "batch horizon variate"]
    samples: Float[np.ndarray, "batch sample horizon variate"] | None = None
    is_joint: bool = False
    is_degenerate: bool = False
    item_ids: tuple[str, ...] = ()
    variate_names: tuple[str, ...] = ()
    timestamps: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    distribution: Marginals | None = None
    _described: tuple[Marginals | None, np.ndarray] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        known, described = self._described or (None, self.quantiles)
        if known is self.distribution and described is not self.quantiles:
            object.__setattr__(self, "distribution", None)
        object.__setattr__(self, "_described", (self.distribution, self.quantiles))
        expect_shape("mean", self.mean, self.quantiles.shape[:-1])
        if self.quantiles.shape[-1] != len(self.quantile_levels):
            raise DataError(
                f"{self.quantiles.shape[-1]} quantiles for levels {self.quantile_levels}",
                remedy="give one value per level",
            )

    @property
    def horizon(self) -> int:
        return int(self.quantiles.shape[1])

    @property
    def median(self) -> Float[np.ndarray, "batch horizon variate"]:
        """The 0.5 quantile, interpolated between neighbours where it was not asked for."""
        return self.quantile(0.5)

    def quantile(self, level: float) -> Float[np.ndarray, "batch horizon variate"]:
        """One quantile, linearly interpolated between the levels held."""
        levels = np.asarray(self.quantile_levels)
        if not levels[0] <= level <= levels[-1]:
            raise ConfigError(
                f"quantile level {level} lies outside {levels[0]} … {levels[-1]}",
                remedy="ask predict for that level",
            )
        upper = int(np.searchsorted(levels, level))
        if levels[upper] == level:
            return self.quantiles[..., upper]
        weight = (level - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
        return (1 - weight) * self.quantiles[..., upper - 1] + weight * self.quantiles[..., upper]

    def to_frame(self) -> pd.DataFrame:
        """Long frame: ``item_id, step, timestamp, variate, mean, q0.1 …`` (step counts from 1)."""
        batch, horizon, width = self.mean.shape
        ids = self.item_ids or tuple(str(k) for k in range(batch))
        names = self.variate_names or tuple(f"variate_{k}" for k in range(width))
        columns: dict[str, Any] = {
            "item_id": np.repeat(np.asarray(ids, dtype=object), horizon * width),
            "step": np.tile(np.repeat(np.arange(1, horizon + 1), width), batch),
            "timestamp": pd.NaT
            if self.timestamps is None
            else np.repeat(self.timestamps.reshape(-1), width),
            "variate": np.tile(np.asarray(names, dtype=object), batch * horizon),
            "mean": self.mean.reshape(-1),
        }
        for k, level in enumerate(self.quantile_levels):
            columns[quantile_column(level)] = self.quantiles[..., k].reshape(-1)
        frame = pd.DataFrame(columns, copy=False)
        unknown = np.isnan(columns["mean"])
        return frame[~unknown].reset_index(drop=True) if unknown.any() else frame
