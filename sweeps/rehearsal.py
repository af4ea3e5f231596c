"""A stand-in for an experiment: a function that reports as training does, in no time.

mlflow run . -e sweep -P experiment=rehearsal -P trials=50 -P workers=2

It tries a storage, a launcher and the dashboards before a long sweep, and measures what a trial
costs besides its training.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.cli import Parameter
from sweeps.recipe import Cache, Outcome, Recipe
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.sweep_record import TrialRun

PARAMETERS = {
    "x": Parameter("x", "first coordinate"),
    "y": Parameter("y", "second coordinate"),
    "kind": Parameter("kind", "bowl or valley"),
    "reports": Parameter("reports", "validations of a trial"),
    "seconds": Parameter("seconds", "that a trial takes"),
    "busy": Parameter("busy", "compute in that time: true or false"),
    "seed": Parameter("seed", "of nothing"),
    "fail_above": Parameter("fail_above", "x from which a trial fails"),
}


@dataclass(frozen=True, kw_only=True)
class RehearsalConfig:
    """One point and what it costs.

    Attributes
    ----------
    x, y
        Best at 1, 1.
    kind
        ``bowl``: the squared distance; ``valley``: Rosenbrock's function.
    reports
        Validations: the value falls from far above to its own.
    seconds, busy
        How long a trial takes, asleep or computing.
    fail_above
        A trial whose x is larger fails.
    """

    x: float = 0.0
    y: float = 0.0
    kind: str = "bowl"
    reports: int = 10
    seconds: float = 0.0
    busy: bool = False
    seed: int = 0
    fail_above: float = math.inf

    def __post_init__(self) -> None:
        if self.kind not in ("bowl", "valley"):
            raise ConfigError(f"kind={self.kind!r}", remedy="give bowl or valley")
        if self.reports < 0 or self.seconds < 0:
            raise ConfigError(f"reports={self.reports}, seconds={self.seconds} below zero")

    @property
    def value(self) -> float:
        if self.kind == "bowl":
            return (self.x - 1) ** 2 + (self.y - 1) ** 2
        return (1 - self.x) ** 2 + 100 * (self.y - self.x**2) ** 2

    def pass_time(self, seconds: float) -> None:
        """Sleep, or compute, for so long."""
        if not self.busy:
            time.sleep(seconds)
            return
        until = time.process_time() + seconds
        while time.process_time() < until:
            math.sqrt(2.0)


class Rehearsal(Recipe):
    """The recipe: reports that fall towards the function's value."""

    metrics = ("value", "distance", "cost")
    reported = ("value",)
    uses_torch = False

    def run(self, config: RehearsalConfig, record: TrialRun, cache: Cache) -> Outcome:  # noqa: ARG002
        if config.x > config.fail_above:
            raise ArithmeticError(f"x={config.x} is above {config.fail_above}")
        parts = max(config.reports, 1)
        for step in range(1, config.reports + 1):
            config.pass_time(config.seconds / parts)
            record.log_metrics({"value": config.value + 10.0 / step**2}, step)
        if not config.reports:
            config.pass_time(config.seconds)
        metrics = {
            "value": config.value,
            "distance": math.hypot(config.x - 1, config.y - 1),
            "cost": abs(config.x),
        }
        return Outcome(metrics=metrics, steps=config.reports)

    def publish(self, *_: object) -> LoggedForecaster:
        raise NotImplementedError("a rehearsal keeps no model")
