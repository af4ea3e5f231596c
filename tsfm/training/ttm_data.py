"""A user's frames in the columns of a :class:`TTMConfig` as a panel, and forecasts back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsfm.data.glucose.cgm import glucose_panel
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.columns import GLUCOSE, ITEM, TIME, Columns, guess_columns
from tsfm.data.glucose.loaders import LOADERS
from tsfm.data.glucose.preparation import GlucosePreparation
from tsfm.data.glucose.readers.table import as_polars
from tsfm.data.panel import Panel
from tsfm.data.preparation import ColumnPreparation, Preparation
from tsfm.errors import DataError
from tsfm.training.ttm_options import TTMConfig

if TYPE_CHECKING:
    import polars as pl

    Data = str | Path | pd.DataFrame | pl.DataFrame | Mapping[str, Any] | Panel

ALIASES = {"kaggle_bris_t1d": "brist1d", "kaggle_brist1d": "brist1d"}
_MMOL = "mmol/L"


class TTMData:
    """Frames, dicts of frames, files, folders and named data sets as panels.

    Of glucose everything is read and repaired as :mod:`tsfm.data.glucose.cgm` does it; other
    columns are taken as they are.
    """

    def __init__(self, config: TTMConfig, preparation: Preparation | None = None) -> None:
        self.config, self.preparation = config, preparation
        self.targets = config.target_features

    def panel(self, data: Data, name: str = "data") -> Panel:
        """A panel; the first one settles how later ones are read.

        Raises
        ------
        ConfigError
            When a column or data set is not known.
        DataError
            When data cannot be read, or a column that was named is absent.
        """
        if isinstance(data, Panel):
            return data
        if self._is_of_columns(data):
            return self._columns_panel(data, name)
        source = self._named(data)
        if isinstance(self.preparation, GlucosePreparation):
            settings = replace(self.preparation.config, name=name, announced=True)
            return glucose_panel(source, settings)[0]
        settings = self._settings(data, name)
        panel, report = glucose_panel(source, settings)
        units = _MMOL if _MMOL in report.facts.get("units", "") else "mg/dL"
        fitted = replace(settings, forecast_units=units)
        self.preparation = GlucosePreparation.of(fitted).adopt(panel)
        return panel

    def restore(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """A forecast in the user's units, under the user's name of the target."""
        if self.preparation is None:
            return forecast
        restored = self.preparation.restore(forecast)
        if isinstance(self.preparation, GlucosePreparation) and self.targets:
            restored = restored.assign(variate=self.targets[0])
        return restored

    def _is_of_columns(self, data: Any) -> bool:
        """Whether targets are no glucose, so that columns are taken as they are."""
        if self.preparation is not None:
            return isinstance(self.preparation, ColumnPreparation)
        if not self.targets:
            return False
        if len(self.targets) > 1:
            return True
        try:
            return self._roles([*self.targets, "timestamp"]).roles.get(GLUCOSE) is None
        except DataError:
            return True

    def _roles(self, names: list[str], given: Mapping[str, str] | None = None) -> Columns:
        return guess_columns(names, given, where="the columns")

    def _named(self, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        plain = data.lower().replace("-", "_")
        name = ALIASES.get(plain, data)
        return f"{name}:{name}" if name in LOADERS else name

    def _settings(self, data: Any, name: str) -> CgmConfig:
        """How readings are read: columns under the names that the configuration gives them."""
        config, given = self.config, {}
        if config.id_column:
            given[ITEM] = config.id_column
        if config.time_column:
            given[TIME] = config.time_column
        if self.targets:
            given[GLUCOSE] = self.targets[0]
        frame = _first(data)
        wanted = [n for n in config.input_features if n not in self.targets]
        roles: dict[str, str] = {}
        if frame is not None and (wanted or config.known_features):
            held = as_polars(frame).columns
            known_roles = self._roles(held, {k: v for k, v in given.items() if v in held})
            roles = {column: role for role, column in known_roles.roles.items()}
            for column in (*wanted, *config.known_features):
                if column not in roles and column in held:
                    given[column] = column
        return CgmConfig(
            name=name,
            columns=given,
            resolution_minutes=config.resolution_min,
            covariates=tuple(roles.get(column, column) for column in wanted),
            known_covariates=tuple(roles.get(column, column) for column in config.known_features),
        )

    def _columns_panel(self, data: Any, name: str) -> Panel:
        frame = self._long(data)
        if self.preparation is None:
            config = self.config
            self.preparation = ColumnPreparation(
                variates=self.targets,
                past_covariates=[n for n in config.input_features if n not in self.targets],
                known_covariates=config.known_features,
                freq=f"{config.resolution_min}min",
                seasonality=max(1440 // config.resolution_min, 1),
            )
        return self.preparation.panel(frame, name=name)

    def _long(self, data: Any) -> pd.DataFrame:
        """One frame with ``item_id`` and ``timestamp``."""
        if isinstance(data, str | Path):
            from tsfm.data.table import read_table

            data = read_table(Path(data))
        if isinstance(data, Mapping):
            parts = [self._dated(frame).assign(item_id=str(key)) for key, frame in data.items()]
            if not parts:
                raise DataError("there is no series", where="dict of frames")
            return pd.concat(parts, ignore_index=True)
        frame = self._dated(data)
        column = self.config.id_column or next(
            (n for n in frame.columns if n in ("item_id", "p_num", "id", "patient_id")), ""
        )
        if self.config.id_column and column not in frame.columns:
            raise DataError(f"column {column!r} is missing", remedy="name another id_column")
        return frame.assign(item_id=frame[column].astype(str) if column else "series")

    def _dated(self, frame: Any) -> pd.DataFrame:
        table = as_polars(frame).to_pandas()
        column = self.config.time_column or next(
            (n for n in table.columns if n in ("timestamp", "datetime", "time", "date")), ""
        )
        if column not in table.columns:
            raise DataError(
                "no column of times is known",
                remedy=f"name one of {', '.join(map(str, table.columns))} as time_column",
            )
        return table.rename(columns={column: "timestamp"})


def _first(data: Any) -> Any:
    """A frame to look at for column names; ``None`` of files."""
    if isinstance(data, Mapping):
        return next(iter(data.values()), None)
    return None if isinstance(data, str | Path) else data
