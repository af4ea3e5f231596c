"""How training reports: a protocol that tracking implements, so that training knows no tracker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class RunLogger(Protocol):
    """Where a run's record goes (MLflow: :class:`tsfm.tracking.runs.MlflowRun`)."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_figure(self, figure: Figure, name: str, step: int | None = None) -> None:
        """Log a figure; with ``step`` it becomes a frame of the UI's image slider."""

    def log_table(self, frame: pd.DataFrame, name: str) -> None: ...

    def log_file(self, path: Path, folder: str | None = None) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def flush(self) -> None: ...


class NullLogger:
    """Keeps nothing: training without a tracker."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_params(self, params: Mapping[str, Any]) -> None: ...

    def log_figure(self, figure: Figure, name: str, step: int | None = None) -> None: ...

    def log_table(self, frame: pd.DataFrame, name: str) -> None: ...

    def log_file(self, path: Path, folder: str | None = None) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def flush(self) -> None: ...
