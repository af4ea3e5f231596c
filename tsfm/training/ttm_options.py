"""How a :class:`tsfm.training.ttm_forecaster.TTMForecaster` is configured, in the field's terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tsfm.errors import ConfigError, one_of
from tsfm.models.adaptation_config import AdaptationConfig
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.training.config import TrainerConfig
from tsfm.training.recipe import PRESETS, Recipe

TRAINING_MODES = ("fine_tune", "linear_probe", "zero_shot")
SCALER_TYPES = ("standard", "minmax", "robust", "none")
STRATEGIES = ("ddp",)
LOSSES = ("", "mse", "mae", "huber", "pinball")


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Low-rank adapters instead of all weights.

    Attributes
    ----------
    enabled
        Without it all weights train (or those that the training mode says).
    rank, alpha
        Of the adapters; the rank is capped by each layer's width.
    dropout
        Share of an adapter's input that is dropped while it learns.
    target_modules
        Suffixes of linear layers' names; empty: the model's own choice.
    """

    enabled: bool = False
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_modules", tuple(self.target_modules))


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """Training on several devices.

    Attributes
    ----------
    strategy
        ``ddp``: models of this size fit on every device.
    world_size
        Devices.
    """

    enabled: bool = False
    strategy: str = "ddp"
    world_size: int = 1

    def __post_init__(self) -> None:
        one_of("strategy", self.strategy, STRATEGIES)
        if self.world_size < 1:
            raise ConfigError(f"world_size={self.world_size}", remedy="give at least 1")


@dataclass(frozen=True, kw_only=True)
class TTMConfig:
    """Everything about one TinyTimeMixer: its base, its columns, its data and its training.

    Attributes
    ----------
    model_path
        A directory, a hub id, or ``ttm-base``.
    context_length, forecast_length
        Bars seen, at most those that the base was made for; bars forecast.
    target_features
        Columns to forecast; empty: the one that holds glucose, by its name.
    input_features
        Further columns that are seen up to the forecast's origin.
    known_features
        Further columns that are known over the horizon as well.
    id_column, time_column
        Empty: guessed (``p_num``, ``patient_id`` …; ``datetime``, ``timestamp`` …).
    resolution_min
        Minutes of a bar.
    training_mode
        ``fine_tune``, ``linear_probe`` or ``zero_shot``.
    freeze_backbone
        Train what comes after the backbone only.
    loss
        ``mse``, ``mae``, ``huber`` or ``pinball``; empty: the base model's own.
    scaler_type, scaler_scope
        Of targets, by each patient's training data or everybody's: see
        :class:`~tsfm.models.conditioning_config.ConditioningConfig`.
    imputation_strategy, imputation_steps
        Of gaps in contexts; the steps are those that ``forward_fill`` and ``interpolate`` reach.
    batch_size, learning_rate, num_epochs, warmup_steps
        ``max_steps``, where it is given, goes before the number of epochs.
    validation_share
        Of each patient's end, where no validation data are given.
    early_stopping_patience
        Validations without improvement before training stops; 0: none.
    validate_every
        Steps between validations.
    gradient_clip_val
        Largest norm of the gradient.
    fp16
        Mixed precision.
    logging_dir
        Of TensorBoard event files; empty: none.
    seed
        Of everything drawn.
    progress
        Show a progress bar.
    """

    model_path: str = "ttm-base"
    context_length: int = 512
    forecast_length: int = 96
    target_features: tuple[str, ...] = ()
    input_features: tuple[str, ...] = ()
    known_features: tuple[str, ...] = ()
    id_column: str = ""
    time_column: str = ""
    resolution_min: int = 5
    training_mode: str = "fine_tune"
    freeze_backbone: bool = False
    loss: str = ""
    scaler_type: str = "standard"
    scaler_scope: str = "patient"
    imputation_strategy: str = "none"
    imputation_steps: int = 12
    batch_size: int = 2048
    learning_rate: float = 1e-4
    num_epochs: float = 1
    warmup_steps: int = 0
    max_steps: int | None = None
    validation_share: float = 0.15
    early_stopping_patience: int = 0
    validate_every: int = 50
    gradient_clip_val: float = 1.0
    fp16: bool = False
    logging_dir: str = ""
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("target_features", "input_features", "known_features"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        object.__setattr__(self, "model_path", str(self.model_path))
        object.__setattr__(self, "logging_dir", str(self.logging_dir or ""))
        one_of("training_mode", self.training_mode, TRAINING_MODES)
        one_of("scaler_type", self.scaler_type, SCALER_TYPES)
        one_of("loss", self.loss, LOSSES)
        for name in ("context_length", "forecast_length", "resolution_min"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy="give at least 1")
        if not 0 < self.validation_share < 0.5:
            raise ConfigError(f"validation_share={self.validation_share} lies outside (0, 0.5)")
        if self.training_mode != "zero_shot":
            self.recipe  # noqa: B018  (validates it)
        self.conditioning  # noqa: B018

    @property
    def recipe(self) -> Recipe:
        """Steps, batch and learning rate."""
        return Recipe(
            preset="default",
            epochs=self.num_epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            lr=self.learning_rate,
            warmup_steps=self.warmup_steps,
        )

    @property
    def conditioning(self) -> ConditioningConfig:
        """Scaler and imputation."""
        reaches = self.imputation_strategy in ("forward_fill", "interpolate")
        return ConditioningConfig(
            scaler=self.scaler_type,
            scope=self.scaler_scope,
            imputation=self.imputation_strategy,
            steps=self.imputation_steps if reaches else 0,
        )

    def adaptation(self, lora: LoRAConfig) -> AdaptationConfig:
        """What is trained."""
        modes = {"fine_tune": "lora" if lora.enabled else "full"}
        return AdaptationConfig(
            mode=modes.get(self.training_mode, self.training_mode),
            lora_rank=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            lora_targets=lora.target_modules,
            freeze_backbone=self.freeze_backbone,
        )

    def trainer(self, distributed: DistributedConfig) -> TrainerConfig:
        """All that the recipe does not settle."""
        return TrainerConfig(
            weight_decay=0.01,
            gradient_clip=self.gradient_clip_val,
            precision="16-mixed" if self.fp16 else "auto",
            devices=distributed.world_size if distributed.enabled else 0,
            validate_every=self.validate_every,
            checkpoint_every=self.validate_every,
            patience=self.early_stopping_patience,
            seed=self.seed,
            progress=self.progress,
        )


def create_default_ttm_config(**settings: Any) -> TTMConfig:
    """Learning rate 1e-4, one epoch, batches of 2,048; other settings as given."""
    return _of_preset("default", settings)


def create_ttm_fine_tuning_config(**settings: Any) -> TTMConfig:
    """Learning rate 1e-5, five epochs, 500 steps of warm-up; other settings as given."""
    return _of_preset("fine_tune", settings)


def create_ttm_zero_shot_config(**settings: Any) -> TTMConfig:
    """No training; other settings as given."""
    return replace(_of_preset("zero_shot", settings), training_mode="zero_shot")


def _of_preset(name: str, settings: dict[str, Any]) -> TTMConfig:
    preset = PRESETS[name]
    values = {
        "learning_rate": preset["lr"],
        "num_epochs": preset["epochs"],
        "batch_size": int(preset["batch_size"]),
        "warmup_steps": int(preset["warmup_steps"]),
    }
    return TTMConfig(**(values | settings))
