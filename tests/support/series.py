"""Series with covariates and attributes, and the smallest there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tsfm.data.panel import PanelInfo, Series

INFO = PanelInfo(
    name="bars",
    variates=("open", "close", "volume"),
    freq="h",
    units={"open": "USD"},
    past_covariates=("spread",),
    known_covariates=("holiday", "hour"),
    licence="CC0-1.0",
    provenance={"from": "a test", "years": [2020, 2021]},
)


def series(item_id: str = "A", bars: int = 100, seed: int = 0, **changes: object) -> Series:
    """One of INFO's, with holes."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(3, bars)).astype(np.float32)
    target[0, ::7] = np.nan
    made = Series(
        item_id=item_id,
        target=target,
        start=pd.Timestamp("2024-01-01"),
        past_covariates=rng.normal(size=(1, bars)),
        known_covariates=rng.normal(size=(2, bars)),
        static={"sector": "tech", "size": 3},
    )
    return replace(made, **changes)


def small(target: ArrayLike, item_id: str = "A", **fields: object) -> Series:
    """A series of these values, one row a variate."""
    return Series(item_id=item_id, target=np.atleast_2d(np.asarray(target, float)), **fields)


def small_info(**fields: object) -> PanelInfo:
    """Of a panel of one variate."""
    return PanelInfo(**({"name": "small", "variates": ("x",)} | fields))
