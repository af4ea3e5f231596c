"""Trials of experiment 3: one arm, one seed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.measuring import COSTS, outcome_of
from sweeps.recipe import Cache, Outcome, Recipe
from tsfm.errors import ConfigError
from tsfm.training.logger import NullLogger

if TYPE_CHECKING:
    from experiments.dynamics_config import DynamicsConfig
    from tsfm.evaluation.holdout import HoldOut
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.tracking.sweep_record import TrialRun

SCORES = ("validation_smape", "validation_mae", "validation_rmse", "validation_valid_time")


class Dynamics(Recipe):
    """Training one arm, as the experiment does it; scored by its forecasts of validation
    trajectories (:class:`tsfm.training.chaos_monitor.ChaosMonitor`)."""

    metrics = (*SCORES, *COSTS)
    reported = SCORES

    def check(self, config: DynamicsConfig) -> None:
        if len(config.arms) > 1 or config.seeds > 1 or config.scales:
            raise ConfigError(
                f"channel_mixing={config.channel_mixing}, seeds={config.seeds}, "
                f"scales={config.scales!r} train several models",
                remedy="a trial trains one: fix or search channel_mixing=attention or none, with "
                "seeds=1 and no scales",
            )

    def run(self, config: DynamicsConfig, record: TrialRun, cache: Cache) -> Outcome:
        from experiments.dynamics_arms import train
        from tsfm.training.chaos_monitor import ChaosMonitor

        division = _division(config, cache)
        quiet = replace(config, trainer=replace(config.trainer, progress=False))
        with ExitStack() as parts:
            trained = train(quiet.arms[0], quiet.seed, division, quiet, record, parts)
        last = _Last()
        monitor = ChaosMonitor(*division.validation_task, last, config.judging.chaos)
        monitor(trained.result.model, trained.result.steps)  # type: ignore[arg-type]
        return outcome_of(trained.result, last.metrics, *division.validation_task)

    def publish(
        self,
        config: DynamicsConfig,
        record: MlflowRun,
        model: Path,
        cache: Cache,
        tags: Mapping[str, str],
    ) -> LoggedForecaster:
        from experiments.dynamics import judge, make_baselines, reached
        from experiments.dynamics_arms import Trained, matched_table, publish
        from sweeps.publishing import kept
        from tsfm.evaluation.arms import conclusion
        from tsfm.tracking.contest_report import record_contest
        from tsfm.training.cost import step_cost

        division, arm = _division(config, cache), config.arms[0]
        result = kept(record, model)
        tokens, flops = step_cost(result.model, division.train, config.trainer)
        one = Trained(
            arm=arm, name=f"{result.model.name}-{arm}", seed=config.seed, base=config.base_model,
            part=record, result=result, flops=flops, tokens=tokens,
        )  # fmt: skip
        contest = judge([one], division, config, make_baselines(division, config))
        metric = config.judging.headline_metric
        steps = reached(config.judging.headline_steps, division, config)
        record_contest(
            record, contest, division.tasks, config=config.judging.chaos, metric=metric,
            steps=steps, match=matched_table([one]),
            conclusion=conclusion(contest, metric=metric, steps=steps),
        )  # fmt: skip
        return publish(one, contest, division, config, tags)


class _Last(NullLogger):
    """Keeps the latest metrics."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:  # noqa: ARG002
        self.metrics |= metrics


def _division(config: DynamicsConfig, cache: Cache) -> HoldOut:
    """Trajectories, divided; made once for equal ensembles and lengths."""
    from experiments.dynamics import hold_out, load_trajectories
    from tsfm.tracking.experiment import SilentRun

    panel: Any = cache.get(
        ("trajectories", config.data, config.simulated),
        lambda: load_trajectories(config, SilentRun(Path())),
    )
    key = (
        config.data, config.simulated, config.context, config.horizon, config.judging, config.seed,
    )  # fmt: skip
    division: HoldOut = cache.get(("division", key), lambda: hold_out(panel, config))
    return division
