"""How a boosted model is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tsfm.errors import ConfigError
from tsfm.models.base import QUANTILE_LEVELS
from tsfm.models.model_config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class BoostingConfig(ModelConfig):
    """Configuration of :class:`tsfm.models.boosting.Boosting`.

    Attributes
    ----------
    horizon
        Bars forecast by the boosters; longer horizons feed medians back.
    season
        Bars; by default the panel's.
    levels
        Quantile levels that boosters are fitted for; others are interpolated.
    lags
        Latest differences to the last value that are features.
    averages
        Bars of trailing means and deviations that are features, increasing.
    rounds, leaves, learning_rate, min_leaf
        Most trees of each booster, their leaves, the step of each, and examples in a leaf.
    max_examples
        Most training examples (a place in a series and a step ahead of it).
    seed
        Of the examples drawn.
    """

    label: ClassVar[str] = "lightgbm"

    horizon: int = 48
    season: int | None = None
    levels: tuple[float, ...] = QUANTILE_LEVELS
    lags: int = 8
    averages: tuple[int, ...] = (4, 12, 36)
    rounds: int = 100
    leaves: int = 8
    learning_rate: float = 0.1
    min_leaf: int = 100
    max_examples: int = 12_000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(float(level) for level in self.levels))
        object.__setattr__(self, "averages", tuple(int(bars) for bars in self.averages))
        least = {
            "horizon": 1,
            "lags": 1,
            "rounds": 1,
            "leaves": 2,
            "min_leaf": 1,
            "max_examples": 1,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy=f"give at least {value}")
        if self.season is not None and self.season < 1:
            raise ConfigError(f"season={self.season} is not a number of bars")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate={self.learning_rate}", remedy="give 0 < rate ≤ 1")
        if not self.levels or any(b <= a for a, b in zip((0.0, *self.levels), (*self.levels, 1.0))):
            raise ConfigError(f"levels={self.levels} are not increasing inside (0, 1)")
        if not self.averages or any(b <= a for a, b in zip((1, *self.averages), self.averages)):
            raise ConfigError(
                f"averages={self.averages} are not increasing numbers of bars",
                remedy="give 2 or more bars each",
            )
