"""Readings of glucose sensors to a panel and a report of their quality."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.data.glucose.cgm_config import ALL, CgmConfig
from tsfm.data.glucose.columns import BASAL, CARBOHYDRATES, COB, GLUCOSE, INSULIN, IOB
from tsfm.data.glucose.readings import LONG_INSULIN, Readings
from tsfm.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import polars as pl

    from tsfm.data.glucose.harmonise import Harmonised
    from tsfm.data.panel import Panel, PanelInfo
    from tsfm.data.quality import QualityReport, SeriesQuality

_logger = logging.getLogger(__name__)
_MINUTES_A_DAY = 1440
_UNITS = {
    GLUCOSE: "mg/dL",
    INSULIN: "U",
    LONG_INSULIN: "U",
    CARBOHYDRATES: "g",
    BASAL: "U/h",
    IOB: "U",
    COB: "g",
    "heart_rate": "1/min",
    "calories": "kcal",
}


def glucose_panel(
    source: str | Path | pd.DataFrame | pl.DataFrame | Mapping[str, Any], config: CgmConfig
) -> tuple[Panel, QualityReport]:
    """Read, repair and lay out what sensors recorded.

    Parameters
    ----------
    source
        A file, a folder, a frame of many people, a frame by person, or a named data set: see
        :func:`tsfm.data.glucose.readers.read_source`.

    Returns
    -------
    panel
        One item per person: ``glucose`` in mg/dL, NaN where nothing was measured; past covariates
        that are known at a bar's time; in memory. Static: ``patient``.
    report
        What was found and repaired.

    Raises
    ------
    ConfigError
        When a column, format or covariate is not known.
    DataError
        When a file cannot be read, units are unclear, two people are mixed, a covariate asked for
        is absent, or nobody is left.
    """
    from tsfm.data.glucose.readers import read_source

    return panel_of(read_source(source, config), config)


def panel_of(people: Mapping[str, Readings], config: CgmConfig) -> tuple[Panel, QualityReport]:
    """The panel and the report of readings by person; see :func:`glucose_panel`."""
    from tsfm.data.glucose.cgm_quality import quality_report
    from tsfm.data.panel import Panel

    kept, entries = _harmonised(people, config)
    if not kept:
        reasons = "; ".join(f"{one.name}: {one.facts['left out']}" for one in entries[:3])
        raise DataError(f"nobody's readings can be used: {reasons}", where=config.name)
    past, known, dropped = choose_covariates(kept, config)
    for name, why in dropped.items():
        _logger.warning("%s: column %s is dropped: %s", config.name, name, why)
    info = _info(kept, past, known, config)
    panel = Panel.from_series((_series(person, info) for person in kept), info)
    facts = {
        "fingerprint": panel.fingerprint,
        "dropped columns": "; ".join(f"{k}: {v}" for k, v in dropped.items()) or "none",
        "zero variance": ", ".join(k for k, v in dropped.items() if "constant" in v) or "none",
        "infinities": "counted with cells that hold no number; none is stored",
        "units": ", ".join(sorted({f"glucose in {person.units}" for person in kept})),
    }
    return panel, quality_report(entries, name=config.name, facts=facts)


def choose_covariates(
    people: Sequence[Harmonised], config: CgmConfig
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    """Past and known covariates, and what is dropped and why.

    Raises
    ------
    DataError
        When one asked for by name is absent.
    """
    held = list(dict.fromkeys(name for person in people for name in person.covariates))
    asked = config.covariates != (ALL,)
    wanted = list(config.covariates) if asked else held
    absent = [name for name in (*config.known_covariates, *wanted) if name not in held]
    if absent:
        future = [name for name in absent if name in config.known_covariates]
        kind = "known covariates" if future else "covariates"
        raise DataError(
            f"{kind} {', '.join(future or absent)} are not in the data",
            where=config.name,
            remedy=f"choose from {', '.join(held) or 'none: there is glucose only'}, or name their "
            "columns with columns=",
        )
    dropped = {}
    for name in wanted:
        values = [person.covariates[name] for person in people if name in person.covariates]
        why = None if asked or name in config.known_covariates else _without_variance(values)
        if why:
            dropped[name] = why
    known = config.known_covariates
    past = tuple(name for name in wanted if name not in dropped and name not in known)
    return past, known, dropped


def _harmonised(
    people: Mapping[str, Readings], config: CgmConfig
) -> tuple[list[Harmonised], list[SeriesQuality]]:
    from tsfm.data.glucose.cgm_quality import left_out, person_quality
    from tsfm.data.glucose.harmonise import harmonise
    from tsfm.data.quality import UNREADABLE

    kept: list[Harmonised] = []
    entries: list[SeriesQuality] = []
    for item_id, readings in people.items():
        short = readings.frame[GLUCOSE].count() < config.min_readings
        try:
            person = harmonise(readings, config)
        except DataError as error:
            if config.bad_people == "refuse" and not short:
                raise
            entries.append(left_out(item_id, UNREADABLE, str(error)))
            continue
        why = _without_variance([person.glucose])
        if why:
            _logger.warning("%s: %s is left out: glucose is %s", config.name, item_id, why)
            entries.append(left_out(item_id, "constant", f"glucose is {why}"))
            continue
        kept.append(person)
        entries.append(person_quality(person))
    _expect_one_unit(kept, config)
    return kept, entries


def _expect_one_unit(people: Iterable[Harmonised], config: CgmConfig) -> None:
    """People of one table share a column, so a second unit in it is a mistake."""
    by_source: dict[tuple[str, str], Harmonised] = {}
    for person in people:
        source = person.facts.get("source", "")
        other = by_source.setdefault((source, ""), person)
        if other.units != person.units:
            raise DataError(
                f"one column holds {other.units} for {other.item_id!r} and {person.units} for "
                f"{person.item_id!r}",
                where=source or config.name,
                remedy="give them as two files, or convert one of them",
            )


def _without_variance(values: Sequence[np.ndarray]) -> str | None:
    observed = np.concatenate([one[~np.isnan(one)] for one in values])
    if not len(observed):
        return "never observed"
    return f"constant ({observed[0]:g})" if np.ptp(observed) == 0 else None


def _info(
    people: Sequence[Harmonised], past: tuple[str, ...], known: tuple[str, ...], config: CgmConfig
) -> PanelInfo:
    from tsfm.data.panel import PanelInfo

    resolutions: dict[int, str] = {}
    for person in people:
        resolutions.setdefault(person.minutes, person.item_id)
    if len(resolutions) > 1:
        told = ", ".join(f"{name!r} has {minutes} min" for minutes, name in resolutions.items())
        raise DataError(
            f"resolutions differ: {told}", where=config.name, remedy="give resolution_minutes"
        )
    minutes = next(iter(resolutions))
    return PanelInfo(
        name=config.name,
        variates=(GLUCOSE,),
        freq=f"{minutes}min",
        seasonality=_MINUTES_A_DAY // minutes,
        units={name: _UNITS[name] for name in (GLUCOSE, *past, *known) if name in _UNITS},
        past_covariates=past,
        known_covariates=known,
        provenance={"reader": "tsfm.data.glucose.cgm", "config": _plain(asdict(config))},
    )


def _series(person: Harmonised, info: PanelInfo) -> Any:
    from tsfm.data.panel import Series

    def rows(names: tuple[str, ...]) -> np.ndarray | None:
        unseen = np.full(len(person.glucose), np.nan)
        found = [person.covariates.get(name, unseen) for name in names]
        return np.stack(found) if names else None

    return Series(
        item_id=person.item_id,
        target=person.glucose[None],
        start=person.start,
        past_covariates=rows(info.past_covariates),
        known_covariates=rows(info.known_covariates),
        static=person.static,
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}
