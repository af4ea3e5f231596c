"""The rules that a policy may have, each with its limits and its verdict on the evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tsfm.errors import ConfigError, UserError, one_of

if TYPE_CHECKING:
    from tsfm.tracking.promotion.evidence import Evidence, Skill


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule found.

    Attributes
    ----------
    told
        Its numbers beside its limits, in a sentence.
    numbers
        The same for machines.
    """

    rule: str
    passed: bool
    told: str
    numbers: dict[str, float]


class Rule(Protocol):
    """A condition for a promotion."""

    name: ClassVar[str]

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding: ...


@dataclass(frozen=True, kw_only=True)
class SkillRule:
    """Better than the champion (at the first promotion: than the policy's baseline).

    Attributes
    ----------
    metric
        A loss of the tasks.
    above
        What the lower end of the skill's interval must exceed; a negative value is the margin of
        non-inferiority.
    confidence
        Of the interval.
    correct_for_looks
        Divide the error by the looks into the vault so far (Bonferroni).
    """

    name: ClassVar[str] = "skill"
    metric: str = "crps"
    above: float = 0.0
    confidence: float = 0.95
    correct_for_looks: bool = False

    def __post_init__(self) -> None:
        _expect(self.name, 0.5 < self.confidence < 1, f"confidence={self.confidence}", "0.5 to 1")
        _expect(self.name, -1 < self.above < 1, f"above={self.above}", "-1 to 1")
        _expect_loss(self.name, self.metric)

    def rival(self, evidence: Evidence) -> str:
        return evidence.rival

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:
        confidence = self.confidence
        if self.correct_for_looks:
            confidence = 1 - (1 - confidence) / max(evidence.looks, 1)
        rival = self.rival(evidence)
        found = _skill(evidence, rival, self.metric, confidence, replicates, seed)
        numbers = {"skill": found.value, "low": found.low, "high": found.high}
        numbers |= {"detectable": found.detectable, "clusters": found.clusters}
        return Finding(
            rule=self.name,
            passed=found.low > self.above,
            told=f"{self.metric} against {rival} {found}, at {confidence:.4g} confidence; "
            f"its lower end must exceed {self.above:+.1%}",
            numbers=numbers,
        )


@dataclass(frozen=True, kw_only=True)
class BaselineRule(SkillRule):
    """Better than a baseline, whoever is champion.

    Attributes
    ----------
    baseline
        Its name.
    """

    name: ClassVar[str] = "baseline"
    baseline: str = "seasonal_naive"

    def __post_init__(self) -> None:
        from tsfm.models import BASELINES

        super().__post_init__()
        one_of(f"rules.{self.name}.baseline", self.baseline, BASELINES)

    def rival(self, evidence: Evidence) -> str:  # noqa: ARG002
        return self.baseline


@dataclass(frozen=True, kw_only=True)
class TasksRule:
    """On no task and variate clearly worse than the champion.

    Attributes
    ----------
    above
        What the upper end of every interval must exceed.
    """

    name: ClassVar[str] = "tasks"
    metric: str = "crps"
    above: float = -0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _expect(self.name, 0.5 < self.confidence < 1, f"confidence={self.confidence}", "0.5 to 1")
        _expect_loss(self.name, self.metric)

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:
        found = _skill(evidence, evidence.rival, self.metric, self.confidence, replicates, seed)
        table = found.table
        bound = table["high"].fillna(table["skill"])
        worst = table.iloc[int(bound.to_numpy().argmin())]
        return Finding(
            rule=self.name,
            passed=bool((bound > self.above).all()),
            told=f"worst of {len(table)}: {worst['task']}, {worst['variate']} at "
            f"{worst['skill']:+.1%} (up to {bound.min():+.1%}); must reach {self.above:+.1%}",
            numbers={"worst": float(worst["skill"]), "worst_high": float(bound.min())},
        )


@dataclass(frozen=True, kw_only=True)
class CalibrationRule:
    """The central 80 % interval covers about that share of what happened.

    Attributes
    ----------
    low, high
        Bounds of the coverage over all scored bars, tasks weighing the same.
    """

    name: ClassVar[str] = "calibration"
    low: float = 0.7
    high: float = 0.9

    def __post_init__(self) -> None:
        inside = 0 <= self.low < self.high <= 1
        _expect(self.name, inside, f"low={self.low}, high={self.high}", "0 to 1, low below high")

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:  # noqa: ARG002
        rows = evidence.scores
        own = rows[(rows["model"] == evidence.candidate) & (rows["metric"] == "coverage_80")]
        if own.empty:
            return _missing(self.name, "no task scores coverage_80")
        sums = own.groupby("task", observed=True)[["numerator", "denominator"]].sum()
        covered = float((sums["numerator"] / sums["denominator"]).mean())
        return Finding(
            rule=self.name,
            passed=self.low <= covered <= self.high,
            told=f"80 % intervals cover {covered:.1%}; "
            f"must lie between {self.low:.0%} and {self.high:.0%}",
            numbers={"coverage_80": covered},
        )


@dataclass(frozen=True, kw_only=True)
class LeakageRule:
    """Nothing that is scored was seen in training.

    Attributes
    ----------
    allow_unknown
        Accept a model of which nobody can tell what it was trained on.
    """

    name: ClassVar[str] = "leakage"
    allow_unknown: bool = False

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:  # noqa: ARG002
        leaks = [f"{task}: {told}" for task, told in evidence.leaks.items()]
        unknown = evidence.unknown_provenance and not self.allow_unknown
        told = "; ".join(leaks) or "no overlap of training and vault"
        if evidence.unknown_provenance:
            bases = ", ".join(evidence.unknown_bases)
            who, whose = (f"its base model {bases}", "that") if bases else ("it", "its")
            told = f"nobody can tell what {who} was trained on: {whose} provenance.json is missing"
            told = "; ".join([*leaks, told])
        return Finding(
            rule=self.name,
            passed=not leaks and not unknown,
            told=told,
            numbers={"leaking_tasks": float(len(leaks))},
        )


@dataclass(frozen=True, kw_only=True)
class LatencyRule:
    """Fast enough: wall time of a forecast, per series and variate, in batches of 64."""

    name: ClassVar[str] = "latency"
    at_most_ms: float = 100.0

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:  # noqa: ARG002
        return _at_most(self.name, evidence.milliseconds, self.at_most_ms, "ms per series")


@dataclass(frozen=True, kw_only=True)
class SizeRule:
    """Small enough: its files."""

    name: ClassVar[str] = "size"
    at_most_mb: float = 500.0

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:  # noqa: ARG002
        return _at_most(self.name, evidence.megabytes, self.at_most_mb, "MB")


@dataclass(frozen=True, kw_only=True)
class ReloadRule:
    """Loaded from the registry again it forecasts the same.

    Attributes
    ----------
    windows
        Of every task that are forecast again.
    tolerance
        Of the difference, relative to the size of the forecasts.
    fresh_process
        In a process of its own, as a server would be.
    seconds
        After which that process is ended, and the rule has failed.
    """

    name: ClassVar[str] = "reload"
    windows: int = 4
    tolerance: float = 1e-5
    fresh_process: bool = True
    seconds: float = 300.0

    def __post_init__(self) -> None:
        _expect(self.name, self.windows >= 1, f"windows={self.windows}", "1 or more")
        _expect(self.name, self.seconds > 0, f"seconds={self.seconds:g}", "more than 0")

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:  # noqa: ARG002
        if evidence.reload_problem:
            return _missing(self.name, evidence.reload_problem)
        unit = "relative difference after loading again"
        return _at_most(self.name, evidence.reload_difference, self.tolerance, unit)


@dataclass(frozen=True, kw_only=True)
class LooksRule:
    """The vault has not been looked into too often to be trusted."""

    name: ClassVar[str] = "looks"
    at_most: int = 20

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:  # noqa: ARG002
        return _at_most(self.name, evidence.looks, self.at_most, "looks into the vault")


@dataclass(frozen=True, kw_only=True)
class SuiteRule:
    """Better than the champion on task suites, paired on the same windows.

    Of what ``evaluate`` has kept nothing is computed again. A task that the candidate cannot
    answer, or whose answers it was trained on, refuses it.

    Attributes
    ----------
    tasks
        Suites, or single tasks of them, with commas.
    metric
        A loss of these tasks.
    above
        What the lower end of the skill's interval must exceed.
    confidence
        Of the interval.
    """

    name: ClassVar[str] = "suite"
    tasks: str = ""
    metric: str = "sql"
    above: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        from tsfm.evaluation.suites import load_suite

        _expect(self.name, 0.5 < self.confidence < 1, f"confidence={self.confidence}", "0.5 to 1")
        _expect(self.name, -1 < self.above < 1, f"above={self.above}", "-1 to 1")
        _expect_loss(self.name, self.metric)
        try:
            load_suite(self.tasks)
        except UserError as error:
            raise ConfigError(f"rules.{self.name}: {error.what}", remedy=error.remedy) from error

    def check(self, evidence: Evidence, seed: int, replicates: int) -> Finding:
        from tsfm.tracking.promotion.evidence import skill

        found = evidence.suites
        if found is None or found.problems:
            told = "; ".join(found.problems) if found else f"{self.tasks} was not asked"
            return _missing(self.name, told)
        rest = f"; without {', '.join(found.left_out)}" if found.left_out else ""
        if found.scores is None:
            return _missing(self.name, f"no task of {self.tasks} that both answer{rest}")
        own = skill(
            found.scores, evidence.candidate, evidence.rival, metric=self.metric,
            confidence=self.confidence, replicates=replicates, seed=seed, families=found.families,
        )  # fmt: skip
        return Finding(
            rule=self.name,
            passed=own.low > self.above,
            told=f"{self.metric} against {evidence.rival} on {self.tasks} {own}, at "
            f"{self.confidence:.4g} confidence; its lower end must exceed {self.above:+.1%}{rest}",
            numbers={
                "skill": own.value, "low": own.low, "high": own.high, "clusters": own.clusters,
            },
        )  # fmt: skip


RULES: tuple[type[Any], ...] = (
    SkillRule, BaselineRule, TasksRule, CalibrationRule, LeakageRule, LatencyRule, SizeRule,
    ReloadRule, LooksRule, SuiteRule,
)  # fmt: skip


def _skill(
    evidence: Evidence, rival: str, metric: str, confidence: float, replicates: int, seed: int
) -> Skill:
    from tsfm.tracking.promotion.evidence import skill

    return skill(
        evidence.scores, evidence.candidate, rival,
        metric=metric, confidence=confidence, replicates=replicates, seed=seed,
    )  # fmt: skip


def _at_most(rule: str, value: float, limit: float, unit: str) -> Finding:
    return Finding(
        rule=rule,
        passed=value <= limit,
        told=f"{value:.4g} {unit}; at most {limit:g}",
        numbers={rule: float(value)},
    )


def _missing(rule: str, told: str) -> Finding:
    return Finding(rule=rule, passed=False, told=told, numbers={})


def _expect(rule: str, holds: bool, given: str, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"rules.{rule}: {given} is not allowed", remedy=f"give {allowed}")


def _expect_loss(rule: str, metric: str) -> None:
    from tsfm.evaluation.metric_names import RANKING_NAMES
    from tsfm.evaluation.metrics import OF_ATTRACTORS

    one_of(f"rules.{rule}.metric", metric, (*RANKING_NAMES, *OF_ATTRACTORS))
