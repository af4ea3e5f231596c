"""Covariates of a forecast: further variates, seen and never predicted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Bool, Float, Int

from tsfm.models.base import Context

if TYPE_CHECKING:
    from tsfm.models.moirai_config import MoiraiConfig


@dataclass(frozen=True, kw_only=True)
class Covariates:
    """Known covariates, then past ones, over context and horizon.

    Source: uni2ts 2.0, which feeds ``feat_dynamic_real`` and ``past_feat_dynamic_real`` as variates
    of the same sequence.

    Attributes
    ----------
    values
        NaN where unobserved, as past covariates are over the horizon.
    n_known
        How many of them are known ones.
    """

    values: Float[np.ndarray, "batch covariate time+horizon"]
    n_known: int

    @classmethod
    def of(cls, context: Context, horizon: int, config: MoiraiConfig) -> Self:
        """Those of a context; none where the model is not to use them."""
        kinds = (context.known_covariates, context.past_covariates) if config.use_covariates else ()
        span = context.length + horizon
        empty = np.empty((context.batch_size, 0, span), np.float32)
        rows = [_spanning(values, span) for values in kinds if values is not None]
        known = context.known_covariates
        return cls(
            values=np.concatenate([empty, *rows], axis=1),
            n_known=known.shape[2] if config.use_covariates and known is not None else 0,
        )

    def kept(
        self, width: Int[np.ndarray, " batch"], n_past: int, n_future: int, budget: int
    ) -> Bool[np.ndarray, "batch covariate"]:
        """The first covariates with a value that fit beside ``width`` variates of each series."""
        present = np.isfinite(self.values).any(axis=2)
        tokens = np.full(present.shape[1], n_past)
        tokens[: self.n_known] += n_future
        room = budget - width * (n_past + n_future)
        return present & (np.cumsum(present * tokens, axis=1) <= room[:, None])

    def left_out(self, kept: Bool[np.ndarray, "batch covariate"]) -> Int[np.ndarray, " batch"]:
        """How many covariates with a value each series has beside those kept."""
        return np.isfinite(self.values).any(axis=2).sum(axis=1) - kept.sum(axis=1)


def warn_of_left_out(count: int, size: int, config: MoiraiConfig) -> None:
    """Tell that covariates are not looked at (:class:`UserWarning`), if so."""
    if count:
        warnings.warn(
            f"the last {count} covariates are not looked at: at patch size {size} they are over "
            f"the token budget of {config.token_budget}; raise token_budget or use larger patches",
            stacklevel=2,
        )


def _spanning(
    values: Float[np.ndarray, "batch time covariate"], span: int
) -> Float[np.ndarray, "batch covariate time+horizon"]:
    rows = np.asarray(values, np.float32)[:, :span].swapaxes(1, 2)
    missing = span - rows.shape[2]
    return np.pad(rows, ((0, 0), (0, 0), (0, missing)), constant_values=np.nan)
