"""Forecasters with encoders that are known functions of the past, and panels to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.models.base import Context, Forecast, Forecaster


class Persistent(Forecaster):
    """Repeats the last bar, shifted; without an encoder."""

    name: ClassVar[str] = "persistent"

    def __init__(self, shift: Callable[[Context], Any] = lambda context: 0.0) -> None:
        self.shift = shift

    def forecast(self, context: Context, horizon: int, levels: tuple[float, ...]) -> Forecast:
        last = np.repeat(context.past[:, -1:] + self.shift(context), horizon, axis=1)
        return Forecast(
            quantiles=np.repeat(last[..., None], len(levels), axis=-1),
            quantile_levels=levels,
            mean=last,
        )

    def save(self, directory: str | Path) -> Path:
        raise NotImplementedError

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        raise NotImplementedError


class Encoding(Persistent):
    """Tokens of ``patch`` bars; ``encode`` makes a state of a token's bars ``[..., bar]``."""

    name: ClassVar[str] = "encoding"

    def __init__(self, encode: Callable[[np.ndarray], np.ndarray], patch: int = 8) -> None:
        super().__init__()
        self.encode, self.patch = encode, patch

    def embeddings(self, context: Context) -> np.ndarray:
        past = np.where(context.observed, context.past, np.nan).swapaxes(1, 2)
        tokens = past.shape[2] // self.patch
        cut = past[..., past.shape[2] - tokens * self.patch :]
        return self.encode(cut.reshape(*past.shape[:2], tokens, self.patch).astype(np.float64))


def oscillators(
    systems: int = 4, count: int = 3, points: int = 400, dt: float = 0.05
) -> tuple[Panel, dict[str, float]]:
    """Two-variate rotations, each system with its angle per bar, which is returned by name."""
    rng = np.random.default_rng(3)
    angles = {f"S{k}": 0.06 + 0.035 * k for k in range(systems)}
    series = []
    for system, angle in angles.items():
        for start in range(count):
            phase = rng.uniform(0, 2 * np.pi) + angle * np.arange(points)
            series.append(
                Series(
                    item_id=f"{system}/0/{start}",
                    target=np.stack([np.cos(phase), np.sin(phase)]).astype(np.float32),
                    static={
                        "system": system, "members": system, "family": system[:1] + system[-1:],
                        "role": "system", "draw": 0.0, "dt": dt, "period": 2 * np.pi / angle * dt,
                        "lyapunov": 0.9,
                    },
                )
            )  # fmt: skip
    return Panel.from_series(series, PanelInfo(name="oscillators", variates=("x0", "x1"))), angles
