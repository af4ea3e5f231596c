"""``fit``: train any model on panels, resumably, and keep the best checkpoint as a model."""

from __future__ import annotations

import logging
import resource
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerStatus

from tsfm.data.dynamics.augmentation_config import AugmentationConfig
from tsfm.data.dynamics.augmenter import Augmenter
from tsfm.data.panel import Panel
from tsfm.data.windows import WindowStream
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.adapter_files import save_adapters
from tsfm.models.adapters import adapter_ranks, merge_lora
from tsfm.models.base import Forecaster, Trainable
from tsfm.models.conditioning import network_of
from tsfm.training.batches import Batches, loader
from tsfm.training.callbacks import (
    LastCheckpoint,
    ProgressBar,
    Reporter,
    ValidationForecasts,
    ValidationHook,
)
from tsfm.training.config import TrainerConfig
from tsfm.training.logger import NullLogger, RunLogger
from tsfm.training.module import TrainingModule

LAST, BEST = "last.ckpt", "best.ckpt"


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What came of a training run.

    Attributes
    ----------
    model
        With the weights of the best validation (the last step's without validation).
    directory
        Holds ``checkpoints/``, the saved ``model/``, and what LoRA learned by itself in
        ``adapter/``.
    peak_memory
        Bytes: of the GPU where one was used, else the process's resident set.
    """

    model: Forecaster
    directory: Path
    steps: int
    best_step: int
    validation_loss: float | None
    tokens_per_second: float
    train_seconds: float
    skipped_steps: int
    peak_memory: int

    @property
    def model_directory(self) -> Path:
        return self.directory / "model"

    @property
    def adapter_directory(self) -> Path:
        return self.directory / "adapter"

    @classmethod
    def untrained(cls, model: Forecaster, directory: Path) -> Self:
        """Of a model that is used as it is."""
        model.save(directory / "model")
        return cls(
            model=model,
            directory=directory,
            steps=0,
            best_step=0,
            validation_loss=None,
            tokens_per_second=0.0,
            train_seconds=0.0,
            skipped_steps=0,
            peak_memory=_peak_memory(),
        )


def fit(
    model: Forecaster,
    panel: Panel | Sequence[Panel],
    *,
    output_dir: str | Path,
    validation: Panel | Sequence[Panel] | None = None,
    config: TrainerConfig | None = None,
    weights: Sequence[float] | None = None,
    augment: AugmentationConfig | None = None,
    resume_from: str | Path | None = None,
    logger: RunLogger | None = None,
    on_validation: ValidationHook | None = None,
) -> FitResult:
    """Train ``model`` in place and save the best of it under ``output_dir/model``.

    Parameters
    ----------
    panel, validation
        One panel or several, drawn from by ``weights`` (in proportion to their bars by default).
    augment
        Training windows are augmented on the fly; validation windows never.
    resume_from
        A directory that an interrupted ``fit`` of the same arguments wrote to, or one of its
        checkpoints: training goes on bit by bit as if it had not stopped (on a CPU).
    on_validation
        Called with the model and the step after each validation.

    Raises
    ------
    ConfigError
        When the model cannot be trained or the panels hold no window long enough for it.
    CheckpointError
        When ``resume_from`` is missing, damaged or of another model.
    DivergedError
        After ``config.max_bad_steps`` non-finite steps in a row.
    """
    config = config or TrainerConfig()
    if not isinstance(model, Trainable) or not isinstance(model, torch.nn.Module):
        raise ConfigError(
            f"model {model.name!r} has nothing to train", remedy="give a neural model, e.g. moirai"
        )
    _quieten()
    if config.threads:
        torch.set_num_threads(config.threads)
    directory = Path(output_dir)
    checkpoints = directory / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    module = TrainingModule(model, config)
    resume = None if resume_from is None else _readable_checkpoint(resume_from, module)
    start = resume[1] * config.accumulate if resume else 0

    reporter = Reporter(logger or NullLogger())
    trainer = build_trainer(
        config, directory, reporter, on_validation, validate=validation is not None
    )
    rank, world = trainer.global_rank, trainer.world_size
    train_batches = Batches(
        model,
        WindowStream(
            _panels(panel),
            model.window_spec,
            weights,
            transform=None if augment is None else Augmenter(augment),
        ),
        config.batch_size,
        seed=config.seed,
        start=start,
        rank=rank,
        world_size=world,
    )
    validation_loader: torch.utils.data.DataLoader | None = None
    if validation is not None:
        stream = WindowStream(_panels(validation), model.window_spec)
        fixed = Batches(model, stream, config.batch_size, seed=0, rank=rank, world_size=world)
        fixed.stop = config.validation_batches
        validation_loader = loader(fixed, 0)
    _run(
        trainer,
        module,
        loader(train_batches, config.workers),
        validation_loader,
        str(resume[0]) if resume else None,
    )
    return _finish(trainer, module, reporter, directory)


def build_trainer(
    config: TrainerConfig,
    directory: Path,
    reporter: Reporter,
    on_validation: ValidationHook | None,
    *,
    validate: bool,
) -> L.Trainer:
    """The Lightning trainer of a run: devices, precision, checkpoints, early stopping."""
    checkpoints = directory / "checkpoints"
    callbacks: list[L.Callback] = [reporter]
    if validate:
        callbacks.append(
            ModelCheckpoint(
                dirpath=checkpoints,
                filename=Path(BEST).stem,
                monitor="validation_loss",
                enable_version_counter=False,
                save_weights_only=True,
            )
        )
        if config.patience:
            callbacks.append(EarlyStopping("validation_loss", patience=config.patience))
        if on_validation is not None:
            callbacks.append(ValidationForecasts(on_validation))
    callbacks.append(
        LastCheckpoint(
            checkpoints / LAST,
            every=config.checkpoint_every,
            validate_every=config.validate_every if validate else None,
            logger=reporter.logger,
        )
    )
    if config.progress:
        callbacks.append(ProgressBar())
    gpu = torch.cuda.is_available()
    return L.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=config.devices or ("auto" if gpu else 1),
        num_nodes=config.num_nodes,
        strategy="auto",
        precision=resolve_precision(config.precision),  # type: ignore[arg-type]
        max_steps=config.max_steps,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.gradient_clip,
        val_check_interval=config.validate_every * config.accumulate if validate else None,
        check_val_every_n_epoch=None if validate else 1,
        limit_val_batches=None if validate else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=directory,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def resolve_precision(precision: str) -> str:
    """``auto``: bf16-mixed on a GPU that computes in bf16, else full precision."""
    if precision != "auto":
        return precision
    return (
        "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true"
    )


def _run(
    trainer: L.Trainer,
    module: TrainingModule,
    train: torch.utils.data.DataLoader,
    validation: torch.utils.data.DataLoader | None,
    checkpoint: str | None,
) -> None:
    """Fit, and turn Lightning's exit after Ctrl-C back into a ``KeyboardInterrupt``."""
    handler = signal.getsignal(signal.SIGINT)
    module.train()  # Lightning keeps the mode that forecasting left behind
    try:
        with torch.random.fork_rng():
            trainer.fit(module, train, validation, ckpt_path=checkpoint, weights_only=False)
    except SystemExit:
        if trainer.state.status == TrainerStatus.INTERRUPTED:
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        raise


def _finish(
    trainer: L.Trainer, module: TrainingModule, reporter: Reporter, directory: Path
) -> FitResult:
    best = directory / "checkpoints" / BEST
    loss, best_step = None, trainer.global_step
    monitors = [
        c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor
    ]
    if monitors and best.exists():
        state = torch.load(best, map_location="cpu", weights_only=True)
        module.load_state_dict(state["state_dict"])
        score = monitors[0].best_model_score
        loss = None if score is None else float(score)
        best_step = int(state["global_step"])
    assert isinstance(module.model, Forecaster)
    adapted = network_of(module.model)
    if trainer.is_global_zero and adapter_ranks(module.model):
        save_adapters(adapted, directory / "adapter")
    model = merge_lora(module.model).eval()
    if torch.cuda.is_available():
        model.to("cuda")
    assert isinstance(model, Forecaster)
    if trainer.is_global_zero:
        model.save(directory / "model")
    return FitResult(
        model=model,
        directory=directory,
        steps=trainer.global_step,
        best_step=best_step,
        validation_loss=loss,
        tokens_per_second=reporter.tokens / max(reporter.train_seconds, 1e-9),
        train_seconds=reporter.train_seconds,
        skipped_steps=module.skipped_steps,
        peak_memory=_peak_memory(),
    )


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def last_checkpoint(directory: str | Path) -> Path | None:
    """What ``resume_from`` would go on from; None when training ended before the first one."""
    candidates = (Path(directory, LAST), Path(directory, "checkpoints", LAST))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _readable_checkpoint(source: str | Path, module: TrainingModule) -> tuple[Path, int]:
    """The checkpoint to go on from and its step."""
    path = last_checkpoint(source) or Path(source)
    if not path.is_file():
        raise CheckpointError(
            "no checkpoint to resume from",
            where=str(source),
            remedy=f"give the output directory of an interrupted run that has checkpoints/{LAST}",
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=False)
        step = int(state["global_step"])
        found = {name: tuple(value.shape) for name, value in state["state_dict"].items()}
        state["tsfm"]
    except Exception as error:
        raise CheckpointError(
            f"the checkpoint cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            remedy="it is damaged or not ours; start the run again",
        ) from error
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    differing = sorted(dict(set(found.items()) ^ set(expected.items())))
    if differing:
        raise CheckpointError(
            f"the checkpoint is of another model: {differing[0]} has shape "
            f"{found.get(differing[0])}, not {expected.get(differing[0])}",
            where=str(path),
            remedy="resume with the configuration that the run began with",
        )
    return path, step


def _panels(panel: Panel | Sequence[Panel]) -> list[Panel]:
    return [panel] if isinstance(panel, Panel) else list(panel)


def _quieten() -> None:
    """Lightning's advice about loggers, workers and sanity checks is of no use to our users."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*no `val_dataloader`.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
    ):
        warnings.filterwarnings("ignore", message, module="lightning.*")
