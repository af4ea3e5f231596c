"""What experiment 2 may be told, checked before anything heavy loads."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from experiments.config import ExperimentConfig
from tsfm.data.sources import SourceConfig
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.config import EvaluationConfig
from tsfm.models.adaptation_config import AdaptationConfig
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.training.config import TrainerConfig
from tsfm.training.recipe import Recipe

SPLITS = ("both", "time", "patient")
LOSSES = ("", "mse", "mae", "huber", "pinball")
SCRATCH = "scratch"
AUTO, ALL, NONE = "auto", "all", "none"
_OF_RECIPE = ("max_steps", "batch_size", "lr", "warmup_steps")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(ExperimentConfig):
    """Experiment 2.

    Attributes
    ----------
    base_model
        What to start from: ``ttm-base``, a directory, a hub id, ``models:/…``, or ``scratch``:
        then ``model`` says what is made.
    load
        Fields of the base model's configuration to change, such as ``dropout``.
    adaptation
        How much of it is trained.
    recipe
        How long and how fast; ``trainer`` has the rest.
    loss
        ``mse``, ``mae``, ``huber`` or ``pinball`` (quantiles); empty: the base model's own.
    past_covariates, known_covariates
        Columns that are seen up to the origin, and over the horizon as well: names, ``all``,
        ``none``, or ``auto``: all where the base model looks at covariates, else none. Of readings,
        those known over the horizon are known by name only.
    id_column
        Of a table of readings: whose they are; empty: guessed.
    conditioning
        Scaler and imputation before the model's own.
    split
        What is held out of patients: the end of their ``time``, some of them (``patient``), or
        ``both``.
    hold_out
        A hold-out file, or the name and version of one (``cohort-v1``), instead of drawing one.
    clinical
        How forecasts of glucose are judged.
    nights
        Also judge whole nights of glucose.
    forgetting
        Also score the model before and after on general tasks.
    """

    data: SourceConfig = field(default_factory=lambda: SourceConfig(name="virtual"))
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    context: int = 512
    horizon: int = 96
    base_model: str = "ttm-base"
    load: dict[str, Any] = field(default_factory=dict)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    recipe: Recipe = field(default_factory=Recipe)
    loss: str = ""
    past_covariates: tuple[str, ...] = (AUTO,)
    known_covariates: tuple[str, ...] = (AUTO,)
    id_column: str = ""
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
    split: str = "both"
    hold_out: str = ""
    clinical: ClinicalConfig = field(default_factory=ClinicalConfig)
    nights: bool = True
    forgetting: bool = True
    register_as: str = "glucose"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("split", self.split, SPLITS)
        one_of("loss", self.loss, LOSSES)
        for name in ("past_covariates", "known_covariates"):
            given = tuple(getattr(self, name))
            if len(given) > 1 and {AUTO, ALL, NONE} & set(given):
                raise ConfigError(
                    f"{name}={','.join(given)}", remedy=f"give names, {AUTO}, {ALL} or {NONE}"
                )
            object.__setattr__(self, name, given or (NONE,))
        self._settle_preset()
        self._settle_readings()
        if self.base_model == SCRATCH and self.adaptation.mode != "full":
            raise ConfigError(
                f"mode={self.adaptation.mode} needs a trained base model",
                remedy="give base_model or mode=full",
            )

    def _settle_preset(self) -> None:
        """The preset ``zero_shot`` is a mode; the trainer's own steps, where set, are the
        recipe's."""
        if self.recipe.preset == "zero_shot":
            object.__setattr__(self, "adaptation", replace(self.adaptation, mode="zero_shot"))
        usual = {one.name: one.default for one in fields(TrainerConfig)}
        given = {
            name: getattr(self.trainer, name)
            for name in _OF_RECIPE
            if getattr(self.recipe, name) is None and getattr(self.trainer, name) != usual[name]
        }
        object.__setattr__(self, "recipe", replace(self.recipe, **given))

    def _settle_readings(self) -> None:
        """How readings are laid out, in the reader's terms."""
        cgm = self.data.cgm
        if cgm.imputation != "none":
            raise ConfigError(
                f"data.cgm.imputation={cgm.imputation} is for serving alone",
                remedy="give imputation and imputation_steps",
            )
        columns = {**cgm.columns, **({"item_id": self.id_column} if self.id_column else {})}
        known = () if {AUTO, ALL, NONE} & set(self.known_covariates) else self.known_covariates
        cgm = replace(cgm, columns=columns, known_covariates=known or cgm.known_covariates)
        object.__setattr__(self, "data", replace(self.data, cgm=cgm))
