"""Which augmentations training windows meet, how often, and the published choices."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Self

from tsfm.data.dynamics.augmentations import (
    DimensionSelection,
    RandomAffine,
    RandomConvexCombination,
    RandomProjectedSkew,
    TakensEmbedding,
)
from tsfm.data.dynamics.surrogates import PhaseSurrogate, RandomFourierSeries
from tsfm.errors import ConfigError, one_of

AUGMENTATIONS = ("affine", "convex", "skew", "takens", "phase", "fourier", "select")
STANDARDIZE = ("none", "before", "after", "both")


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Augmentation of training windows; the defaults are Panda's.

    Attributes
    ----------
    rate
        Share of the windows that are augmented, each by one augmentation.
    which
        Names of the augmentations that are drawn from: ``affine``, ``convex``, ``skew``,
        ``takens``, ``phase``, ``fourier``, ``select``.
    weights
        Relative frequency of each of ``which``; empty: all the same.
    standardize
        Whether variates of augmented windows are z-scored over the window, ``before``, ``after``
        or ``both``. Mixed without it, the variates with the largest numbers rule.
    affine, convex, skew, takens, phase, fourier, select
        How each augmentation draws.
    """

    rate: float = 0.2
    which: tuple[str, ...] = ("takens", "convex", "affine")
    weights: tuple[float, ...] = ()
    standardize: str = "after"
    affine: RandomAffine = field(default_factory=RandomAffine)
    convex: RandomConvexCombination = field(default_factory=RandomConvexCombination)
    skew: RandomProjectedSkew = field(default_factory=RandomProjectedSkew)
    takens: TakensEmbedding = field(default_factory=TakensEmbedding)
    phase: PhaseSurrogate = field(default_factory=PhaseSurrogate)
    fourier: RandomFourierSeries = field(default_factory=RandomFourierSeries)
    select: DimensionSelection = field(default_factory=DimensionSelection)

    def __post_init__(self) -> None:
        for name in ("which", "weights"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"augment.rate={self.rate} lies outside 0 … 1")
        if not self.which or len(set(self.which)) < len(self.which):
            raise ConfigError(
                f"augment.which={self.which} is empty or repeats a name",
                remedy="name each augmentation once, or give rate=0",
            )
        for name in self.which:
            one_of("augment.which", name, AUGMENTATIONS)
        one_of("augment.standardize", self.standardize, STANDARDIZE)
        fitting = len(self.weights) in (0, len(self.which))
        if not fitting or not all(0 <= weight < math.inf for weight in self.weights):
            raise ConfigError(
                f"augment.weights={self.weights} do not fit which={self.which}",
                remedy="give one non-negative number for each name, or none at all",
            )
        if self.weights and not sum(self.weights):
            raise ConfigError("augment.weights are all zero", remedy="make one of them positive")

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each of ``which`` for a window that is augmented."""
        weights = self.weights or (1.0,) * len(self.which)
        return tuple(weight / sum(weights) for weight in weights)

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> Self:
        """A published choice: ``panda`` or ``dystformer``.

        dystformer trains on its series and, beside them, an affine image, a convex combination and
        a projected skew product: three in four are augmented, none is z-scored.

        Raises
        ------
        ConfigError
            When the name is neither, or an override is not a field.
        """
        one_of("augment", name, PRESETS)
        try:
            return cls(**{**PRESETS[name], **overrides})
        except TypeError as error:
            raise ConfigError(
                f"augment: {error}", remedy="give fields of AugmentationConfig"
            ) from error


PRESETS: dict[str, dict[str, Any]] = {
    "panda": {},
    "dystformer": {
        "rate": 0.75,
        "which": ("affine", "convex", "skew"),
        "standardize": "none",
        "affine": RandomAffine(dimensions=(6, 6), scale=0.5, by_dimension=False),
        "convex": RandomConvexCombination(dimensions=(6, 6), alpha=0.6),
        "skew": RandomProjectedSkew(dimension=6, scale=0.5),
    },
}
