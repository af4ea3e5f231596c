"""A corpus of synthetic series: its values in parts, and all of it as a panel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.data.synthetic import structures
from tsfm.data.synthetic.corpus_config import CorpusConfig
from tsfm.data.synthetic.disturbances import disturbed, mixed, unobserved
from tsfm.data.synthetic.kernels import compositions
from tsfm.data.synthetic.profiles import standardised

VARIATE = "value"
START = pd.Timestamp("2000-01-03")
_PART = 1_000

Values = Float[np.ndarray, "series time"]


def synthetic_panel(config: CorpusConfig | None = None) -> Panel:
    """The corpus in memory, hourly from the first Monday of 2000, one variate."""
    config = config or CorpusConfig()
    info = PanelInfo(
        name="synthetic",
        variates=(VARIATE,),
        freq="h",
        seasonality=24,
        licence="Apache-2.0",
        provenance={"simulator": "tsfm.data.synthetic", **asdict(config)},
    )
    return Panel.from_series(_series(config), info)


def synthetic_values(config: CorpusConfig) -> Iterator[tuple[np.ndarray, Values]]:
    """Families and standardised series (NaN in gaps), a part of the corpus after the other.

    Each part is drawn by a generator of its own, so a longer corpus begins like a shorter one of
    whole parts.
    """
    for part, first in enumerate(range(0, config.n_series, _PART)):
        rng = np.random.default_rng([config.seed, part])
        yield _part(rng, config, min(_PART, config.n_series - first))


def _part(rng: np.random.Generator, config: CorpusConfig, count: int) -> tuple[np.ndarray, Values]:
    makers: dict[str, Callable[[np.random.Generator, int, int], Values]] = {
        "structures": structures.structures,
        "kernels": partial(compositions, most=config.most_kernels),
        "pulses": structures.pulses,
        "walks": structures.walks,
        "oscillations": structures.oscillations,
    }
    families = rng.choice(list(config.shares), count, p=list(config.shares.values()))
    values = np.empty((count, config.length), np.float32)
    for name, make in makers.items():
        rows = np.flatnonzero(families == name)
        if len(rows):
            values[rows] = make(rng, len(rows), config.length)
    values = disturbed(rng, values) if config.disturbed else standardised(values)
    rows = np.flatnonzero(rng.random(count) < config.mixed)
    if len(rows):
        values[rows] = mixed(rng, values[rows])
        families[rows] = "mixed"
    return families, unobserved(rng, values, config.gaps)


def _series(config: CorpusConfig) -> Iterator[Series]:
    number = 0
    for families, values in synthetic_values(config):
        for family, row in zip(families, values, strict=True):
            yield Series(item_id=f"{family}_{number:06d}", target=row[None], start=START)
            number += 1
