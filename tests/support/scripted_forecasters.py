"""Forecasters that answer by a script: what they are asked is remembered, what they give is bad."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from tsfm.models.base import Context, Forecast
from tsfm.models.statistical import SeasonalNaive


@dataclass(frozen=True, kw_only=True)
class Remembering(SeasonalNaive):
    """Seasonal naive that keeps the number of windows of every call."""

    calls: list[int] = field(default_factory=list)

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        self.calls.append(context.batch_size)
        return super().forecast(context, horizon, quantile_levels)


@dataclass(frozen=True, kw_only=True)
class Recording(SeasonalNaive):
    """Seasonal naive that looks at covariates and keeps every context."""

    sees_covariates: ClassVar[bool] = True
    contexts: list[Context] = field(default_factory=list)

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        self.contexts.append(context)
        return super().forecast(context, horizon, quantile_levels)


class Crossing(SeasonalNaive):
    """Its quantiles fall where they should rise."""

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        forecast = super().forecast(context, horizon, quantile_levels)
        return replace(forecast, quantiles=forecast.quantiles[..., ::-1])


class Blind(SeasonalNaive):
    """NaN in the first bar, infinite in the second."""

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        forecast = super().forecast(context, horizon, quantile_levels)
        mean = forecast.mean.copy()
        mean[:, 0], mean[:, 1] = np.nan, np.inf
        return replace(forecast, mean=mean)


@dataclass(frozen=True, kw_only=True)
class Joint(SeasonalNaive):
    """Draws joint paths around seasonal naive."""

    name: ClassVar[str] = "joint"
    is_joint: bool = True
    draws: int = 7

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        forecast = super().forecast(context, horizon, quantile_levels)
        rng = np.random.default_rng(context.batch_size)
        noise = rng.standard_normal((context.batch_size, self.draws, *forecast.mean.shape[1:]))
        samples = (forecast.mean[:, None] + noise).astype(np.float32)
        return replace(forecast, samples=samples, is_joint=self.is_joint)
