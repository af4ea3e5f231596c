"""What came of looking into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.evaluation.bootstrap import bootstrap_ratios, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One analysis.

    Attributes
    ----------
    conclusion
        In words.
    tables, metrics, figures
        By name; the first table is the one to read.
    """

    conclusion: str
    tables: Mapping[str, pd.DataFrame]
    metrics: Mapping[str, float]
    figures: Mapping[str, Figure]


def clustered_mean(
    values: Float[np.ndarray, " window"],
    clusters: Sequence[object] | np.ndarray,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean of the known values, and its 95 % interval over clusters (NaN where they are few)."""
    known = np.isfinite(values)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    drawn = bootstrap_ratios(
        np.where(known, values, 0.0)[None],
        known[None].astype(np.float64),
        items=clusters,
        blocks=np.zeros(len(values), np.int64),
        rng=np.random.default_rng(seed),
        cluster="item",
        replicates=replicates,
    )
    return float(values[known].mean()), *interval(drawn.ratios[0], drawn.clusters)


def with_interval(value: float, low: float, high: float, form: str = ".2f") -> str:
    """``0.51 (0.43 … 0.60)``, without what is not known."""
    return f"{value:{form}}" + ("" if np.isnan(low) else f" ({low:{form}} … {high:{form}})")


def metrics_of(table: pd.DataFrame, value: str, *keys: str, prefix: str = "") -> dict[str, float]:
    """One metric per row, called by its keys with dots between."""
    rows = table[list(keys)].itertuples(index=False)
    names = [[f"{key:g}" if isinstance(key, float) else str(key) for key in row] for row in rows]
    joined = [".".join([prefix, *name] if prefix else name) for name in names]
    return dict(zip(joined, table[value].to_numpy(float).tolist(), strict=True))
