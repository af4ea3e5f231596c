"""Next-generation reservoir computing: regression on delays and their products, rolled out.

Source: Gauthier, Bollt, Griffith & Barbosa 2021, *Next generation reservoir computing*: a nonlinear
vector autoregression, equivalent to a reservoir computer and fitted by ridge regression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from tsfm.errors import ConfigError
from tsfm.models.base import Context, Forecast
from tsfm.models.gaps import bridged
from tsfm.models.statistical import Baseline

_ROWS_AT_ONCE_VALUES = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Nvar(Baseline):
    """Fitted to each series' own context: its next step from ``delays`` bars and their products.

    Variates are standardised by the context; the step ``x[t + 1] - x[t]`` is a ridge regression on
    a constant, ``x[t], x[t - stride], …`` and all products of two of them, over the bars whose
    inputs and outcome were observed. The forecast feeds its own values back. Of several penalties
    each series takes the one whose forecasts of the last quarter of its context, fitted to what
    comes before, were best (mean absolute error from three origins). A forecast that leaves
    ``reach`` times the context's largest deviation has diverged and is the context's mean from
    there on. Where the context holds less than two bars a feature, delays and then products are
    left out; where it holds none to fit, the last value stands. A point forecast: the same at
    every level.

    Attributes
    ----------
    delays, stride
        Bars that the step depends on, and the distance between them.
    ridge
        Penalties on the squared coefficients of standardised features, per fitted bar.
    quadratic
        Whether there are products.
    max_features
        Most features; keeps wide series affordable.
    reach
        How far, in units of the largest deviation of the context, a forecast may go.
    """

    name: ClassVar[str] = "nvar"
    reads_history: ClassVar[bool] = False
    delays: int = 3
    stride: int = 1
    ridge: tuple[float, ...] = (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-2)
    quadratic: bool = True
    max_features: int = 500
    reach: float = 1.5

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ridge", tuple(float(value) for value in self.ridge))
        for field in ("delays", "stride", "max_features"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field}={getattr(self, field)}", remedy="give at least 1")
        if not self.ridge or min(self.ridge) <= 0 or self.reach < 1:
            raise ConfigError(
                f"ridge={self.ridge}, reach={self.reach}",
                remedy="give positive penalties and a reach of at least 1",
            )

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.max_history)
        past = np.where(recent.observed, recent.past, np.nan).astype(np.float64)
        seen = recent.observed.any(axis=1)
        mean = np.full((len(past), horizon, past.shape[2]), np.nan)
        diverged = np.zeros(len(past), bool)
        for present in np.unique(seen, axis=0):
            rows = np.flatnonzero((seen == present).all(axis=1))
            columns = np.flatnonzero(present)
            bars = past.shape[1] * min(self.max_features, (2 + len(columns) * self.delays) ** 2)
            at_once = max(1, _ROWS_AT_ONCE_VALUES // bars)
            for first in range(0, len(rows) if len(columns) else 0, at_once):
                chosen = rows[first : first + at_once]
                part, failed = self._roll(past[chosen][:, :, columns], horizon)
                mean[chosen[:, None], :, columns] = np.moveaxis(part, 1, -1)
                diverged[chosen] = failed
        values = mean.astype(np.float32)
        return Forecast(
            quantiles=np.repeat(values[..., None], len(quantile_levels), axis=-1),
            quantile_levels=quantile_levels,
            mean=values,
            is_degenerate=True,
            metadata={"diverged": int(diverged.sum())},
        )

    def _roll(
        self, past: Float[np.ndarray, "batch time variate"], horizon: int
    ) -> tuple[Float[np.ndarray, "batch horizon variate"], Bool[np.ndarray, " batch"]]:
        """Forecasts of series that were all observed, and which of them diverged."""
        center = np.nanmean(past, axis=1, keepdims=True)
        spread = np.nanstd(past, axis=1, keepdims=True)
        spread = np.where(spread > 0, spread, 1.0)
        scaled = (past - center) / spread
        known = np.isfinite(scaled)
        series = np.moveaxis(bridged(np.moveaxis(scaled, 1, -1)), -1, 1)
        shape = self._shape(past.shape[1], past.shape[2])
        if past.shape[1] < shape.span + 3:
            constant = np.repeat(series[:, -1:], horizon, axis=1)
            return constant * spread + center, np.zeros(len(past), bool)
        ridge = self._chosen_ridge(series, known, shape)
        limit = self.reach * np.abs(series).max(axis=1)
        weights = fitted(series, known, shape, ridge)
        ahead, diverged = rolled(series[:, -shape.span - 1 :], weights, shape, horizon, limit)
        return ahead * spread + center, diverged

    def _chosen_ridge(
        self,
        series: Float[np.ndarray, "batch time variate"],
        known: Bool[np.ndarray, "batch time variate"],
        shape: Shape,
    ) -> Float[np.ndarray, " batch"]:
        length = series.shape[1]
        begin, ahead = length - length // 4, length // 8
        if len(self.ridge) == 1 or ahead == 0 or begin < shape.span + 3:
            return np.full(len(series), sorted(self.ridge)[len(self.ridge) // 2])
        origins = [begin, begin + ahead // 2, begin + ahead]
        limit = self.reach * np.abs(series[:, :begin]).max(axis=1)
        errors = np.zeros((len(self.ridge), len(series)))
        for k, ridge in enumerate(self.ridge):
            weights = fitted(
                series[:, :begin], known[:, :begin], shape, np.full(len(series), ridge)
            )
            for origin in origins:
                recent = series[:, origin - shape.span - 1 : origin]
                forecast, _ = rolled(recent, weights, shape, ahead, limit)
                error = np.abs(forecast - series[:, origin : origin + ahead])
                errors[k] += (error * known[:, origin : origin + ahead]).sum(axis=(1, 2))
        best: np.ndarray = np.asarray(self.ridge)[errors.argmin(axis=0)]
        return best

    def _shape(self, length: int, width: int) -> Shape:
        """Delays and products that the context can determine."""
        for quadratic in (True, False) if self.quadratic else (False,):
            for delays in range(self.delays, 0, -1):
                shape = Shape(delays, self.stride, quadratic)
                if shape.count(width) <= min(self.max_features, (length - 1 - shape.span) // 2):
                    return shape
        return Shape(1, self.stride, False)


class Shape(NamedTuple):
    """Which features there are."""

    delays: int
    stride: int
    quadratic: bool

    @property
    def span(self) -> int:
        """Bars from the first to the last input."""
        return (self.delays - 1) * self.stride

    def count(self, width: int) -> int:
        """Features of so many variates."""
        linear = width * self.delays
        return 1 + linear + (linear * (linear + 1) // 2 if self.quadratic else 0)


def fitted(
    series: Float[np.ndarray, "batch time variate"],
    known: Bool[np.ndarray, "batch time variate"],
    shape: Shape,
    ridge: Float[np.ndarray, " batch"],
) -> Float[np.ndarray, "batch feature variate"]:
    """Coefficients of the step to the next bar."""
    span, length = shape.span, series.shape[1]
    lags = [span - shape.stride * k for k in range(shape.delays)]
    inputs = np.concatenate([series[:, k : length - 1 - span + k] for k in lags], axis=2)
    observed: np.ndarray = np.asarray(known.all(axis=2))
    usable: np.ndarray = observed[:, span + 1 :].copy()
    for k in lags:
        usable &= observed[:, k : length - 1 - span + k]
    design = features(inputs, shape.quadratic) * usable[..., None]
    steps = (series[:, span + 1 :] - series[:, span:-1]) * usable[..., None]
    gram = np.swapaxes(design, 1, 2) @ design
    penalty = ridge * np.maximum(usable.sum(axis=1), 1)
    gram += penalty[:, None, None] * np.eye(design.shape[2])
    solved: np.ndarray = np.linalg.solve(gram, np.swapaxes(design, 1, 2) @ steps)
    return solved


def rolled(
    recent: Float[np.ndarray, "batch span+1 variate"],
    weights: Float[np.ndarray, "batch feature variate"],
    shape: Shape,
    horizon: int,
    limit: Float[np.ndarray, "batch variate"],
) -> tuple[Float[np.ndarray, "batch horizon variate"], Bool[np.ndarray, " batch"]]:
    """The forecast fed back to itself, zero from where it leaves the limit, and where it did."""
    ahead = np.zeros((len(recent), horizon, recent.shape[2]))
    diverged = np.zeros(len(recent), bool)
    for step in range(horizon):
        inputs = recent[:, :: -shape.stride].reshape(len(recent), -1)
        change = features(inputs, shape.quadratic)[:, None] @ weights
        following = recent[:, -1] + change[:, 0]
        diverged |= ~(np.abs(following) <= limit).all(axis=1)
        following = np.where(diverged[:, None], 0.0, following)
        ahead[:, step] = following
        recent = np.concatenate([recent[:, 1:], following[:, None]], axis=1)
    return ahead, diverged


def features(
    inputs: Float[np.ndarray, "*batch input"], quadratic: bool
) -> Float[np.ndarray, "*batch feature"]:
    """A constant, the inputs and, if asked for, every product of two of them."""
    constant = np.ones((*inputs.shape[:-1], 1))
    if not quadratic:
        return np.concatenate([constant, inputs], axis=-1)
    first, second = np.triu_indices(inputs.shape[-1])
    return np.concatenate([constant, inputs, inputs[..., first] * inputs[..., second]], axis=-1)
