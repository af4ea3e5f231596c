"""What happens beside the steps: reporting, the progress bar, validation forecasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tsfm.training.logger import RunLogger
from tsfm.training.module import TrainingModule

if TYPE_CHECKING:
    import torch

    from tsfm.models.base import Batch

ValidationHook = Callable[["torch.nn.Module", int], None]


class Reporter(L.Callback):
    """Losses, learning rate, gradient norm and throughput of every step to a run's record."""

    def __init__(self, logger: RunLogger) -> None:
        self.logger = logger
        self.tokens = 0
        self.train_seconds = 0.0
        self._began = 0.0
        self._reported = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._reported = trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._began = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, TrainingModule)
        seconds = time.perf_counter() - self._began
        self.train_seconds += seconds
        self.tokens += next(iter(batch.values())).shape[:2].numel()
        if trainer.global_step == self._reported or not trainer.is_global_zero:
            return
        self._reported = trainer.global_step
        self.logger.log_metrics(
            {
                "train_loss": module.step_loss,
                "learning_rate": module.learning_rate,
                "gradient_norm": module.gradient_norm,
                "skipped_steps": float(module.skipped_steps),
                "tokens_per_second": self.tokens / max(self.train_seconds, 1e-9),
            },
            step=trainer.global_step,
        )

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            loss = float(trainer.callback_metrics["validation_loss"])
            self.logger.log_metrics({"validation_loss": loss}, step=trainer.global_step)


class LastCheckpoint(Checkpoint):
    """Writes the checkpoint that a run is resumed from, after the record has been flushed.

    At a step that is validated it waits for the validation, so that none is lost or repeated.
    """

    def __init__(
        self, path: Path, *, every: int, validate_every: int | None, logger: RunLogger
    ) -> None:
        self.path, self.every, self.validate_every = path, every, validate_every
        self.logger = logger
        self._saved = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._saved = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        validated = self.validate_every is not None and step % self.validate_every == 0
        if step % self.every == 0 and not validated:
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._save(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        if trainer.global_step == self._saved:
            return
        self._saved = trainer.global_step
        self.logger.flush()
        trainer.save_checkpoint(self.path)


class ValidationForecasts(L.Callback):
    """Calls a hook with the model (in evaluation mode) and the step after each validation."""

    def __init__(self, hook: ValidationHook) -> None:
        self.hook = hook

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if not trainer.sanity_checking:
            self.hook(module.model, trainer.global_step)


class ProgressBar(L.Callback):
    """Steps, losses and the time left, by rich."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]} · validation {task.fields[validation]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )

    @rank_zero_only
    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._bar.start()
        self._task = self._bar.add_task(
            "", total=trainer.max_steps, completed=trainer.global_step, loss="–", validation="–"
        )

    @rank_zero_only
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, TrainingModule)
        loss = f"{module.step_loss:.3f}"
        self._bar.update(self._task, completed=trainer.global_step, loss=loss)

    @rank_zero_only
    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if hasattr(self, "_task"):
            loss = float(trainer.callback_metrics["validation_loss"])
            self._bar.update(self._task, validation=f"{loss:.3f}")

    @rank_zero_only
    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._bar.stop()

    @rank_zero_only
    def on_exception(
        self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException
    ) -> None:
        self._bar.stop()
