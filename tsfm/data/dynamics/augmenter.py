"""Augmentation on the way to training: of windows in a stream, and of any target by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from jaxtyping import Float

from tsfm.data.dynamics.augmentation_config import AugmentationConfig
from tsfm.data.dynamics.augmentations import observed_variates, standardized
from tsfm.data.windows import Window

_TRIES_FOR_ANOTHER_ITEM = 8


class Augmenter:
    """Draws an augmentation for a window and applies it.

    It is a :class:`tsfm.data.windows.WindowTransform`: ``WindowStream(panels, spec,
    transform=Augmenter(config))`` augments what it yields.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config

    def reach(self, n_variates: int) -> int:
        """Bars before a window that Takens embedding may look back to."""
        if self.config.rate == 0 or "takens" not in self.config.which:
            return 0
        return self.config.takens.reach(n_variates)

    def draw(self, rng: np.random.Generator) -> str | None:
        """The name of an augmentation, or ``None`` for a window that stays as it is."""
        if rng.random() >= self.config.rate:
            return None
        return str(rng.choice(self.config.which, p=self.config.shares))

    def __call__(
        self,
        window: Window,
        history: Float[np.ndarray, "variate earlier"],
        others: Iterator[Window],
        rng: np.random.Generator,
    ) -> Window:
        """The window, or an augmented one; never changes the one given.

        Parameters
        ----------
        history
            Bars just before the window, as far as there are any.
        others
            Further windows: a projected skew product takes the first of another item.
        """
        name = self.draw(rng)
        if name is None:
            return window
        present = observed_variates(window.target)
        if not present.any():
            return window
        if name == "skew":
            partner = _partner(window, others)
            if not observed_variates(partner.target).any():
                return window
            target = self.apply(name, window.target[present], rng, other=partner.target)
        else:
            earlier = history[present] if name == "takens" else None
            target = self.apply(name, window.target[present], rng, history=earlier)
        return _retargeted(window, target, name)

    def apply(
        self,
        name: str,
        target: Float[np.ndarray, "variate time"],
        rng: np.random.Generator,
        *,
        other: Float[np.ndarray, "other time"] | None = None,
        history: Float[np.ndarray, "variate earlier"] | None = None,
    ) -> Float[np.ndarray, "row time"]:
        """One augmentation of a target, standardised as the config says.

        Parameters
        ----------
        other
            The second target of a projected skew product.
        history
            Bars before the target, for Takens embedding.
        """
        config, time = self.config, target.shape[-1]
        before, after = (config.standardize in (when, "both") for when in ("before", "after"))
        if history is not None:
            target = np.concatenate([history, target], axis=-1)
        if before:
            target = standardized(target)
        if name == "skew":
            assert other is not None
            other = standardized(other) if before else other
            made = config.skew.combine(target, other, rng)
        else:
            made = getattr(config, name).apply(target, rng)[..., -time:]
        return standardized(made) if after else made


def _partner(window: Window, others: Iterator[Window]) -> Window:
    """The first window of another item, as long as there seem to be others."""
    tried = islice(others, _TRIES_FOR_ANOTHER_ITEM)
    return next((other for other in tried if other.item_id != window.item_id), None) or next(others)


def _retargeted(window: Window, target: np.ndarray, name: str) -> Window:
    """The window with another target; what is along time is as long as that."""
    time, lost = target.shape[-1], window.length - target.shape[-1]
    known, past = window.known_covariates, window.past_covariates
    return replace(
        window,
        target=target,
        variate_names=tuple(f"{name}{row}" for row in range(len(target))),
        timestamps=None if window.timestamps is None else window.timestamps[:time],
        past_covariates=None if past is None else past[:, :time],
        known_covariates=None if known is None else known[:, : known.shape[1] - lost],
        static={**window.static, "augmentation": name},
    )
