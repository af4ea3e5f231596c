"""What a panel holds: one series, and what all series of a panel share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data import frequency
from tsfm.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class PanelInfo:
    """What all series of a panel share; stored with the data.

    Attributes
    ----------
    variates
        Names of the rows of every target.
    freq
        A pandas alias; dates the bars of series that have a ``start`` only.
    calendar
        Id of the trading or sampling calendar that explicit timestamps follow.
    seasonality
        Bars in one season (1: none).
    units
        Of variates and covariates, by name.
    provenance
        Where the data come from and how they were made: JSON values.

    Raises
    ------
    ConfigError
        When names are missing or repeated, or pandas does not know ``freq``.
    """

    name: str
    variates: tuple[str, ...]
    freq: str | None = None
    calendar: str | None = None
    seasonality: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    past_covariates: tuple[str, ...] = ()
    known_covariates: tuple[str, ...] = ()
    licence: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("variates", "past_covariates", "known_covariates"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        names = (*self.variates, *self.past_covariates, *self.known_covariates)
        if not self.name or not self.variates:
            raise ConfigError("a panel needs a name and at least one variate")
        if not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"names {names} are not all non-empty strings", where=self.name)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(
                f"{', '.join(repeated)} named twice among variates and covariates",
                where=f"panel {self.name}",
                remedy="give every variate and covariate its own name",
            )
        if self.seasonality < 1:
            raise ConfigError(
                f"seasonality={self.seasonality} is not a number of bars",
                remedy="give 1 for data without a season",
            )
        if self.freq is not None:
            frequency.to_offset(self.freq)

    def to_json(self) -> str:
        try:
            return json.dumps({f.name: _plain(getattr(self, f.name)) for f in fields(self)})
        except TypeError as error:
            raise ConfigError(
                f"provenance or units are not JSON values: {error}",
                where=f"panel {self.name}",
                remedy="give strings, numbers, lists and dictionaries",
            ) from error

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True, kw_only=True)
class Series:
    """One multivariate series, dated by ``start`` and the panel's frequency or by ``timestamps``.

    Attributes
    ----------
    target
        ``float32 [variate, time]``; NaN where unobserved.
    start
        Of the first bar; with explicit ``timestamps`` it is theirs.
    timestamps
        ``datetime64[ns] [time]``, increasing; for calendars that no frequency describes.
    past_covariates, known_covariates
        ``float32 [covariate, time]``, in the order that the panel names them.
    static
        Attributes of the item.
    offset
        Position of the first bar within the whole series that this one was cut from.
    """

    item_id: str
    target: Float[np.ndarray, "variate time"]
    start: pd.Timestamp | None = None
    timestamps: np.ndarray | None = None
    past_covariates: Float[np.ndarray, "covariate time"] | None = None
    known_covariates: Float[np.ndarray, "covariate time"] | None = None
    static: Mapping[str, float | str] = field(default_factory=dict)
    offset: int = 0

    @property
    def length(self) -> int:
        return int(self.target.shape[1])


def checked(series: Series, info: PanelInfo) -> Series:
    """``series`` in the panel's own types, or the reason why it cannot be stored.

    Raises
    ------
    DataError
        When shapes, values or dates do not fit the panel.
    """
    where = f"panel {info.name}, item {series.item_id!r}"
    if not isinstance(series.item_id, str) or not series.item_id:
        raise DataError(f"item_id {series.item_id!r} is not a name", where=where)
    target = _matrix("target", series.target, info.variates, None, where)
    length = target.shape[1]
    if length == 0:
        raise DataError("the series has no bars", where=where, remedy="leave the item out")
    start, timestamps = _dates(series, info, length, where)
    return replace(
        series,
        target=target,
        start=start,
        timestamps=timestamps,
        past_covariates=_covariates(
            "past_covariates", series.past_covariates, info.past_covariates, length, where
        ),
        known_covariates=_covariates(
            "known_covariates", series.known_covariates, info.known_covariates, length, where
        ),
        static=_static(series.static, where),
    )


def _matrix(
    name: str, values: Any, rows: tuple[str, ...], length: int | None, where: str
) -> np.ndarray:
    """Canonical float32: one NaN and one zero, so that equal values have equal bytes."""
    try:
        with np.errstate(over="ignore"):
            matrix = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} does not hold numbers: {error}", where=where) from error
    if matrix.ndim != 2 or matrix.shape[0] != len(rows) or length not in (None, matrix.shape[1]):
        raise DataError(
            f"{name} has shape {matrix.shape}",
            where=where,
            remedy=f"give [{len(rows)} ({', '.join(rows)}), {length or 'time'}]",
        )
    missing = np.isnan(matrix)
    infinite = ~(np.isfinite(matrix) | missing)
    if infinite.any():
        row, bar = (int(k) for k in np.argwhere(infinite)[0])
        raise DataError(
            f"{name} {rows[row]} is infinite (or too large for float32) at bar {bar}",
            where=where,
            remedy="use NaN for what was not observed, and rescale what is too large",
        )
    matrix = matrix + np.float32(0)
    matrix[missing] = np.nan
    return matrix


def _covariates(
    name: str, values: Any, rows: tuple[str, ...], length: int, where: str
) -> np.ndarray | None:
    if values is None and not rows:
        return None
    if values is None:
        raise DataError(
            f"{name} are missing",
            where=where,
            remedy=f"give [{len(rows)} ({', '.join(rows)}), {length}], NaN where unknown",
        )
    return _matrix(name, values, rows, length, where)


def _dates(
    series: Series, info: PanelInfo, length: int, where: str
) -> tuple[pd.Timestamp | None, np.ndarray | None]:
    if series.timestamps is not None:
        try:
            timestamps = np.asarray(series.timestamps).astype("M8[ns]")
        except (TypeError, ValueError) as error:
            raise DataError(f"timestamps are not dates: {error}", where=where) from error
        if timestamps.shape != (length,):
            raise DataError(
                f"timestamps have shape {timestamps.shape}", where=where, remedy=f"give [{length}]"
            )
        unsorted = np.flatnonzero(~(np.diff(timestamps) > np.timedelta64(0)))
        if np.isnat(timestamps).any() or len(unsorted):
            bar = int(unsorted[0]) + 1 if len(unsorted) else 0
            raise DataError(
                f"timestamps do not increase at bar {bar} ({timestamps[bar]})",
                where=where,
                remedy="sort the rows and drop the repeated ones",
            )
        return pd.Timestamp(timestamps[0]), timestamps
    if series.start is None:
        return None, None
    start = pd.Timestamp(series.start)
    if start is pd.NaT or start.tzinfo is not None:
        raise DataError(
            f"start {start} is not a naive timestamp",
            where=where,
            remedy="convert to UTC or to local exchange time and drop the time zone",
        )
    if info.freq is None:
        raise DataError(
            "a start needs a frequency",
            where=where,
            remedy="set freq in the panel's info, or give explicit timestamps",
        )
    if not frequency.is_on(start, info.freq):
        raise DataError(
            f"start {start} is not a date of frequency {info.freq!r}",
            where=where,
            remedy="give a start that the frequency falls on, or explicit timestamps",
        )
    return start.as_unit("ns"), None


def _static(static: Mapping[str, float | str], where: str) -> dict[str, float | str]:
    plain: dict[str, float | str] = {}
    for key, value in static.items():
        if isinstance(value, str):
            plain[str(key)] = value
        elif isinstance(value, int | float | np.number) and np.isfinite(value):
            plain[str(key)] = float(value)
        else:
            raise DataError(
                f"static attribute {key!r} is {value!r}",
                where=where,
                remedy="give a finite number or a string",
            )
    return plain
