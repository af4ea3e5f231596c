"""What a promotion may be told, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from experiments.config import check_common
from tsfm.data.sources import SourceConfig
from tsfm.errors import ConfigError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.registry import check_name

CONF = Path(__file__).parent / "conf"


@dataclass(frozen=True, kw_only=True)
class PromoteConfig:
    """Promoting a version, rolling back, showing the trail, or sealing a vault.

    Attributes
    ----------
    model
        Name in the registry.
    version
        A number or ``@alias``; empty: the latest.
    policy
        A YAML file, or the name of one of ``experiments/conf``.
    rollback
        Make the previous champion champion again.
    show
        Print aliases, looks and history; nothing is changed.
    seal
        Freeze the last bars of ``data``, which experiments leave unseen, as the policy's vault for
        the model.
    data, context, horizon, evaluation
        Of the tasks that ``seal`` freezes: the share ``data.vault_share`` of every panel. The
        source, its shares and its seed must be those of the experiments.
    """

    model: str = "ohlcv"
    version: str = ""
    policy: str = "promotion"
    rollback: bool = False
    show: bool = False
    seal: bool = False
    data: SourceConfig = field(default_factory=SourceConfig)
    context: int = 336
    horizon: int = 48
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_common(self.context, self.horizon, 0, "")
        try:
            check_name(self.model)
        except ConfigError as error:
            raise ConfigError(
                f"model={self.model!r} is no name of a registered model",
                remedy="give the name alone, and the version apart: model=ohlcv version=3",
            ) from error
        chosen = [name for name in ("rollback", "show", "seal") if getattr(self, name)]
        if len(chosen) > 1:
            raise ConfigError(f"{' and '.join(chosen)} at once", remedy="choose one of them")
        if chosen and self.version:
            raise ConfigError(
                f"version={self.version} with {chosen[0]}", remedy="leave one of them out"
            )
        number = self.version.removeprefix("@")
        if self.version and not ((self.version.startswith("@") and number) or number.isdigit()):
            raise ConfigError(
                f"version={self.version!r} is no version",
                remedy="give a number, an alias as @name, or nothing for the latest",
            )
        self.rules()

    @property
    def policy_file(self) -> Path:
        """Where the policy is."""
        named = CONF / f"{self.policy}.yaml"
        return named if named.exists() else Path(self.policy).expanduser()

    def rules(self) -> Policy:
        """The policy, read and checked."""
        return Policy.load(self.policy_file)
