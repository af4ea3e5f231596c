"""Preparation: what stands between a user's frame and a panel, and between a forecast and a frame."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from tsfm.errors import CheckpointError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

FILE_NAME = "preparation.json"

PREPARATIONS: dict[str, str] = {
    "bars": "tsfm.data.ohlcv.preparation:BarPreparation",
    "columns": "tsfm.data.preparation:ColumnPreparation",
}


class Preparation(ABC):
    """Fitted on training data, kept beside the weights, shared by training, backtest and serving."""

    name: ClassVar[str]

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
        module, _, attribute = PREPARATIONS[state.pop("preparation")].partition(":")
    except FileNotFoundError as error:
        raise CheckpointError(f"no {FILE_NAME}", where=str(directory)) from error
    except (json.JSONDecodeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{FILE_NAME} cannot be read: {error!r}",
            where=str(path),
            remedy=f"save the model again; known preparations: {', '.join(PREPARATIONS)}",
        ) from error
    return getattr(import_module(module), attribute)(**state)
