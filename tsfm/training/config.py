"""What can be chosen about training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tsfm.errors import ConfigError, one_of

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "64-true")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """One training run; checked where it is made.

    Attributes
    ----------
    max_steps
        Optimiser steps.
    batch_size
        Rows (packed models) or windows in a micro-batch, per device.
    accumulate
        Micro-batches in an optimiser step.
    lr, weight_decay, beta1, beta2
        AdamW; decay spares norms, biases and embeddings.
    warmup_steps
        Linear warm-up, then cosine decay to ``final_lr_ratio`` of ``lr`` at ``max_steps``.
    gradient_clip
        Largest norm of the whole gradient.
    precision
        ``auto`` is bf16-mixed on a GPU that has it and 32-true elsewhere.
    compile
        Run the loss through ``torch.compile``.
    devices, num_nodes
        0 devices: every GPU, or one CPU process. More than one device trains with DDP.
    validate_every
        Steps between validations.
    validation_batches
        Micro-batches in a validation, the same ones each time.
    checkpoint_every
        Steps between writes of the checkpoint that ``resume_from`` continues.
    patience
        Validations without improvement before stopping early; 0 never stops.
    max_bad_steps
        Non-finite steps in a row before giving up; fewer are skipped and counted.
    workers
        Data loader processes; the batches do not depend on it.
    threads
        CPU threads for the arithmetic; 0 leaves torch's choice.
    progress
        Show a progress bar.
    """

    max_steps: int = 1000
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.98
    warmup_steps: int = 100
    final_lr_ratio: float = 0.0
    gradient_clip: float = 1.0
    precision: str = "auto"
    compile: bool = False
    devices: int = 0
    num_nodes: int = 1
    validate_every: int = 100
    validation_batches: int = 4
    checkpoint_every: int = 100
    patience: int = 0
    max_bad_steps: int = 10
    workers: int = 0
    threads: int = 0
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        one_of("trainer.precision", self.precision, PRECISIONS)
        for name in (
            "max_steps", "batch_size", "accumulate", "num_nodes",
            "validate_every", "validation_batches", "checkpoint_every", "max_bad_steps",
        ):  # fmt: skip
            _at_least(name, getattr(self, name), 1)
        for name in ("warmup_steps", "patience", "workers", "threads", "seed", "devices"):
            _at_least(name, getattr(self, name), 0)
        for name in ("lr", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"trainer.{name}={getattr(self, name)} must be positive, finite")
        for name in ("weight_decay", "beta1", "beta2", "final_lr_ratio"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"trainer.{name}={value} lies outside [0, 1)")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"trainer.{name}={value} is too small", remedy=f"give at least {least}")
