"""Windows and contexts as the padded batches that patch models read.

A batch holds ``tokens [batch, variate · patch]`` (which of them are real), ``context
[batch, variate, patch · bar]``, zero where unobserved, and, only where something is missing,
``observed`` of the same shape; ``real [batch, variate, patch]`` only where some token is padding.
Training adds ``future [batch, variate, horizon]`` with ``scored`` (which of it counts), or, in
masked mode, ``hidden [batch, variate, patch]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float

from tsfm.data.windows import Window, WindowSpec
from tsfm.errors import DataError
from tsfm.models.base import Batch

_MOST_EMPTY = 1000


class PatchRecipe(Protocol):
    """What the making of batches needs of a model's config."""

    @property
    def patch(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def horizon(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def mask_ratio(self) -> float: ...
    @property
    def channel_consistent(self) -> bool: ...
    @property
    def train_variates(self) -> int: ...


def window_spec(recipe: PatchRecipe) -> WindowSpec:
    """Two patches up to the context; before the horizon, in prediction mode."""
    ahead = recipe.horizon if recipe.mode == "prediction" else 0
    return WindowSpec(min_length=2 * recipe.patch + ahead, max_length=recipe.context + ahead)


def training_batch(
    windows: Iterator[Window], batch_size: int, rng: np.random.Generator, recipe: PatchRecipe
) -> Batch:
    """Take windows that have something to learn from, and draw their variates and masks.

    Raises
    ------
    DataError
        When a thousand windows in a row have none.
    """
    ahead = recipe.horizon if recipe.mode == "prediction" else 0
    drawn: list[np.ndarray] = []
    empty = 0
    while len(drawn) < batch_size:
        window = next(windows)
        values = _draw_variates(window.target, ahead, rng, recipe.train_variates)
        if values is None:
            empty += 1
            if empty == _MOST_EMPTY:
                raise DataError(
                    f"{empty} windows in a row have no variate observed before and after the "
                    "origin",
                    where=f"item {window.item_id}",
                    remedy="drop such series, or shorten the horizon",
                )
            continue
        drawn.append(values)
        empty = 0
    width = max(len(values) for values in drawn)
    length = max(values.shape[1] for values in drawn)
    stacked = np.full((batch_size, width, length), np.nan, np.float32)
    for row, values in enumerate(drawn):
        stacked[row, : len(values), length - values.shape[1] :] = values
    batch = context_batch(stacked[..., : length - ahead], recipe.patch)
    if ahead:
        future = stacked[..., length - ahead :]
        batch["future"] = torch.from_numpy(np.nan_to_num(future))
        batch["scored"] = torch.from_numpy(np.isfinite(future))
    else:
        tokens = batch["tokens"].unflatten(1, (width, -1)).numpy()
        hidden = _draw_hidden(tokens, rng, recipe.mask_ratio, recipe.channel_consistent)
        batch["hidden"] = torch.from_numpy(hidden)
    return batch


def context_batch(past: Float[np.ndarray, "batch variate time"], patch: int) -> Batch:
    """Pad a context (NaN where unobserved) on the left to whole patches."""
    batch, width, time = past.shape
    patches = -(-time // patch)
    context = np.full((batch, width, patches * patch), np.nan, np.float32)
    context[..., patches * patch - time :] = past
    observed = np.isfinite(context)
    real = observed.reshape(batch, width, patches, patch).any(-1)
    real = np.maximum.accumulate(real, axis=-1)
    result = {
        "tokens": torch.from_numpy(real.reshape(batch, -1)),
        "context": torch.from_numpy(np.where(observed, context, 0)),
    }
    if not observed.all():
        result["observed"] = torch.from_numpy(observed)
    if not real.all():
        result["real"] = torch.from_numpy(real)
    return result


def _draw_variates(
    target: Float[np.ndarray, "variate time"], ahead: int, rng: np.random.Generator, most: int
) -> Float[np.ndarray, "variate time"] | None:
    """Variates observed before and after the origin, at most ``most`` of them; None: there are
    none."""
    seen = np.isfinite(target)
    origin = target.shape[1] - ahead
    useful = seen[:, :origin].any(1)
    if ahead:
        useful &= seen[:, origin:].any(1)
    chosen = np.flatnonzero(useful)
    if not len(chosen):
        return None
    if most and len(chosen) > most:
        chosen = rng.choice(chosen, most, replace=False)
    return target if len(chosen) == len(target) and not most else target[chosen]


def _draw_hidden(
    tokens: Bool[np.ndarray, "batch variate patch"],
    rng: np.random.Generator,
    ratio: float,
    channel_consistent: bool,
) -> Bool[np.ndarray, "batch variate patch"]:
    """Hide ``ratio`` of each variate's real patches, at least one, and leave at least one."""
    batch, width, patches = tokens.shape
    noise = rng.random((batch, 1 if channel_consistent else width, patches))
    noise = np.where(tokens, noise, 2.0)
    rank = noise.argsort(axis=-1).argsort(axis=-1)
    count = tokens.sum(axis=-1, keepdims=True)
    hidden = np.clip(np.rint(ratio * count), 1, np.maximum(count - 1, 0))
    return tokens & (rank < hidden)
