"""Context parroting: find where the context looked most like now, and repeat what followed.

Source: Zhang & Gilpin 2025, *Context parroting: A simple but tough-to-beat baseline for foundation
models in scientific machine learning*; the nearest neighbour in delay space is Lorenz' method of
analogues (1969).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from tsfm.errors import ConfigError
from tsfm.models.base import Context, Forecast
from tsfm.models.gaps import bridged
from tsfm.models.statistical import Baseline

_LEAST_SHARE_OBSERVED = 0.5


@dataclass(frozen=True, kw_only=True)
class Parroting(Baseline):
    """Nearest neighbour in the delay space of the context.

    The last ``embedding`` bars are the query. Of all stretches of that length that end before it
    begins, the nearest (mean squared distance over observed values, each variate in units of its
    own standard deviation) is looked up, and the bars after it are the forecast. Where these end
    with the context, the forecast goes on with the bars after the neighbour again. A context
    shorter than two stretches, or without a comparable one, is continued by its last value.

    Attributes
    ----------
    embedding
        Bars in a stretch.
    neighbours
        Stretches, at least ``embedding`` apart, whose continuations are the forecast's
        distribution. 1 repeats one continuation at every level.
    multivariate
        Whether the variates are looked up together (one neighbour for all) or each by itself.
    """

    name: ClassVar[str] = "parroting"
    reads_history: ClassVar[bool] = False
    embedding: int = 5
    neighbours: int = 1
    multivariate: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("embedding", "neighbours"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field}={getattr(self, field)}", remedy="give at least 1")

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        recent = context.last(self.max_history)
        past = np.where(recent.observed, recent.past, np.nan)
        batch, _, width = past.shape
        if not self.multivariate:
            past = past.transpose(0, 2, 1).reshape(batch * width, -1, 1)
        paths = self._continuations(past, horizon)
        if not self.multivariate:
            paths = paths.reshape(batch, width, -1, horizon).transpose(0, 2, 3, 1)
        quantiles = np.moveaxis(np.quantile(paths, quantile_levels, axis=1), 0, -1)
        return Forecast(
            quantiles=quantiles.astype(np.float32),
            quantile_levels=quantile_levels,
            mean=paths.mean(axis=1).astype(np.float32),
            is_degenerate=self.neighbours == 1,
        )

    def _continuations(
        self, past: Float[np.ndarray, "batch time variate"], horizon: int
    ) -> Float[np.ndarray, "batch neighbour horizon variate"]:
        ends = nearest_ends(past, self.embedding, self.neighbours)
        last = past.shape[1] - 1
        source = ends[..., None] + 1 + np.arange(horizon) % np.maximum(last - ends, 1)[..., None]
        source = np.where(ends[..., None] < 0, last, source)
        whole = np.moveaxis(bridged(np.moveaxis(past, 1, -1)), -1, 1)
        rows = np.arange(len(past))[:, None, None]
        continued: np.ndarray = whole[rows, source]
        return continued


def nearest_ends(
    past: Float[np.ndarray, "batch time variate"], embedding: int, neighbours: int
) -> Int[np.ndarray, "batch neighbour"]:
    """Last bars of the stretches most like the context's last one, the nearest first.

    Where there are fewer, the nearest stands for the rest; -1 where there is none.
    """
    batch, length, _ = past.shape
    if length < 2 * embedding:
        return np.full((batch, neighbours), -1)
    distance = _distances(past, embedding)
    ends = np.empty((batch, neighbours), int)
    places = np.arange(distance.shape[1])
    for k in range(neighbours):
        best = distance.argmin(axis=1)
        found = np.isfinite(distance[np.arange(batch), best])
        ends[:, k] = np.where(found, best + embedding - 1, ends[:, 0] if k else -1)
        if k + 1 < neighbours:
            distance[np.abs(places - best[:, None]) < embedding] = np.inf
    return ends


def _distances(
    past: Float[np.ndarray, "batch time variate"], embedding: int
) -> Float[np.ndarray, "batch candidate"]:
    """Mean square over the observed pairs; infinite where fewer than half can be compared."""
    length = past.shape[1]
    scaled = past / _scale(past)
    total = np.zeros((len(past), length - 2 * embedding + 1))
    pairs = np.zeros_like(total)
    for lag in range(embedding):
        candidates = scaled[:, embedding - 1 - lag : length - embedding - lag]
        difference = candidates - scaled[:, None, length - 1 - lag]
        known = np.isfinite(difference)
        total += (np.where(known, difference, 0.0) ** 2).sum(axis=-1)
        pairs += known.sum(axis=-1)
    asked = np.isfinite(scaled[:, length - embedding :]).sum(axis=(1, 2))[:, None]
    comparable = (pairs > 0) & (pairs >= _LEAST_SHARE_OBSERVED * asked)
    return np.where(comparable, total / np.maximum(pairs, 1), np.inf)


def _scale(
    past: Float[np.ndarray, "batch time variate"],
) -> Float[np.ndarray, "batch 1 variate"]:
    """Standard deviation of the observed values; 1 where nothing varies."""
    known = np.isfinite(past)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, past, 0.0).sum(axis=1, keepdims=True) / count
    square = (np.where(known, past - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt(square)
    return np.where(deviation > 0, deviation, 1.0)
