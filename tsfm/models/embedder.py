"""What the analyses of representations need of a model: the states of its encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from tsfm.errors import ConfigError
from tsfm.models.base import Context, Forecaster


@runtime_checkable
class Embedder(Protocol):
    """A forecaster whose encoder makes a state of every token (a patch, or a bar) of the past."""

    def embeddings(self, context: Context) -> Float[np.ndarray, "batch variate token dim"]:
        """NaN where a token is padding or a variate is absent."""


def expect_embedder(model: Forecaster) -> Embedder:
    """The model as one that has an encoder.

    Raises
    ------
    ConfigError
        When it has none.
    """
    if isinstance(model, Embedder):
        return model
    raise ConfigError(
        f"{model.name} has no encoder whose states could be looked at",
        remedy="give a moirai, ttm, patchtst, patchtst_hf or chronos model",
    )


def pooled(
    states: Float[np.ndarray, "batch variate token dim"],
) -> Float[np.ndarray, "batch dim"]:
    """Mean over the tokens of each variate, then over the variates, padding left out.

    Every variate counts alike, however much of it is observed.
    """
    return _mean(_mean(states, axis=2), axis=1)


def pooled_states(model: Embedder, contexts: Sequence[Context]) -> Float[np.ndarray, "window dim"]:
    """:func:`pooled` states of all contexts, one batch after the other."""
    return np.concatenate([pooled(states) for states in _states(model, contexts)])


def last_states(
    model: Embedder, contexts: Sequence[Context]
) -> Float[np.ndarray, "window variate dim"]:
    """The states of the latest token of every variate."""
    return np.concatenate([states[:, :, -1] for states in _states(model, contexts)])


def _states(model: Embedder, contexts: Sequence[Context]) -> Iterator[np.ndarray]:
    return (model.embeddings(context).astype(np.float64) for context in contexts)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    seen = np.isfinite(values)
    counts = seen.sum(axis=axis)
    sums = np.where(seen, values, 0).sum(axis=axis)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
