"""Fracast-0: a pretrained model of 85,001 parameters that comes with its package, weights and all.

The one zero-shot foundation model that needs no download. Package ``fracast`` 0.1.0 (PyPI; code and
weights Apache-2.0, parts adapted from TinyCast, Apache-2.0), https://github.com/ztxtech/fracast-0;
pretrained by its authors on the GIFT-Eval pretraining set, LOTSA, Chronos datasets, BOOM, fev and
synthetic series, so that ordinary public benchmarks are not unseen by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tsfm.errors import ConfigError, one_of
from tsfm.models.base import Context, Forecast
from tsfm.models.quantiles import between_levels
from tsfm.models.statistical import Baseline

if TYPE_CHECKING:
    from fracast import FracastModel

WEIGHTS = ("fp32", "w8")
_FEWEST_VALUES = 8


@dataclass(frozen=True, kw_only=True)
class Fracast(Baseline):
    """Zero-shot forecasts by the package's own code, each variate by itself.

    The latest 2,048 bars are seen. Past the native horizon of 48 bars the median is appended to the
    context, so that quantiles of later blocks do not widen with the uncertainty of earlier ones.
    Other levels than the nine native ones (0.1 … 0.9) follow
    :func:`~tsfm.models.quantiles.between_levels`; the mean is the median. Variates with fewer than
    8 observed bars are left NaN.

    Attributes
    ----------
    weights
        ``fp32``, or ``w8``: 8-bit integers, dequantised.
    series_at_once
        Variates in one pass; bounds memory.
    """

    name: ClassVar[str] = "fracast"
    reads_history: ClassVar[bool] = False
    weights: str = "fp32"
    series_at_once: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("weights", self.weights, WEIGHTS)
        if self.series_at_once < 1:
            raise ConfigError(f"series_at_once={self.series_at_once}", remedy="give at least 1")

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        model = released(self.weights)
        recent = context.last(min(self.max_history, model.context_length))
        past = np.where(recent.observed, recent.past, np.nan)
        places = np.argwhere(recent.observed.sum(axis=1) >= _FEWEST_VALUES)
        rows = past[places[:, 0], :, places[:, 1]]
        shape = (context.batch_size, horizon, past.shape[2])
        quantiles = np.full((*shape, len(quantile_levels)), np.nan, np.float32)
        mean = np.full(shape, np.nan, np.float32)
        for first in range(0, len(rows), self.series_at_once):
            chosen = np.s_[first : first + self.series_at_once]
            native = model.forecast_batch(rows[chosen], horizon=horizon)
            row, variate = places[chosen].T
            quantiles[row, :, variate] = between_levels(native, model.quantiles, quantile_levels)
            mean[row, :, variate] = between_levels(native, model.quantiles, [0.5])[..., 0]
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)

    def info(self) -> dict[str, Any]:
        return super().info() | {
            "parameters": 85_001,
            "licence": "Apache-2.0",
            "source": "https://github.com/ztxtech/fracast-0",
        }


@lru_cache(maxsize=len(WEIGHTS))
def released(weights: str) -> FracastModel:
    """The package's model, on the GPU where there is one.

    Raises
    ------
    ConfigError
        When the package is not installed.
    """
    import torch

    try:
        from fracast import FracastModel
    except ImportError as error:
        raise ConfigError(
            "fracast is not installed", remedy='pip install "tsfm-lab[zero-shot]"'
        ) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return FracastModel.from_pretrained(weights=weights, device=device)
