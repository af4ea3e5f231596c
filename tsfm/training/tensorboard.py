"""TensorBoard event files beside (not instead of) a run's record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import ConfigError
from tsfm.training.logger import RunLogger

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class TensorBoardLogger:
    """Passes everything on to another logger, and writes metrics and figures as events too.

    Parameters
    ----------
    directory
        Of the event files: ``tensorboard --logdir`` reads it.

    Raises
    ------
    ConfigError
        When TensorBoard is not installed.
    """

    def __init__(self, logger: RunLogger, directory: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "tensorboard=true needs TensorBoard", remedy="pip install 'tsfm-lab[tensorboard]'"
            ) from error
        self.logger = logger
        self.writer = SummaryWriter(str(directory))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.logger.log_metrics(metrics, step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.logger.log_params(params)

    def log_figure(self, figure: Figure, name: str, step: int | None = None) -> None:
        self.writer.add_figure(name, figure, step, close=False)
        self.logger.log_figure(figure, name, step)

    def log_table(self, frame: pd.DataFrame, name: str) -> None:
        self.logger.log_table(frame, name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        self.logger.log_file(path, folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.logger.set_tags(tags)

    def flush(self) -> None:
        self.writer.flush()
        self.logger.flush()


def with_tensorboard(logger: RunLogger, directory: Path, wanted: bool) -> RunLogger:
    """The logger, with event files under ``directory`` beside it where they are wanted."""
    return TensorBoardLogger(logger, directory / "tensorboard") if wanted else logger
