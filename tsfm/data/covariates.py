"""Which covariates of a panel forecasters see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.data.preparation import Preparation
    from tsfm.data.sources import Source

ALL = "all"


def with_covariates(panel: Panel, past: Sequence[str], known: Sequence[str] = (ALL,)) -> Panel:
    """A panel with some of its covariates, in the order given; in memory where any is left out.

    Parameters
    ----------
    past, known
        Names, ``("all",)`` or none.

    Raises
    ------
    DataError
        When one is absent, or named as known over the horizon and only known of the past.
    """
    info = panel.info
    seen = info.past_covariates if tuple(past) == (ALL,) else tuple(past)
    told = info.known_covariates if tuple(known) == (ALL,) else tuple(known)
    for kind, asked, held in (
        ("known covariates", told, info.known_covariates),
        ("past covariates", seen, info.past_covariates),
    ):
        absent = [name for name in asked if name not in held]
        if absent:
            raise DataError(
                f"{kind} {', '.join(absent)} are not in the data",
                where=f"panel {info.name}",
                remedy=f"choose from {', '.join(held) or 'none: there are no such covariates'}",
            )
    if (seen, told) == (info.past_covariates, info.known_covariates):
        return panel
    kept = {*info.variates, *seen, *told}
    changed = replace(
        info,
        past_covariates=seen,
        known_covariates=told,
        units={name: unit for name, unit in info.units.items() if name in kept},
    )
    return Panel.from_series(
        (
            replace(
                series,
                past_covariates=_rows(series.past_covariates, info.past_covariates, seen),
                known_covariates=_rows(series.known_covariates, info.known_covariates, told),
            )
            for series in panel
        ),
        changed,
    )


def _rows(
    values: np.ndarray | None, held: Sequence[str], wanted: Sequence[str]
) -> np.ndarray | None:
    if values is None or not wanted:
        return None
    return values[[held.index(name) for name in wanted]]


def narrowed(source: Source, past: Sequence[str], known: Sequence[str] = (ALL,)) -> Source:
    """A source whose panels, and what is served, have some of their covariates only.

    Raises
    ------
    ConfigError
        When its covariates are made from bars, and so cannot be left out one by one.
    DataError
        As :func:`with_covariates`.
    """
    from tsfm.data.origins import columns_of

    panels = tuple(with_covariates(panel, past, known) for panel in source.panels)
    if panels == source.panels:
        return source
    preparation = _adopting(source.preparation, panels[0])
    return replace(
        source,
        panels=panels,
        preparation=preparation,
        example=columns_of(panels[0], len(source.example)),
    )


def _adopting(preparation: Preparation, panel: Panel) -> Preparation:
    """The preparation that makes such panels."""
    from tsfm.data.glucose.preparation import GlucosePreparation
    from tsfm.data.preparation import ColumnPreparation

    if isinstance(preparation, GlucosePreparation):
        return preparation.adopt(panel)
    if isinstance(preparation, ColumnPreparation):
        covariates = {
            "past_covariates": panel.info.past_covariates,
            "known_covariates": panel.info.known_covariates,
        }
        return ColumnPreparation(**{**preparation.state(), **covariates})
    raise ConfigError(
        "covariates made of bars cannot be left out one by one",
        where=f"panel {panel.info.name}",
        remedy="give past_covariates=all, or other data.features",
    )
