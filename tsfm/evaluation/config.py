"""How much judging an experiment does."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.metric_names import DEFAULT_METRICS
from tsfm.models import BASELINES


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a model is judged at the end of an experiment.

    Attributes
    ----------
    windows_per_item
        Most forecast origins per series, evenly spaced, at least a horizon apart.
    stride
        Bars between the origins of one patient, of which ``windows_per_item`` are kept; 0: a
        horizon.
    items_per_task
        Series in a task, the panel's first ones that are long enough.
    baseline_context
        Bars that baselines see where the series are that long (at least the model's context).
    baselines
        Judged on the same windows.
    headline_metric
        The one that the summary and the comparison with baselines show.
    """

    windows_per_item: int = 10
    items_per_task: int = 24
    baseline_context: int = 1000
    baselines: tuple[str, ...] = ("random_walk", "seasonal_naive", "auto_ets", "garch")
    headline_metric: str = "crps"
    stride: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "baselines", tuple(self.baselines))
        for baseline in self.baselines:
            one_of("evaluation.baselines", baseline, BASELINES)
        one_of("evaluation.headline_metric", self.headline_metric, DEFAULT_METRICS)
        for name in ("windows_per_item", "items_per_task", "baseline_context"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluation.{name}={getattr(self, name)} is less than 1")
        if self.stride < 0:
            raise ConfigError(f"evaluation.stride={self.stride} is negative")
