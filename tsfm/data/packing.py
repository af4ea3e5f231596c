"""Patches, masks and packed sequences: MOIRAI's training recipe as one pure function.

A window becomes a *sample*: some of its variates, cropped to whole patches of one size, part of
them masked for prediction. Covariates are further variates, never masked: known ones have a token
for every patch, past ones only where no target is masked. Samples are laid one after the other into
rows of ``token_budget`` tokens; the last of a row is cropped to what is left, so that next to
nothing is padding.
Source: Woo et al. 2024, *Unified Training of Universal Time Series Forecasting Transformers*, §3.2;
covariates as uni2ts 2.0 feeds ``feat_dynamic_real`` and ``past_feat_dynamic_real``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from tsfm.data.windows import Window
from tsfm.errors import ConfigError

_RANGES_BY_BAR: tuple[tuple[pd.Timedelta, tuple[int, int]], ...] = (
    (pd.Timedelta("1min"), (64, 128)),
    (pd.Timedelta("15min"), (32, 128)),
    (pd.Timedelta("1D"), (32, 64)),
    (pd.Timedelta("8D"), (16, 32)),
    (pd.Timedelta("80D"), (8, 32)),
)
_LONGEST_RANGE = (1, 8)


@dataclass(frozen=True, kw_only=True)
class PackingRecipe:
    """How windows become masked, packed samples.

    Attributes
    ----------
    patch_sizes
        Candidates; one is drawn for each sample.
    patch_size_rule
        ``all`` draws from every candidate; ``frequency`` keeps those that suit the bar's duration.
    token_budget
        Tokens in a row, hence the most that one sample may have.
    mask_ratio_min, mask_ratio_max
        Share of a sample's patches to predict, drawn uniformly.
    random_mask_share
        Share of samples whose masked patches are scattered; the others mask a suffix.
    min_patches
        Fewest time patches in a sample (at least one is masked, one seen).
    shortest_crop
        Least share of a window's patches that a sample keeps (unless a row has less room left);
        0 draws crops of any length, as MOIRAI does.
    max_variates
        Most variates in a sample; wider windows are subsampled, their covariates first.
    use_covariates
        Whether covariates are seen.
    """

    patch_sizes: tuple[int, ...] = (16, 32, 64)
    patch_size_rule: str = "all"
    token_budget: int = 512
    mask_ratio_min: float = 0.1
    mask_ratio_max: float = 0.2
    random_mask_share: float = 0.1
    min_patches: int = 2
    shortest_crop: float = 0.0
    max_variates: int = 128
    use_covariates: bool = True

    def __post_init__(self) -> None:
        if not self.patch_sizes or any(size < 1 for size in self.patch_sizes):
            raise ConfigError(f"patch_sizes={self.patch_sizes}", remedy="give positive sizes")
        if self.patch_size_rule not in ("all", "frequency"):
            raise ConfigError(
                f"patch_size_rule={self.patch_size_rule!r}", remedy="choose all or frequency"
            )
        if not 0 < self.mask_ratio_min <= self.mask_ratio_max < 1:
            raise ConfigError(
                f"mask ratios {self.mask_ratio_min} to {self.mask_ratio_max} are out of range",
                remedy="give 0 < mask_ratio_min ≤ mask_ratio_max < 1",
            )
        for name in ("random_mask_share", "shortest_crop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)} lies outside 0 … 1")
        if self.min_patches < 2 or self.token_budget < self.min_patches or self.max_variates < 1:
            raise ConfigError(
                f"min_patches={self.min_patches}, token_budget={self.token_budget}, "
                f"max_variates={self.max_variates} allow no sample",
                remedy="give 2 ≤ min_patches ≤ token_budget and max_variates ≥ 1",
            )


def patch_size_candidates(freq: str | None, patch_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes that suit a bar's duration; all of them where none does or ``freq`` is unknown.

    MOIRAI's ranges, but read by duration: a 15-minute bar is not a 1-minute bar.
    """
    if freq is None:
        return patch_sizes
    start = pd.Timestamp("2001-01-01")
    duration = start + pd.tseries.frequencies.to_offset(freq) - start
    if duration <= pd.Timedelta(0):
        duration = pd.Timedelta("1D")
    low, high = next((sizes for limit, sizes in _RANGES_BY_BAR if duration < limit), _LONGEST_RANGE)
    return tuple(size for size in patch_sizes if low <= size <= high) or patch_sizes


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A window cut into patches, ``[variate, patch, patch_size]``: targets, then covariates.

    ``real`` tells which patches are tokens, ``masked`` which of these are predicted.
    """

    patches: Float[np.ndarray, "variate patch size"]
    masked: Bool[np.ndarray, "variate patch"]
    real: Bool[np.ndarray, "variate patch"]

    @property
    def tokens(self) -> int:
        return int(self.real.sum())


def draw_sample(
    window: Window, room: int, rng: np.random.Generator, recipe: PackingRecipe
) -> Sample:
    """Patch size, variates, crop and mask of one sample of at most ``room`` tokens."""
    fitting = [
        size
        for size in (
            recipe.patch_sizes
            if recipe.patch_size_rule == "all"
            else patch_size_candidates(window.freq, recipe.patch_sizes)
        )
        if size * recipe.min_patches <= window.length
    ]
    if not fitting:
        raise ConfigError(
            f"a window of {window.length} bars holds no {recipe.min_patches} patches",
            where=f"item {window.item_id}, patch sizes {recipe.patch_sizes}",
            remedy="use smaller patch_sizes or longer windows",
        )
    size = int(rng.choice(fitting))
    longest = window.length // size
    n_variates = min(window.target.shape[0], recipe.max_variates)
    shortest = max(recipe.min_patches, math.ceil(recipe.shortest_crop * longest))
    n_patches = int(rng.integers(shortest, longest + 1))
    if n_variates * n_patches > room:
        n_variates, n_patches = _fill(room, n_variates, longest, recipe.min_patches)
    chosen = np.arange(window.target.shape[0])
    if n_variates < len(chosen):
        chosen = np.sort(rng.choice(len(chosen), n_variates, replace=False))
    covariates, n_known = _covariates(window, recipe)
    n_covariates = min(recipe.max_variates, room // n_patches) - n_variates
    kept = np.arange(len(covariates))
    if n_covariates < len(kept):
        kept = np.sort(rng.choice(len(kept), max(n_covariates, 0), replace=False))
    start = int(rng.integers(window.length - n_patches * size + 1))
    crop = np.s_[start : start + n_patches * size]
    values = window.target[chosen, crop]
    masked = _draw_mask(n_variates, n_patches, rng, recipe)
    real = np.ones((n_variates + len(kept), n_patches), bool)
    if len(kept):
        values = np.concatenate([values, np.stack([covariates[k][crop] for k in kept])])
        real[n_variates:][kept >= n_known] = ~masked.any(axis=0)
        masked = np.concatenate([masked, np.zeros((len(kept), n_patches), bool)])
    patches = values.reshape(len(values), n_patches, size)
    return Sample(patches=patches, masked=masked, real=real)


def _covariates(window: Window, recipe: PackingRecipe) -> tuple[list[np.ndarray], int]:
    """Rows of the known covariates, then of the past ones; how many are known."""
    if not recipe.use_covariates:
        return [], 0
    known = () if window.known_covariates is None else window.known_covariates[:, : window.length]
    past = () if window.past_covariates is None else window.past_covariates
    return [*known, *past], len(known)


def pack(
    windows: Iterator[Window], batch_size: int, rng: np.random.Generator, recipe: PackingRecipe
) -> dict[str, np.ndarray]:
    """Fill ``batch_size`` rows of ``token_budget`` tokens with samples.

    Returns
    -------
    dict
        The packed fields, ``[batch, token]`` and for ``target`` and ``observed_mask``
        ``[batch, token, max_patch]``; ``sample_id`` counts from 1, 0 is padding.
    """
    shape = (batch_size, recipe.token_budget)
    fields: dict[str, np.ndarray] = {
        "target": np.zeros((*shape, max(recipe.patch_sizes)), np.float32),
        "observed_mask": np.zeros((*shape, max(recipe.patch_sizes)), bool),
        "prediction_mask": np.zeros(shape, bool),
    } | {
        name: np.zeros(shape, np.int64)
        for name in ("sample_id", "time_id", "variate_id", "patch_size")
    }
    for row in range(batch_size):
        used, sample_id = 0, 0
        while recipe.token_budget - used >= recipe.min_patches:
            sample = draw_sample(next(windows), recipe.token_budget - used, rng, recipe)
            sample_id += 1
            _write(fields, row, used, sample, sample_id)
            used += sample.tokens
    return fields


def _write(
    fields: dict[str, np.ndarray], row: int, begin: int, sample: Sample, sample_id: int
) -> None:
    size = sample.patches.shape[-1]
    variate, patch = np.nonzero(sample.real)
    tokens = slice(begin, begin + sample.tokens)
    values = sample.patches[sample.real]
    observed = np.isfinite(values)
    fields["target"][row, tokens, :size] = np.where(observed, values, 0)
    fields["observed_mask"][row, tokens, :size] = observed
    fields["prediction_mask"][row, tokens] = sample.masked[sample.real]
    fields["sample_id"][row, tokens] = sample_id
    fields["time_id"][row, tokens] = patch
    fields["variate_id"][row, tokens] = variate
    fields["patch_size"][row, tokens] = size


def _fill(room: int, n_variates: int, longest: int, min_patches: int) -> tuple[int, int]:
    """The widest sample that leaves at most one token of ``room``, else the fullest one."""
    shapes = [
        (variates, min(room // variates, longest))
        for variates in range(min(n_variates, room // min_patches), 0, -1)
    ]
    snug = (shape for shape in shapes if room - shape[0] * shape[1] <= 1)
    return next(snug, max(shapes, key=lambda shape: shape[0] * shape[1]))


def _draw_mask(
    n_variates: int, n_patches: int, rng: np.random.Generator, recipe: PackingRecipe
) -> Bool[np.ndarray, "variate patch"]:
    ratio = rng.uniform(recipe.mask_ratio_min, recipe.mask_ratio_max)
    count = min(max(1, round(n_patches * ratio)), n_patches - 1)
    masked = np.zeros((n_variates, n_patches), bool)
    if rng.random() < recipe.random_mask_share:
        scattered = np.argsort(rng.random((n_variates, n_patches)), axis=1)[:, :count]
        np.put_along_axis(masked, scattered, True, axis=1)
    else:
        masked[:, n_patches - count :] = True
    return masked
