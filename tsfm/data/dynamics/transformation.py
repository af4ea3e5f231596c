"""Augmentations as steps of a GluonTS pipeline."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from gluonts.transform import Transformation

from tsfm.data.dynamics.augmentation_config import AugmentationConfig
from tsfm.data.dynamics.augmenter import Augmenter
from tsfm.errors import ConfigError


class AsTransformation(Transformation):
    """Augments ``target`` ``[variate, time]`` (or ``[time]``) of training entries.

    Entry ``k`` of a stream draws from a generator of ``(seed, k)``, so that a stream has one
    outcome. A projected skew product takes its partner from the entries seen lately; the first
    entry, which has none, stays as it is. Entries are never changed in place; a univariate one
    that is augmented becomes ``[row, time]``. Other fields stay; a skew product of a shorter
    partner is as short as that, so give it series of one length where there are covariates.

    Parameters
    ----------
    config
        What is drawn, and how often.
    pool
        Entries remembered as partners.
    """

    def __init__(self, config: AugmentationConfig, *, seed: int = 0, pool: int = 32) -> None:
        if seed < 0 or pool < 1:
            raise ConfigError(
                f"seed={seed}, pool={pool}", remedy="give a seed from 0 and a pool of at least 1"
            )
        self.augmenter, self.seed, self.pool = Augmenter(config), seed, pool

    def __call__(
        self, data_it: Iterable[dict[str, Any]], is_train: bool
    ) -> Iterator[dict[str, Any]]:
        if not is_train:
            yield from data_it
            return
        seen: deque[np.ndarray] = deque(maxlen=self.pool)
        for index, entry in enumerate(data_it):
            rng = np.random.default_rng([self.seed, index])
            target = np.atleast_2d(entry["target"])
            name = self.augmenter.draw(rng)
            other = seen[int(rng.integers(len(seen)))] if name == "skew" and seen else None
            seen.append(target)
            if name is None or (name == "skew" and other is None):
                yield entry
            else:
                yield {**entry, "target": self.augmenter.apply(name, target, rng, other=other)}
