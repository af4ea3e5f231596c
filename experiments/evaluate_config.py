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


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Looking into a model.

    Attributes
    ----------
    model
        A directory, a hub id, ``models:/…`` or the name of a forecaster that needs no training.
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

    @property
    def analyses(self) -> tuple[str, ...]:
        """Each once, in the order given."""
        words = (word.strip() for word in self.analysis.split(","))
        return tuple(dict.fromkeys(word for word in words if word))

    @property
    def simulated(self) -> EnsembleConfig:
        """The ensemble, by this seed unless it has its own."""
        return replace(self.ensemble, seed=self.ensemble.seed or self.seed)
