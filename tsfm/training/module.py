"""The one LightningModule: any :class:`~tsfm.models.base.Trainable` trains through it."""

from __future__ import annotations

import math
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from tsfm.errors import UserError
from tsfm.models.base import Batch, Trainable
from tsfm.training.config import TrainerConfig
from tsfm.training.schedule import learning_rate_factor, parameter_groups


class DivergedError(UserError):
    """Losses or gradients stayed non-finite."""


class TrainingModule(L.LightningModule):
    """Sums gradients over micro-batches and devices and divides once by the number of loss terms.

    The step is therefore that of one process that sees all the micro-batches at once, however they
    are packed, accumulated or distributed. A step whose gradient is not finite is skipped, and ends
    the run after ``max_bad_steps`` in a row; those by which the loss scale of fp16 finds its level
    do not count. Dropout is seeded by the micro-batch, so that a resumed run draws what the whole
    one would have.

    Parameters
    ----------
    model
        An ``nn.Module`` that is :class:`Trainable`.
    config
        Optimiser, schedule and guards.
    """

    def __init__(self, model: Trainable, config: TrainerConfig) -> None:
        super().__init__()
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"{type(model).__name__} is not an nn.Module")
        self.model: torch.nn.Module = model
        self.config = config
        self._loss = torch.compile(model.loss, dynamic=True) if config.compile else model.loss
        self.skipped_steps = 0
        self.bad_in_a_row = 0
        self.step_loss = float("nan")
        self.gradient_norm = float("nan")
        self._sum = torch.zeros(())
        self._count = torch.zeros(())

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        torch.manual_seed(self.config.seed + 1_000_003 * (batch_idx + 1) + 7919 * self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        total, count = self._loss(batch)
        self._sum = self._sum.to(total.device) + total.detach()
        self._count = self._count.to(total.device) + count.detach()
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        totals = torch.stack([self._sum.double(), self._count.double()])
        totals = cast(torch.Tensor, self.trainer.strategy.reduce(totals, reduce_op="sum"))
        self._sum, self._count = torch.zeros(()), torch.zeros(())
        total, count = totals.tolist()
        self.step_loss = total / max(count, 1.0)
        factor = self.trainer.accumulate_grad_batches * self.trainer.world_size / max(count, 1.0)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, factor)
        self.gradient_norm = float(torch.nn.utils.get_total_norm(gradients))
        if math.isfinite(self.gradient_norm):
            self.bad_in_a_row = 0
            return
        self.skipped_steps += 1
        if not self._mended_by_the_scaler(gradients):
            self.bad_in_a_row += 1
        for parameter in self.model.parameters():
            parameter.grad = None
        if self.bad_in_a_row >= self.config.max_bad_steps:
            raise DivergedError(
                f"{self.bad_in_a_row} steps in a row had a non-finite loss or gradient",
                where=f"step {self.global_step}, lr {self.learning_rate:.2e}",
                remedy="lower the learning rate, use precision=32-true, or look for absurd values "
                "in the data; the last checkpoint is from before",
            )

    def _mended_by_the_scaler(self, gradients: list[torch.Tensor]) -> bool:
        """Whether only the gradients overflowed half precision, at a loss scale yet to be lowered.

        The scaler halves its scale after each such step; from 1 on, it is no longer to blame.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        return (
            scaler is not None
            and scaler.get_scale() > 1
            and math.isfinite(self.step_loss)
            and not all(bool(gradient.isfinite().all()) for gradient in gradients)
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        total, count = self._loss(batch)
        self._validation += torch.stack([total.double(), count.double()]).cpu()

    def on_validation_epoch_start(self) -> None:
        self._validation = torch.zeros(2, dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        reduced = self.trainer.strategy.reduce(self._validation.to(self.device), reduce_op="sum")
        total, count = cast(torch.Tensor, reduced).tolist()
        self.log("validation_loss", total / max(count, 1.0), logger=False)

    @property
    def learning_rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        config = self.config
        optimizer = torch.optim.AdamW(
            cast(Any, parameter_groups(self.model, config.weight_decay)),
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            fused=self.trainer.precision != "16-mixed",
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, config)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["tsfm"] = {
            "skipped_steps": self.skipped_steps,
            "bad_in_a_row": self.bad_in_a_row,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.skipped_steps = checkpoint["tsfm"]["skipped_steps"]
        self.bad_in_a_row = checkpoint["tsfm"].get("bad_in_a_row", 0)
