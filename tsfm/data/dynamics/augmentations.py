"""Augmentations that make new multivariate series from the coordinates of given ones.

Each is a frozen dataclass whose fields say how it draws, with ``apply(target, rng)``: targets
``[..., variate, time]`` in, new ones of the same length out, everything random drawn from ``rng``
for each window anew (the number of rows once for all). What is NaN was not observed: a variate
without any value takes no part, and a value made from an unobserved one is NaN.

Source: dystformer and its successor Panda (Lai, Bao & Gilpin 2025, *Panda: a pretrained forecast
model for chaotic dynamics*), appendix on augmentations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from tsfm.errors import ConfigError, DataError

Target = Float[np.ndarray, "*window variate time"]

_SMALLEST_ALPHA = 0.05
_FEWEST_DELAYS = 3


class Augmentation(Protocol):
    """Makes a new target of one."""

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., variate, time]`` to ``[..., row, time]``."""


@dataclass(frozen=True, kw_only=True)
class RandomAffine:
    """Rows ``A x + b`` of Gaussian ``A`` and ``b``: the same dynamics in other coordinates.

    Attributes
    ----------
    dimensions
        Fewest and most rows, drawn uniformly.
    scale
        Standard deviation of the entries of ``A`` and ``b``.
    by_dimension
        Divide the entries by the root of the number of rows.
    """

    dimensions: tuple[int, int] = (3, 8)
    scale: float = 1.0
    by_dimension: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", checked_range("affine.dimensions", self.dimensions))
        check_positive("affine.scale", self.scale)

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., row, time]``, an affine image of the target."""
        check_target(target)
        rows = int(rng.integers(*self.dimensions, endpoint=True))
        scale = self.scale / math.sqrt(rows) if self.by_dimension else self.scale
        drawn = rng.normal(scale=scale, size=(*target.shape[:-2], rows, target.shape[-2] + 1))
        return _combined(drawn[..., :-1], target, drawn[..., -1:])


@dataclass(frozen=True, kw_only=True)
class RandomConvexCombination:
    """Rows that are weighted means of the variates, by weights from a Dirichlet distribution.

    Attributes
    ----------
    dimensions
        Fewest and most rows, drawn uniformly.
    alpha
        Concentration: small ones favour single variates, large ones the mean of all.
    """

    dimensions: tuple[int, int] = (3, 8)
    alpha: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", checked_range("convex.dimensions", self.dimensions))
        if not _SMALLEST_ALPHA <= self.alpha < math.inf:
            raise ConfigError(
                f"convex.alpha={self.alpha} is out of range",
                remedy=f"give a finite number of at least {_SMALLEST_ALPHA}",
            )

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., row, time]`` within the convex hull of the target's variates."""
        check_target(target)
        rows = int(rng.integers(*self.dimensions, endpoint=True))
        drawn = rng.standard_gamma(self.alpha, (*target.shape[:-2], rows, target.shape[-2]))
        drawn *= observed_variates(target)[..., None, :]
        total = drawn.sum(axis=-1, keepdims=True)
        return _combined(drawn / np.where(total > 0, total, 1), target)


@dataclass(frozen=True, kw_only=True)
class RandomProjectedSkew:
    """Rows ``P x + Q y`` of two series and Gaussian ``P`` and ``Q``: two systems seen at once.

    Attributes
    ----------
    dimension
        Rows.
    scale
        Standard deviation of the entries of ``P`` and ``Q``.
    """

    dimension: int = 6
    scale: float = 0.5

    def __post_init__(self) -> None:
        check_count("skew.dimension", self.dimension)
        check_positive("skew.scale", self.scale)

    def combine(self, target: Target, other: Target, rng: np.random.Generator) -> Target:
        """``[..., row, time]``, linear in both; the longer one loses its last bars."""
        check_target(target)
        check_target(other)
        if target.shape[:-2] != other.shape[:-2]:
            raise DataError(
                f"targets of shapes {target.shape} and {other.shape} are no pairs",
                remedy="give as many windows of the one as of the other",
            )
        time = min(target.shape[-1], other.shape[-1])
        return self._projected(target[..., :time], rng) + self._projected(other[..., :time], rng)

    def _projected(self, target: Target, rng: np.random.Generator) -> Target:
        shape = (*target.shape[:-2], self.dimension, target.shape[-2])
        return _combined(rng.normal(scale=self.scale, size=shape), target)


@dataclass(frozen=True, kw_only=True)
class TakensEmbedding:
    """Rows that are one variate and its delays: row ``k`` at ``t`` is the variate at ``t - k lag``.

    Source: Takens 1981, *Detecting strange attractors in turbulence*.

    Attributes
    ----------
    dimension
        Rows; 0: as many as there are variates, at least three.
    lags
        Smallest and largest lag in bars, drawn uniformly.
    """

    dimension: int = 0
    lags: tuple[int, int] = (1, 10)

    def __post_init__(self) -> None:
        if self.dimension:
            check_count("takens.dimension", self.dimension)
        object.__setattr__(self, "lags", checked_range("takens.lags", self.lags))

    def reach(self, n_variates: int) -> int:
        """Bars that the last row may look back."""
        return (self._rows(n_variates) - 1) * self.lags[1]

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., row, time]``; a row is NaN where it looks back before the target's first bar."""
        check_target(target)
        shape, time = target.shape[:-2], target.shape[-1]
        scores = np.where(observed_variates(target), rng.random(target.shape[:-1]), -1)
        chosen = np.take_along_axis(target, scores.argmax(axis=-1)[..., None, None], axis=-2)
        lags = rng.integers(*self.lags, size=shape, endpoint=True)
        delays = np.arange(self._rows(target.shape[-2]))[:, None] * lags[..., None, None]
        moments = np.arange(time) - delays
        delayed = np.take_along_axis(chosen, np.maximum(moments, 0), axis=-1)
        return np.where(moments >= 0, delayed, target.dtype.type(np.nan))

    def _rows(self, n_variates: int) -> int:
        return self.dimension or max(n_variates, _FEWEST_DELAYS)


@dataclass(frozen=True, kw_only=True)
class DimensionSelection:
    """Some of the variates, in their order; observed ones before unobserved ones.

    Attributes
    ----------
    dimension
        Variates kept; all where there are fewer.
    """

    dimension: int = 3

    def __post_init__(self) -> None:
        check_count("select.dimension", self.dimension)

    def chosen(self, target: Target, rng: np.random.Generator) -> np.ndarray:
        """``int [..., row]``: positions of the variates kept, increasing."""
        check_target(target)
        scores = np.where(observed_variates(target), rng.random(target.shape[:-1]), 2)
        return np.sort(scores.argsort(axis=-1)[..., : self.dimension], axis=-1)

    def apply(self, target: Target, rng: np.random.Generator) -> Target:
        """``[..., row, time]``, rows of the target."""
        return np.take_along_axis(target, self.chosen(target, rng)[..., None], axis=-2)


def standardized(target: Target) -> Target:
    """Each variate's z-score over its observed values; constant variates become zero."""
    check_target(target)
    observed = np.isfinite(target)
    count = np.maximum(observed.sum(axis=-1, keepdims=True), 1)
    values = np.where(observed, target, 0).astype(float)
    centred = np.where(observed, values - values.sum(axis=-1, keepdims=True) / count, 0)
    deviation = np.sqrt((centred**2).sum(axis=-1, keepdims=True) / count)
    rounding = np.finfo(target.dtype).eps * np.abs(values).max(axis=-1, keepdims=True)
    scaled = np.where(deviation > rounding, centred / np.where(deviation > 0, deviation, 1), 0)
    return np.where(observed, scaled, np.nan).astype(target.dtype)


def observed_variates(target: Target) -> Bool[np.ndarray, "*window variate"]:
    """Which variates have a value at all."""
    return np.isfinite(target).any(axis=-1)


def check_target(target: Target) -> None:
    """Raise :class:`DataError` unless ``target`` is a floating ``[..., variate, time]``."""
    if target.ndim < 2 or 0 in target.shape or not np.issubdtype(target.dtype, np.floating):
        raise DataError(
            f"a target of shape {target.shape} and type {target.dtype} cannot be augmented",
            remedy="give floating-point numbers [..., variate, time], at least one of each",
        )


def checked_range(name: str, bounds: tuple[int, int]) -> tuple[int, int]:
    """The bounds as a tuple, or a :class:`ConfigError` unless they are ``1 ≤ low ≤ high``."""
    if len(bounds) != 2 or not 1 <= bounds[0] <= bounds[1]:
        raise ConfigError(
            f"{name}={tuple(bounds)} is no range", remedy="give two whole numbers, 1 ≤ low ≤ high"
        )
    return int(bounds[0]), int(bounds[1])


def check_count(name: str, count: int) -> None:
    """Raise :class:`ConfigError` unless ``count`` is at least one."""
    if count < 1:
        raise ConfigError(f"{name}={count} is too small", remedy="give at least 1")


def check_positive(name: str, value: float) -> None:
    """Raise :class:`ConfigError` unless ``value`` is positive and finite."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}={value} is out of range", remedy="give a positive number")


def _combined(
    coefficients: Float[np.ndarray, "*window row variate"],
    target: Target,
    offset: Float[np.ndarray, "*window row 1"] | float = 0.0,
) -> Target:
    """``coefficients @ target + offset`` over the variates that have a value at all."""
    present = observed_variates(target)
    values = np.where(present[..., None], target, 0)
    rows = np.where(present[..., None, :], coefficients, 0) @ values + offset
    some = present[..., None, :].any(axis=-1, keepdims=True)
    return np.where(some, rows, np.nan).astype(target.dtype)
