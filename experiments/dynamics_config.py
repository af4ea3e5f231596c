"""What experiment 3 may be told, checked before anything is simulated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.config import TrainingConfig
from tsfm.data.dynamics.augmentation_config import PRESETS, AugmentationConfig
from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.locations import VARIABLES, find
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.models import BASELINES

ARMS = ("none", "attention")
LEAST_SCALES = 3
KINDS = ("PatchTSTConfig", "HfPatchTSTConfig")


@dataclass(frozen=True, kw_only=True)
class JudgingConfig:
    """How the arms are judged.

    Attributes
    ----------
    steps
        Longest forecast, by rolling, where trajectories are long enough.
    windows_per_item, items_per_group
        Most forecast origins per trajectory, a horizon apart; most trajectories of in-distribution,
        held-out systems and held-out skew products each.
    baselines
        Asked the same windows; ``dlinear`` is fitted to the training trajectories.
    zero_shot
        Pretrained models, asked some of the windows, up to the horizon: names of forecasters that
        need no training, directories, hub ids or ``models:/…``.
    zero_shot_windows
        Most windows that each of them is asked per group.
    fine_tuned
        Chronos models, by directory or hub id, that are fine-tuned on what the arms are trained on,
        for as many steps, at learning rates of their own, and asked every window.
    validation_share, test_share
        Of the trajectories of every trained system, by item.
    headline_metric, headline_steps
        What the conclusion is drawn from.
    chaos
        How errors are measured.
    """

    steps: int = 512
    windows_per_item: int = 4
    items_per_group: int = 200
    baselines: tuple[str, ...] = ("random_walk", "mean", "parroting", "dlinear", "nvar")
    zero_shot: tuple[str, ...] = ("fracast",)
    zero_shot_windows: int = 16
    fine_tuned: tuple[str, ...] = ()
    validation_share: float = 0.15
    test_share: float = 0.25
    headline_metric: str = "smape"
    headline_steps: int = 128
    chaos: ChaosConfig = field(default_factory=ChaosConfig)

    def __post_init__(self) -> None:
        for name in ("baselines", "zero_shot", "fine_tuned"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in self.baselines:
            one_of("judging.baselines", name, (*BASELINES, "dlinear"))
        called = [Path(source).name for source in self.fine_tuned]
        if len(set(called)) < len(called):
            raise ConfigError(
                f"judging.fine_tuned={list(self.fine_tuned)} share a name",
                remedy="give directories of different names",
            )
        one_of("judging.headline_metric", self.headline_metric, ("smape", "mae", "rmse"))
        one_of("judging.headline_steps", self.headline_steps, self.chaos.horizons)
        for name in ("steps", "windows_per_item", "items_per_group", "zero_shot_windows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"judging.{name}={getattr(self, name)} is less than 1")
        if min(self.validation_share, self.test_share) <= 0 or (
            self.validation_share + self.test_share > 0.8
        ):
            raise ConfigError(
                f"judging.validation_share={self.validation_share}, "
                f"judging.test_share={self.test_share}",
                remedy="give positive shares that leave a fifth to train on",
            )


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One budget: systems × trajectories of each × steps."""

    systems: int
    trajectories: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.systems}x{self.trajectories}x{self.steps}"

    @property
    def size(self) -> float:
        return float(self.systems) * self.trajectories * self.steps


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig(TrainingConfig):
    """Experiment 3.

    Attributes
    ----------
    data
        Empty: simulate ``ensemble``. Else a panel of dynamical systems, or a directory of
        ``train/SYSTEM/0_T-1024.arrow``; the families held out are drawn by ``ensemble.held_out``
        and ``ensemble.seed``, unless the panel names its own.
    channel_mixing
        Which arms: ``none``, ``attention`` or ``both``.
    base_model
        Weights to start one arm from: a directory, hub id or ``models:/…``; empty: from scratch.
    train_variates
        Variates drawn from each training window; 0: all of them.
    augmentations
        Of training windows: ``none``, ``panda`` or ``dystformer``.
    augmentation_rate
        Share of the windows that are augmented; empty: the preset's.
    seeds
        Trainings of every arm, by ``seed``, ``seed + 1`` …
    scales
        ``"8x4x200,16x8x600"``: systems × trajectories × steps at which the arms are trained, in
        place of ``ensemble`` and ``max_steps``; empty: the config's own only.
    """

    context: int = 512
    horizon: int = 128
    register_as: str = "dynamics"
    data: str = ""
    channel_mixing: str = "both"
    base_model: str = ""
    train_variates: int = 3
    augmentations: str = "panda"
    augmentation_rate: float | None = None
    seeds: int = 1
    scales: str = ""
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    judging: JudgingConfig = field(default_factory=JudgingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("channel_mixing", self.channel_mixing, (*ARMS, "both"))
        one_of("augmentations", self.augmentations, ("none", *PRESETS))
        self.augment  # noqa: B018  (checks the rate)
        if type(self.model).__name__ not in KINDS:
            raise ConfigError(
                f"model={type(self.model).__name__} has no arms with and without channel mixing",
                remedy="choose patchtst, panda or hf",
            )
        if self.seeds < 1 or self.train_variates < 0:
            raise ConfigError(
                f"seeds={self.seeds}, train_variates={self.train_variates}",
                remedy="give at least one seed, and 0 (all) or more variates",
            )
        if self.base_model and (self.channel_mixing == "both" or self.is_reference):
            raise ConfigError(
                f"base_model={self.base_model!r} is of one arm",
                remedy="give channel_mixing=attention or none, and model=patchtst or panda",
            )
        if self.horizon < self.judging.chaos.horizons[0]:
            raise ConfigError(
                f"horizon={self.horizon} is shorter than the first that is judged, "
                f"{self.judging.chaos.horizons[0]}",
                remedy="give a longer one, or overrides=judging.chaos.horizons=[4,8]",
            )
        self._check_data()
        if self.scales and len(self.study) < LEAST_SCALES:
            raise ConfigError(
                f"scales={self.scales!r} names {len(self.study)} scales",
                remedy=f"give {LEAST_SCALES} or more, to fit a law",
            )
        if self.scales and (self.data or self.channel_mixing != "both"):
            raise ConfigError(
                f"scales={self.scales!r} with data={self.data!r}, "
                f"channel_mixing={self.channel_mixing}",
                remedy="leave data empty and channel_mixing=both: scales are simulated",
            )

    def _check_data(self) -> None:
        if self.data:
            found = find(self.data)
            if found is None:
                raise ConfigError(
                    f"data={self.data!r} does not exist",
                    remedy="give a panel or a directory of SYSTEM folders (also looked for in "
                    f"{', '.join(VARIABLES)}), or nothing to simulate",
                )
            object.__setattr__(self, "data", str(found))
        elif self.context + self.horizon > self.ensemble.points:
            raise ConfigError(
                f"context={self.context} + horizon={self.horizon} is longer than a trajectory of "
                f"{self.ensemble.points} points",
                remedy="shorten them, or give overrides=ensemble.points=4096",
            )

    @property
    def is_reference(self) -> bool:
        """Whether the arms are Hugging Face's."""
        return type(self.model).__name__ == "HfPatchTSTConfig"

    @property
    def arms(self) -> tuple[str, ...]:
        return ARMS if self.channel_mixing == "both" else (self.channel_mixing,)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def augment(self) -> AugmentationConfig | None:
        if self.augmentations == "none":
            return None
        preset = AugmentationConfig.preset(self.augmentations)
        rate = self.augmentation_rate
        return preset if rate is None else replace(preset, rate=rate)

    @property
    def study(self) -> tuple[Scale, ...]:
        """The scales, smallest first; without any, the config's own."""
        if not self.scales:
            own = self.ensemble.n_systems, self.ensemble.n_trajectories, self.trainer.max_steps
            return (Scale(systems=own[0], trajectories=own[1], steps=own[2]),)
        words = [word for word in re.split(r"[,\s]+", self.scales.strip()) if word]
        if not all(re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", word) for word in words):
            raise ConfigError(
                f"scales={self.scales!r}",
                remedy="write systems x trajectories x steps, for instance 8x4x200,16x8x600",
            )
        numbers = [map(int, word.split("x")) for word in words]
        scales = [Scale(systems=a, trajectories=b, steps=c) for a, b, c in numbers]
        return tuple(sorted(scales, key=lambda scale: scale.size))

    @property
    def simulated(self) -> EnsembleConfig:
        """The ensemble; of several scales, the one that all of them are parts of."""
        if not self.scales:
            return self.ensemble
        return replace(
            self.ensemble,
            n_systems=max(scale.systems for scale in self.study),
            n_trajectories=max(scale.trajectories for scale in self.study),
        )

    def at(self, scale: Scale) -> DynamicsConfig:
        """This experiment with the steps of one scale."""
        if not self.scales:
            return self
        warmup = min(self.trainer.warmup_steps, max(1, scale.steps // 10))
        every = min(self.trainer.validate_every, max(1, scale.steps // 4))
        trainer = replace(
            self.trainer, max_steps=scale.steps, warmup_steps=warmup, validate_every=every
        )
        return replace(self, trainer=trainer)
