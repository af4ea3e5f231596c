"""TensorBoard event files beside (not instead of) a run's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import ConfigError
from tsfm.training.logger import RunLogger

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


def expect_tensorboard() -> None:
    """Raise :class:`ConfigError` unless TensorBoard is installed; nothing is imported."""
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard=true needs TensorBoard", remedy="run pip install 'tsfm-lab[tensorboard]'"
        )


class TensorBoardLogger:
    """Passes everything on to another logger, and writes metrics and figures as events too.

    The first event of a resumed run hides what the interrupted one wrote from that step on.

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
        expect_tensorboard()
        self.logger = logger
        self.directory = Path(directory)
        self._opened: SummaryWriter | None = None

    def _writer(self, step: int | None) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        if self._opened is None:
            self._opened = SummaryWriter(str(self.directory), purge_step=step)
        return self._opened

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer(step).add_scalar(name, value, step)
        self.logger.log_metrics(metrics, step)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.logger.log_params(params)

    def log_figure(self, figure: Figure, name: str, step: int | None = None) -> None:
        self._writer(step).add_figure(name, figure, step, close=False)
        self.logger.log_figure(figure, name, step)

    def log_table(self, frame: pd.DataFrame, name: str) -> None:
        self.logger.log_table(frame, name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        self.logger.log_file(path, folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.logger.set_tags(tags)

    def flush(self) -> None:
        if self._opened is not None:
            self._opened.flush()
        self.logger.flush()

    def close(self) -> None:
        """Write what is left and release the file; the other logger stays open."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


@contextmanager
def events_beside(logger: RunLogger, directory: Path, wanted: bool) -> Iterator[RunLogger]:
    """The logger, with event files under ``directory`` beside it where they are wanted."""
    if not wanted:
        yield logger
        return
    events = TensorBoardLogger(logger, directory / "tensorboard")
    try:
        yield events
    finally:
        events.close()
