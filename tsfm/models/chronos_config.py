"""How a Chronos model forecasts and is fine-tuned; its architecture is its checkpoint's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tsfm.errors import ConfigError
from tsfm.models.model_config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ChronosConfig(ModelConfig):
    """Configuration of :class:`tsfm.models.chronos.Chronos`; None is the checkpoint's own value.

    Attributes
    ----------
    context
        Bars seen, at most as many as the checkpoint was made for.
    horizon
        Bars that training windows are asked for. A T5 model forecasts as many at once, and rolls
        beyond; a Bolt model's is at most its own output patch. By default the checkpoint's own,
        128 at most.
    num_samples, temperature, top_k, top_p
        T5: paths drawn, and how each token is drawn.
    low_limit, high_limit
        T5: range of the tokenizer's uniform bins, in mean absolute values of the context. Released
        weights know theirs (±15); another one is for fine-tuning on series that exceed it.
    multivariate
        Chronos-2: whether the variates of a series attend to one another. The others always
        forecast each variate by itself.
    sequences_at_once
        Sequences (variates, times paths for T5) in one pass; bounds memory.
    untrained
        The weights are random: the model refuses to forecast. Training unsets it.
    allow_untrained
        Forecast even so, which only tests have a use for.
    """

    label: ClassVar[str] = "Chronos"

    context: int | None = None
    horizon: int | None = None
    num_samples: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    low_limit: float | None = None
    high_limit: float | None = None
    multivariate: bool = True
    sequences_at_once: int = 512
    untrained: bool = False
    allow_untrained: bool = False

    def __post_init__(self) -> None:
        for name in ("context", "horizon", "num_samples", "top_k", "sequences_at_once"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}", remedy="give at least 1")
        if self.temperature is not None and self.temperature <= 0:
            raise ConfigError(f"temperature={self.temperature}", remedy="give a positive number")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p}", remedy="give 0 < top_p ≤ 1")
        limits = (self.low_limit, self.high_limit)
        if None not in limits and limits[0] >= limits[1]:  # type: ignore[operator]
            raise ConfigError(
                f"low_limit={limits[0]}, high_limit={limits[1]}", remedy="give low < high"
            )
