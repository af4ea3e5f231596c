"""Recipes of fine-tuning by name, in epochs, and what they come to in optimiser steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tsfm.errors import ConfigError, one_of
from tsfm.training.config import TrainerConfig

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.windows import WindowSpec


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast a model is fine-tuned; unset values are those of a preset.

    Attributes
    ----------
    preset
        One of :data:`PRESETS`.
    epochs
        Passes over all windows of the training panels; ``max_steps`` goes before it.
    max_steps
        Optimiser steps.
    batch_size
        Windows in a step (rows, of models that pack windows).
    lr
        Peak learning rate.
    warmup_steps
        Steps up to it.
    """

    preset: str = "quick"
    epochs: float | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        one_of("preset", self.preset, PRESETS)
        for name in ("epochs", "max_steps", "batch_size", "lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name}={value} must be positive and finite")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps={self.warmup_steps}", remedy="give 0 or more")

    def trainer(
        self, base: TrainerConfig, model: str, panels: Iterable[Panel], spec: WindowSpec
    ) -> TrainerConfig:
        """The trainer's settings: what is set here, else the preset's, in all else ``base``'s.

        Parameters
        ----------
        model
            Its name.
        panels, spec
            What is trained on, and the windows that the model wants.
        """
        values = dict(PRESETS[self.preset])
        if self.preset == "quick":
            values |= QUICK.get(model, {})
        for name in ("batch_size", "lr", "warmup_steps"):
            values[name] = _first(getattr(self, name), values[name])
        epochs = self.epochs or values.get("epochs")
        steps = self.max_steps or (None if self.epochs else values.get("max_steps"))
        if steps is None:
            passes = n_windows(panels, spec) * float(epochs or 1)
            steps = math.ceil(passes / (values["batch_size"] * base.accumulate))
        return replace(
            base,
            max_steps=max(int(steps), 1),
            batch_size=int(values["batch_size"]),
            lr=float(values["lr"]),
            warmup_steps=int(values["warmup_steps"]),
        )


PRESETS: dict[str, dict[str, float]] = {
    "quick": {"max_steps": 300, "batch_size": 128, "lr": 1e-3, "warmup_steps": 30},
    "default": {"epochs": 1, "batch_size": 2048, "lr": 1e-4, "warmup_steps": 0},
    "fine_tune": {"epochs": 5, "batch_size": 2048, "lr": 1e-5, "warmup_steps": 500},
    "zero_shot": {"epochs": 1, "batch_size": 2048, "lr": 1e-4, "warmup_steps": 0},
}
"""``quick`` takes minutes on two cores; the others are those of the field."""

QUICK: dict[str, dict[str, float]] = {
    "moirai": {"max_steps": 100, "batch_size": 8, "lr": 5e-4, "warmup_steps": 10},
    "patchtst": {"max_steps": 300, "batch_size": 32, "lr": 3e-4, "warmup_steps": 30},
    "patchtst_hf": {"max_steps": 300, "batch_size": 32, "lr": 3e-4, "warmup_steps": 30},
    "chronos": {"max_steps": 100, "batch_size": 16, "lr": 1e-5, "warmup_steps": 10},
}
"""Where ``quick`` differs by model: packed rows are longer than windows, Chronos forgets sooner."""


def n_windows(panels: Iterable[Panel], spec: WindowSpec) -> int:
    """Windows of the longest length (or as long as a series is) that panels hold: an epoch."""
    return sum(
        int(((panel.lengths - spec.max_length).clip(0) + 1)[panel.lengths >= spec.min_length].sum())
        for panel in panels
    )


def _first(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
