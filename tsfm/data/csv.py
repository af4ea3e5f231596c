"""Panels from CSV or Parquet tables, in the three layouts that users of uni2ts know.

``wide``: dates first, every other column a univariate item. ``wide_multivariate``: dates first,
every other column a variate of one item. ``long``: ``item_id``, ``timestamp``, one or more values.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tsfm.data import frequency, regular
from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.data.table import Rows, read_rows
from tsfm.errors import ConfigError, DataError, one_of

LAYOUTS = ("wide", "wide_multivariate", "long")


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """How a table becomes a panel.

    Attributes
    ----------
    layout
        ``wide``, ``wide_multivariate`` or ``long``.
    name
        Of the panel; by default the file's.
    freq
        A pandas alias; inferred where it is not given, or refused.
    calendar
        Keep the timestamps as they are, following this calendar (any name; ``irregular`` will do).
    date_offset
        Rows up to and including this date are for training; a whole day when no time is given.
    normalize
        Subtract the mean and divide by the standard deviation of the training rows, by item and
        variate; kept in ``info.provenance["normalization"]``.
    item_column, time_column
        Of the long layout; the wide ones have their dates in ``time_column`` or the first column.
    values
        Columns to read, by default all others.
    past_covariates, known_covariates
        Columns that are not targets; not in the ``wide`` layout, whose columns are items.
    min_length
        Rows that every item (and its training part) must have.
    allow_constant
        Keep series that never change.
    date_format
        Of the timestamps, as ``strptime`` writes it, where pandas cannot tell.
    """

    layout: str
    name: str = ""
    freq: str | None = None
    calendar: str | None = None
    date_offset: str | pd.Timestamp | None = None
    normalize: bool = False
    item_column: str = "item_id"
    time_column: str | None = None
    values: Sequence[str] | None = None
    past_covariates: Sequence[str] = ()
    known_covariates: Sequence[str] = ()
    min_length: int = 1
    allow_constant: bool = False
    date_format: str | None = None
    seasonality: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""

    def __post_init__(self) -> None:
        one_of("layout", self.layout, LAYOUTS)
        if self.freq is not None:
            frequency.to_offset(self.freq)
        if self.date_offset is not None:
            frequency.moment(self.date_offset)
        if self.min_length < 1:
            raise ConfigError(f"min_length={self.min_length} is not a number of rows")
        if self.layout == "wide" and (self.past_covariates or self.known_covariates):
            raise ConfigError(
                "the wide layout has no covariates: its columns are items",
                remedy="use wide_multivariate or long",
            )


@dataclass(frozen=True, kw_only=True)
class Built:
    """The panel to train on and, with ``date_offset``, the one that goes on to the end."""

    train: Panel
    evaluation: Panel | None = None


def build_panel(
    source: str | Path | pd.DataFrame,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    **options: Any,
) -> Built:
    """Write a table as the panel ``out/name``, and with ``date_offset`` also ``out/name_eval``.

    Parameters
    ----------
    source
        A CSV or Parquet file, or a frame.
    out
        A directory that holds panels; by default the environment's ``CUSTOM_DATA_PATH``.
    options
        Fields of :class:`TableConfig`; ``layout`` is required.

    Raises
    ------
    ConfigError
        When an option is unknown or not allowed, or there is no place to write to.
    DataError
        When a column is missing, timestamps are unsorted, repeated or of no known frequency, a
        series is empty, constant or too short, or the panel cannot be written. Nothing is left.
    """
    config = _configured(source, options)
    parts = _parts(source, config)
    directory = out or os.environ.get("CUSTOM_DATA_PATH")
    if not directory:
        raise ConfigError(
            "there is no directory to write the panel to",
            remedy="give out=, or set CUSTOM_DATA_PATH",
        )
    targets = [Path(directory) / info.name for _, info in parts]
    taken = [target for target in targets if target.exists()]
    if taken and not overwrite:
        raise DataError(
            "the panel exists already",
            where=", ".join(map(str, taken)),
            remedy="choose another name, or overwrite",
        )
    written: list[Panel] = []
    try:
        for target, (series, info) in zip(targets, parts):
            written.append(Panel.write(target, series, info, overwrite=overwrite))
    except DataError:
        for panel, target in zip(written, targets):
            if target not in taken and panel.path is not None:
                shutil.rmtree(panel.path, ignore_errors=True)
        raise
    return Built(train=written[0], evaluation=written[1] if len(written) > 1 else None)


def read_panel(source: str | Path | pd.DataFrame, **options: Any) -> Built:
    """The same panels in memory: see :func:`build_panel`."""
    panels = [Panel.from_series(*part) for part in _parts(source, _configured(source, options))]
    return Built(train=panels[0], evaluation=panels[1] if len(panels) > 1 else None)


def _configured(source: str | Path | pd.DataFrame, options: Mapping[str, Any]) -> TableConfig:
    try:
        config = TableConfig(**options)
    except TypeError as error:
        raise ConfigError(
            str(error).replace("TableConfig.__init__() ", "build_panel "),
            remedy=f"known options: {', '.join(TableConfig.__dataclass_fields__)}",
        ) from error
    name = config.name or (Path(source).stem if isinstance(source, str | Path) else "")
    if not name:
        raise ConfigError("a frame has no name of its own", remedy="give name=")
    return replace(config, name=name)


def _parts(
    source: str | Path | pd.DataFrame, config: TableConfig
) -> list[tuple[list[Series], PanelInfo]]:
    """The series and info of the panels to make, training first."""
    where = str(source) if isinstance(source, str | Path) else f"frame {config.name}"
    tables = list(
        read_rows(
            source,
            layout=config.layout,
            where=where,
            name=config.name,
            item_column=config.item_column,
            time_column=config.time_column,
            values=config.values,
            covariates=(*config.past_covariates, *config.known_covariates),
            date_format=config.date_format,
        )
    )
    info = _info(tables, config, where)
    placed = [_place(rows, config, info.freq, where) for rows in tables]
    cuts = {rows.item_id: _train_rows(rows, config, where) for rows in placed}
    scales: dict[str, dict[str, list[float]]] = {}
    for rows in placed:
        _check(rows, config, cuts[rows.item_id], where)
        if config.normalize:
            scales[rows.item_id] = _normalize(rows, cuts[rows.item_id], config, where)
    filled = sum(len(rows.dates) for rows in placed) - sum(len(rows.dates) for rows in tables)
    provenance = dict(info.provenance) | {"filled_rows": filled}
    if config.normalize:
        provenance["normalization"] = scales
    info = replace(info, provenance=provenance)
    train = [_series(rows, config, cuts[rows.item_id]) for rows in placed]
    if config.date_offset is None:
        return [(train, info)]
    full = [_series(rows, config, len(rows.dates)) for rows in placed]
    return [(train, info), (full, replace(info, name=f"{info.name}_eval"))]


def _info(tables: Iterable[Rows], config: TableConfig, where: str) -> PanelInfo:
    dates = {rows.item_id: rows.dates for rows in tables}
    freq = config.freq
    if freq is None and config.calendar is None:
        freq = regular.infer(dates, where)
    first = next(iter(tables))
    return PanelInfo(
        name=config.name,
        variates=first.names,
        freq=freq,
        calendar=config.calendar,
        seasonality=config.seasonality,
        units=dict(config.units),
        past_covariates=tuple(config.past_covariates),
        known_covariates=tuple(config.known_covariates),
        licence=config.licence,
        provenance={
            "source": where,
            "layout": config.layout,
            "frequency": "given" if config.freq else "inferred" if freq else "calendar",
            "date_offset": None if config.date_offset is None else str(config.date_offset),
        },
    )


def _place(rows: Rows, config: TableConfig, freq: str | None, where: str) -> Rows:
    """Rows on the grid of their frequency, NaN where one is missing."""
    if config.calendar is not None:
        return rows
    assert freq is not None
    dates = regular.grid(rows.dates, freq, f"{where}, item {rows.item_id!r}")
    if len(dates) == len(rows.dates):
        return rows
    place = dates.get_indexer(rows.dates)
    return replace(
        rows,
        dates=dates,
        targets=_spread(rows.targets, place, len(dates)),
        covariates=_spread(rows.covariates, place, len(dates)),
    )


def _spread(values: np.ndarray, place: np.ndarray, length: int) -> np.ndarray:
    spread = np.full((len(values), length), np.nan)
    spread[:, place] = values
    return spread


def _train_rows(rows: Rows, config: TableConfig, where: str) -> int:
    if config.date_offset is None:
        return len(rows.dates)
    stop = int(rows.dates.slice_indexer(None, config.date_offset).stop)
    if stop < config.min_length or stop == len(rows.dates):
        raise DataError(
            f"date_offset={config.date_offset} leaves {stop} rows to train on and "
            f"{len(rows.dates) - stop} to evaluate",
            where=f"{where}, item {rows.item_id!r} from {rows.dates[0]} to {rows.dates[-1]}",
            remedy=f"give a date that leaves at least {config.min_length} and 1",
        )
    return stop


def _check(rows: Rows, config: TableConfig, train: int, where: str) -> None:
    here = f"{where}, item {rows.item_id!r}"
    if len(rows.dates) < config.min_length:
        raise DataError(
            f"the series has {len(rows.dates)} rows, fewer than min_length={config.min_length}",
            where=here,
            remedy="leave the item out, or lower min_length (context and horizon)",
        )
    for name, values in zip(rows.names, rows.targets):
        observed = values[~np.isnan(values)]
        if not len(observed) or np.isnan(values[:train]).all():
            part = "series" if not len(observed) else "training part"
            raise DataError(
                f"column {name!r} has no observed value in the {part}",
                where=here,
                remedy="leave it out, or correct its values",
            )
        if not config.allow_constant and (observed == observed[0]).all():
            raise DataError(
                f"column {name!r} is constant ({observed[0]:g})",
                where=here,
                remedy="leave it out, or set allow_constant",
            )


def _normalize(rows: Rows, train: int, config: TableConfig, where: str) -> dict[str, list[float]]:
    """Scale ``rows.targets`` in place; mean and standard deviation of every variate."""
    scales = {}
    for name, values in zip(rows.names, rows.targets):
        mean, std = float(np.nanmean(values[:train])), float(np.nanstd(values[:train]))
        if std == 0 and not config.allow_constant:
            raise DataError(
                f"column {name!r} is constant in the training part, so it cannot be normalized",
                where=f"{where}, item {rows.item_id!r}",
                remedy="move date_offset, leave the column out, or set allow_constant",
            )
        values -= mean
        values /= std or 1.0
        scales[name] = [mean, std or 1.0]
    return scales


def _series(rows: Rows, config: TableConfig, stop: int) -> Series:
    n_past = len(config.past_covariates)
    past, known = rows.covariates[:n_past, :stop], rows.covariates[n_past:, :stop]
    explicit = config.calendar is not None
    return Series(
        item_id=rows.item_id,
        target=rows.targets[:, :stop],
        start=None if explicit else rows.dates[0],
        timestamps=rows.dates[:stop].to_numpy() if explicit else None,
        past_covariates=past if len(past) else None,
        known_covariates=known if len(known) else None,
    )
