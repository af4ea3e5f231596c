"""Preparation: between a user's frame and a panel, and between a forecast and a frame."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data.frequency import naive_timestamps
from tsfm.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel, PanelInfo

FILE_NAME = "preparation.json"

PREPARATIONS: dict[str, str] = {
    "bar_features": "tsfm.data.ohlcv.feature_preparation:FeaturePreparation",
    "bars": "tsfm.data.ohlcv.preparation:BarPreparation",
    "columns": "tsfm.data.preparation:ColumnPreparation",
    "glucose": "tsfm.data.glucose.preparation:GlucosePreparation",
}


class Preparation(ABC):
    """Fitted on training data, kept with the weights, shared by training, backtest and serving."""

    name: ClassVar[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Value columns that it takes; none when it reads a frame in ways of its own."""
        return ()

    @property
    def known_columns(self) -> tuple[str, ...]:
        """Columns whose values after a forecast's origin are the user's to give."""
        return ()

    @abstractmethod
    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn what must be learned from training rows only."""

    @abstractmethod
    def panel(self, frame: pd.DataFrame, name: str = "frame") -> Panel:
        """An in-memory panel from a user's frame (``item_id, timestamp`` and the value columns).

        Raises
        ------
        DataError
            When a column is missing, or timestamps are unsorted or repeated.
        """

    def ahead(self, window: Window, horizon: int) -> Window:  # noqa: ARG002
        """A window that ends at a series' last bar, with what is known of the horizon.

        By default nothing is: known covariates and dates after the last bar stay as they are.
        """
        return window

    @abstractmethod
    def restore(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """A forecast's long frame (``Forecast.to_frame``) in the user's own units."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Everything needed to rebuild it: JSON values, also the constructor's arguments."""

    def save(self, directory: str | Path) -> Path:
        path = Path(directory) / FILE_NAME
        path.write_text(json.dumps({"preparation": self.name, **self.state()}, indent=2))
        return path


def load_preparation(directory: str | Path) -> Preparation:
    """Read ``preparation.json`` of a model directory.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, or names an unknown preparation.
    """
    path = Path(directory) / FILE_NAME
    try:
        state = json.loads(path.read_text())
        name = state.pop("preparation")
    except FileNotFoundError as error:
        raise CheckpointError(f"no {FILE_NAME}", where=str(directory)) from error
    except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{FILE_NAME} cannot be read: {error!r}",
            where=str(path),
            remedy="save the model again",
        ) from error
    return make_preparation(name, state, where=str(path))


def make_preparation(name: str, state: Mapping[str, Any], *, where: str) -> Preparation:
    """The preparation of this name and :meth:`Preparation.state`.

    Raises
    ------
    CheckpointError
        When the name is unknown or the state is not one of its.
    """
    try:
        module, _, attribute = PREPARATIONS[name].partition(":")
        return getattr(import_module(module), attribute)(**state)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"preparation {name!r} cannot be made again: {error!r}",
            where=where,
            remedy=f"save the model or panel again; known are {', '.join(PREPARATIONS)}",
        ) from error


class ColumnPreparation(Preparation):
    """Value columns to variates and covariates as they are, and back.

    Parameters
    ----------
    variates
        The columns to forecast.
    past_covariates, known_covariates
        Further columns that forecasters see.
    freq
        A pandas alias; without it the panel keeps the frame's own timestamps only.
    seasonality
        Bars in one season (1: none).

    Raises
    ------
    ConfigError
        When no column is named, one is named twice, or pandas does not know ``freq``.
    """

    name: ClassVar[str] = "columns"

    def __init__(
        self,
        *,
        variates: Sequence[str],
        past_covariates: Sequence[str] = (),
        known_covariates: Sequence[str] = (),
        freq: str | None = None,
        seasonality: int = 1,
    ) -> None:
        self.variates, self.freq, self.seasonality = tuple(variates), freq, seasonality
        self.past_covariates = tuple(past_covariates)
        self.known_covariates = tuple(known_covariates)
        reserved = {"item_id", "timestamp"} & set(self.columns)
        if reserved:
            raise ConfigError(
                f"{', '.join(sorted(reserved))} cannot be forecast",
                where="variates",
                remedy="name value columns",
            )
        self.info("columns")

    @property
    def columns(self) -> tuple[str, ...]:
        """All value columns."""
        return (*self.variates, *self.past_covariates, *self.known_covariates)

    @property
    def known_columns(self) -> tuple[str, ...]:
        """The known covariates."""
        return self.known_covariates

    def info(self, name: str) -> PanelInfo:
        """What a panel of such columns shares."""
        from tsfm.data.panel import PanelInfo

        return PanelInfo(
            name=name,
            variates=self.variates,
            past_covariates=self.past_covariates,
            known_covariates=self.known_covariates,
            freq=self.freq,
            seasonality=self.seasonality,
        )

    def fit(self, frame: pd.DataFrame) -> Self:
        """Check the frame; there is nothing to learn.

        Raises
        ------
        DataError
            As :meth:`panel`.
        """
        self.panel(frame)
        return self

    def panel(self, frame: pd.DataFrame, name: str = "frame") -> Panel:
        """One series per ``item_id``, in the order of the frame's rows.

        Raises
        ------
        DataError
            When a column is missing, a value is not a number, or an item's timestamps are
            unsorted, repeated or carry a time zone.
        """
        from tsfm.data.panel import Panel, Series

        missing = [c for c in ("item_id", "timestamp", *self.columns) if c not in frame.columns]
        if missing or frame.empty:
            raise DataError(
                f"columns {', '.join(missing)} are missing" if missing else "there are no rows",
                where=name,
                remedy=f"give item_id, timestamp, {', '.join(self.columns)}",
            )
        stamps = naive_timestamps(frame["timestamp"], name)
        series = []
        items = frame.groupby("item_id", sort=False).indices
        target, past, known = (
            _numbers(frame, list(names), items, name)
            for names in (self.variates, self.past_covariates, self.known_covariates)
        )
        for item, indices in items.items():
            rows = np.asarray(indices)
            _expect_increasing(stamps, rows, f"{name}, item {item!r}")
            series.append(
                Series(
                    item_id=str(item),
                    target=target[:, rows],
                    timestamps=stamps[rows],
                    past_covariates=past[:, rows] if len(past) else None,
                    known_covariates=known[:, rows] if len(known) else None,
                )
            )
        return Panel.from_series(series, self.info(name))

    def restore(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """The forecast as it is: its variates are in the user's units already."""
        return forecast

    def state(self) -> dict[str, Any]:
        return {
            "variates": list(self.variates),
            "past_covariates": list(self.past_covariates),
            "known_covariates": list(self.known_covariates),
            "freq": self.freq,
            "seasonality": self.seasonality,
        }


def _numbers(
    frame: pd.DataFrame, names: list[str], items: Mapping[Any, Any], where: str
) -> Float[np.ndarray, "column row"]:
    try:
        return frame[names].to_numpy(np.float32).T
    except (TypeError, ValueError):
        for item, rows in items.items():
            try:
                frame[names].iloc[rows].to_numpy(np.float32)
            except (TypeError, ValueError) as error:
                raise DataError(
                    f"a value is not a number: {error}", where=f"{where}, item {item!r}"
                ) from error
        raise


def _expect_increasing(stamps: np.ndarray, rows: np.ndarray, where: str) -> None:
    late = np.flatnonzero(~(np.diff(stamps[rows]) > np.timedelta64(0)))
    if len(late):
        row = rows[late[0] + 1]
        raise DataError(
            f"the timestamp {stamps[row]} is not later than the item's previous",
            where=f"{where}, row {row}",
            remedy="sort the rows and drop the repeated ones",
        )
