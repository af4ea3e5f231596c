"""What an evaluation may be told, checked before anything is simulated or loaded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from experiments.config import check_common
from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.locations import VARIABLES, find
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.analysis_config import (
    ANALYSES,
    EmbeddingsConfig,
    ForgettingConfig,
    KoopmanConfig,
    PrecisionConfig,
    TokensConfig,
)
from tsfm.evaluation.metric_names import RANKING_NAMES
from tsfm.models import BASELINES


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Looking into a model, or ranking models on task suites.

    Attributes
    ----------
    model
        A directory, a hub id, ``models:/…`` or the name of a forecaster that needs no training;
        with ``tasks`` several of them with commas, ``baselines`` or ``all``.
    tasks
        Suites (:data:`tsfm.evaluation.suites.SUITES`), single tasks of them (``ohlcv/daily_10``) or
        ``all``; empty: look into the model instead.
    metric
        That models are ranked by.
    baseline
        That errors are relative to.
    audit
        Rather than rank models on ``tasks``, tell whether they were trained on what these ask.
    strict
        An audit that finds answers seen, or a model that nobody can tell of, ends with exit code 3.
    analysis
        One or several of :data:`tsfm.evaluation.analysis_config.ANALYSES`, with commas.
    base
        For ``forgetting``: the model before it was trained on dynamics.
    data
        Empty: simulate ``ensemble`` (for ``forgetting``: the ordinary series that ship with
        packages). Else a panel, or a directory of trajectories.
    context, horizon
        Points seen, and forecast at most.
    ensemble
        Systems that are looked at.
    forgetting, embeddings, tokens, koopman, precision
        Of each analysis; ``precision`` of ``context``.
    """

    model: str = ""
    tasks: str = ""
    metric: str = "sql"
    baseline: str = "seasonal_naive"
    audit: bool = False
    strict: bool = False
    analysis: str = "embeddings"
    base: str = ""
    data: str = ""
    context: int = 512
    horizon: int = 128
    seed: int = 0
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    forgetting: ForgettingConfig = field(default_factory=ForgettingConfig)
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    koopman: KoopmanConfig = field(default_factory=KoopmanConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)

    def __post_init__(self) -> None:
        check_common(self.context, self.horizon, self.seed, "")
        if not self.model:
            raise ConfigError(
                "model is empty", remedy="give a directory, a hub id, models:/… or a baseline"
            )
        one_of("metric", self.metric, RANKING_NAMES)
        one_of("baseline", self.baseline, BASELINES)
        if self.strict and not self.audit:
            raise ConfigError("strict=true without audit=true", remedy="audits may be strict")
        if self.audit and not self.tasks:
            raise ConfigError(
                "audit=true without tasks", remedy="give tasks=all, suites or tasks of them"
            )
        if self.tasks:
            self._check_tasks()
            return
        names = self.analyses
        if not names:
            raise ConfigError("analysis is empty", remedy=f"give some of {', '.join(ANALYSES)}")
        for name in names:
            one_of("analysis", name, ANALYSES)
        if "forgetting" in names and not self.base:
            raise ConfigError(
                "analysis=forgetting without base",
                remedy="give base=, the model before it was trained on dynamics",
            )
        if self.data:
            found = find(self.data)
            if found is None:
                raise ConfigError(
                    f"data={self.data!r} does not exist",
                    remedy="give a panel or a directory of SYSTEM folders (also looked for in "
                    f"{', '.join(VARIABLES)}), or nothing",
                )
            object.__setattr__(self, "data", str(found))
            if "context" in names:
                raise ConfigError(
                    f"analysis=context with data={self.data!r}",
                    remedy="leave data empty: it integrates systems at several precisions",
                )
        elif self.context >= self.ensemble.points:
            raise ConfigError(
                f"context={self.context} is no shorter than a trajectory of "
                f"{self.ensemble.points} points",
                remedy="shorten it, or give overrides=ensemble.points=4096",
            )

    def _check_tasks(self) -> None:
        from tsfm.evaluation.suites import load_suite

        load_suite(self.tasks)

    @property
    def is_one(self) -> bool:
        """Whether one model is asked for, rather than a group of them."""
        return "," not in self.model and self.model not in ("all", "baselines")

    @property
    def analyses(self) -> tuple[str, ...]:
        """Each once, in the order given."""
        words = (word.strip() for word in self.analysis.split(","))
        return tuple(dict.fromkeys(word for word in words if word))

    @property
    def simulated(self) -> EnsembleConfig:
        """The ensemble, by this seed unless it has its own."""
        return replace(self.ensemble, seed=self.ensemble.seed or self.seed)
