"""Scores with a planted difference, a policy that lets equals pass, and a client that dies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

LENIENT: dict[str, Any] = {
    "rules": {"skill": {"above": -0.5}},
    "replicates": 200,
    "vault": "vault",
    "wait_seconds": 20.0,
}
WRITES = (
    "log_param", "set_tag", "log_batch", "set_registered_model_alias", "create_experiment",
    "delete_registered_model_alias", "set_model_version_tag", "update_model_version", "create_run",
    "set_terminated", "delete_run",
)  # fmt: skip


def score_rows(
    model: str,
    losses: np.ndarray,
    *,
    task: str = "task",
    variate: str = "x",
    metric: str = "crps",
    cluster: str = "item",
) -> pd.DataFrame:
    """Scores of windows ``[item, window]`` whose two bars have these losses; NaN: no forecast."""
    items, windows = losses.shape
    terms = [np.array([loss, loss], np.float32) for loss in losses.ravel()]
    sizes = [np.isfinite(term).astype(float) for term in terms]
    frame = pd.DataFrame(
        {
            "model": model,
            "task": task,
            "item_id": np.repeat([f"i{k}" for k in range(items)], windows),
            "origin": np.tile(np.arange(windows), items),
            "timestamp": pd.NaT,
            "block": np.tile(np.arange(windows), items),
            "cluster": cluster,
            "variate": variate,
            "metric": metric,
            "value": losses.ravel(),
            "numerator": [np.nansum(term) for term in terms],
            "denominator": [size.sum() for size in sizes],
            "terms": terms,
            "sizes": sizes,
        }
    )
    return frame[frame["denominator"] > 0]


def planted(skill: float, *, items: int = 12, windows: int = 10, seed: int = 0) -> pd.DataFrame:
    """``new`` beside ``old``, whose losses differ by item and window and are paired."""
    rng = np.random.default_rng(seed)
    old = np.exp(rng.normal(0, 0.5, (items, 1)) + rng.normal(0, 0.2, (items, windows)))
    noise = np.exp(rng.normal(-0.01, 0.1, (items, 1)) + rng.normal(0, 0.1, old.shape))
    return pd.concat([score_rows("new", (1 - skill) * old * noise), score_rows("old", old)])


class Killed(BaseException):
    """What a process does not survive."""


class MortalClient:
    """A client whose process dies before its n-th write: from then on nothing of it works."""

    def __init__(self, client: Any, writes: int, names: Iterable[str] = WRITES) -> None:
        self.client, self.left, self.names = client, writes, set(names)
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.client, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            if name in self.names:
                self.left -= 1
            if self.is_dead or self.left < 0:
                self.is_dead = True
                raise Killed
            return attribute(*args, **kwargs)

        return call
