"""How the panels of the suites ``ohlcv``, ``glucose`` and ``dynamics`` were made, once.

    python docs/frozen_simulated.py FOLDER [ohlcv|glucose|dynamics …]

They are never made again: chaotic trajectories differ between processors, packages change. Daily
bars are the real ones that ship in packages, the rest is simulated by this project. Items are those
that the default recipes hold out, so that a model made by them has not seen what it is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series

MADE_BY = {"made_by": "docs/frozen_simulated.py", "licences": "LICENCES.md"}
FIRST_BAR = "2009-01-01"
"""Of the daily bars: a history before the default recipe's test period, which three reach into."""

HOURLY_SEED, COHORT_SEED = 90_210, 90_211
"""Used nowhere else."""


def main(folder: Path, suites: Iterable[str]) -> None:
    made = {"ohlcv": ohlcv, "glucose": glucose, "dynamics": dynamics}
    for suite in suites or made:
        made[suite](folder / suite)


def ohlcv(folder: Path) -> None:
    from tsfm.data.ohlcv.market import MarketConfig
    from tsfm.data.ohlcv.sample import sample_panel
    from tsfm.data.ohlcv.simulator import simulate_panel

    daily = sample_panel().select(["MSFT", "NASDAQ", "SP500"])
    keep(folder / "daily", daily.between(FIRST_BAR))
    keep(folder / "hourly", simulate_panel(MarketConfig(n_assets=8, n_bars=1500, seed=HOURLY_SEED)))


def glucose(folder: Path) -> None:
    from bokeh_sampledata.glucose import data

    from tsfm.data.glucose.cohort import CohortConfig, simulate_cohort

    names = [f"{g}#{k:03d}" for g in ("adult", "adolescent", "child") for k in (2, 5, 8)]
    cohort = simulate_cohort(CohortConfig(patients=tuple(names), days=6, seed=COHORT_SEED))
    keep(folder / "virtual", cohort)
    readings = pd.to_numeric(data["glucose"], errors="coerce")
    regular = readings.groupby(readings.index.round("5min")).mean().asfreq("5min")
    stretch = regular.loc["2010-05-01":"2010-06-09"]
    info = PanelInfo(
        name="cgm",
        variates=("glucose",),
        freq="5min",
        seasonality=288,
        units={"glucose": "mg/dL"},
        licence="public domain",
        provenance=MADE_BY,
    )
    person = Series(
        item_id="one_person",
        target=stretch.to_numpy(np.float32)[None],
        start=stretch.index[0],
    )
    Panel.write(folder / "cgm", [person], info)


def dynamics(folder: Path) -> None:
    from tsfm.data.dynamics.corpus import simulated
    from tsfm.data.dynamics.ensemble_config import EnsembleConfig
    from tsfm.data.dynamics.families import split_by_family
    from tsfm.evaluation.family_holdout import divided, evenly

    config = EnsembleConfig(n_systems=60, n_trajectories=8, n_skew=40, seed=0)
    panel, _ = simulated(config)
    split = split_by_family(panel, config.held_out, seed=config.seed)
    _, _, test = divided(split.train, 0.15, 0.25, seed=0)
    groups = {
        "in_distribution": test,
        "held_out_systems": split.held_out_systems,
        "held_out_skew": split.held_out_skew,
    }
    for name, group in groups.items():
        keep(folder / name, evenly(group, 12))


def keep(path: Path, panel: Panel) -> None:
    """Only the variates that an item has, whatever the view showed of others."""
    series = [replace(one, offset=0) for one in panel]
    used = max(int(np.isfinite(one.target).any(axis=1).nonzero()[0].max()) + 1 for one in series)
    info = replace(
        panel.info,
        name=path.name,
        variates=panel.info.variates[:used],
        units=dict(panel.info.units),
        provenance=MADE_BY | {"of": panel.info.name},
    )
    Panel.write(path, [replace(one, target=one.target[:used]) for one in series], info)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
