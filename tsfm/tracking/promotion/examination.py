"""A candidate, its rival and the baselines of a policy, asked the tasks of the vault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.overlap import overlap
from tsfm.data.provenance import Provenance
from tsfm.errors import TrackingError, UserError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.metrics import concat_scores, score
from tsfm.tracking.promotion.evidence import Evidence
from tsfm.tracking.promotion.reload import Reloaded, reloaded
from tsfm.tracking.promotion.suites import ask_suites

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.evaluation.backtest import Backtest
    from tsfm.tracking.promotion.contestant import Contestant
    from tsfm.tracking.promotion.policy import Policy
    from tsfm.tracking.promotion.vault import Vault


@dataclass
class _Answers:
    """What the candidate gave."""

    scores: list[pd.DataFrame] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def examine(
    candidate: Contestant, rival: Contestant | None, vault: Vault, policy: Policy, *, looks: int
) -> Evidence:
    """Ask all tasks of all and collect the evidence.

    A candidate that fails is evidence; a rival that fails is an error.

    Parameters
    ----------
    rival
        The champion; without one the policy's baseline takes its place.

    Raises
    ------
    TrackingError
        When the champion or a baseline cannot answer.
    """
    scores: list[pd.DataFrame] = []
    for name in _baselines(policy, rival):
        scores += _answers_of_baseline(name, vault)
    if rival is not None:
        scores += _answers_of_rival(rival, vault)
    answers = _answers_of_candidate(candidate, vault)
    reload, suite = policy.rule("reload"), policy.rule("suite")
    again, suites = Reloaded(difference=0.0), None
    if reload is not None and not answers.problems:
        again = reloaded(candidate, vault, reload)
    if suite is not None and not answers.problems:
        suites = ask_suites(candidate, rival, policy.baseline, suite)
    provenance = candidate.provenance()
    return Evidence(
        candidate=candidate.name,
        rival=policy.baseline if rival is None else rival.name,
        scores=concat_scores([*answers.scores, *scores]),
        problems=tuple(answers.problems),
        leaks={} if provenance is None else _leaks(provenance, vault),
        unknown_provenance=provenance is None or not provenance.is_complete,
        unknown_bases=() if provenance is None else provenance.unknown,
        milliseconds=1e3 * float(np.mean(answers.seconds)) if answers.seconds else float("nan"),
        megabytes=candidate.megabytes,
        reload_difference=again.difference,
        reload_problem=again.problem,
        looks=looks,
        suites=suites,
    )


def _leaks(provenance: Provenance, vault: Vault) -> dict[str, str]:
    found = {
        task.name: overlap(provenance, panel, task.first_origin or task.context)
        for task, panel in vault.tasks
    }
    return {name: str(seen) for name, seen in found.items() if seen}


def _baselines(policy: Policy, rival: Contestant | None) -> list[str]:
    rule = policy.rule("baseline")
    names = [policy.baseline] * (rival is None) + ([rule.baseline] if rule else [])
    return list(dict.fromkeys(names))


def _answers_of_baseline(name: str, vault: Vault) -> list[pd.DataFrame]:
    from tsfm.models.source import load_local

    try:
        return [score(backtest(load_local(name), task, panel)) for task, panel in vault.tasks]
    except UserError as error:
        raise TrackingError(f"the baseline {name} cannot answer the vault: {error}") from error


def _answers_of_rival(rival: Contestant, vault: Vault) -> list[pd.DataFrame]:
    try:
        model = rival.load()
        return [score(backtest(model, task, panel, name=rival.name)) for task, panel in vault.tasks]
    except Exception as error:
        raise TrackingError(
            f"the champion, version {rival.version}, cannot answer the vault: {error}",
            where=f"registered model {rival.model}",
            remedy="roll back, or delete the alias champion so that the policy's baseline is "
            "the rival",
        ) from error


def _answers_of_candidate(candidate: Contestant, vault: Vault) -> _Answers:
    answers = _Answers()
    try:
        model = candidate.load()
    except Exception as error:
        answers.problems.append(f"it cannot be loaded: {_one_line(error)}")
        return answers
    for task, panel in vault.tasks:
        try:
            result = backtest(model, task, panel, name=candidate.name)
        except Exception as error:
            answers.problems.append(f"{task.name}: {_one_line(error)}")
            continue
        answers.problems += [f"{task.name}: {told}" for told in _flaws(result)]
        answers.seconds.append(result.seconds_per_series)
        answers.scores.append(score(result))
    return answers


def _flaws(result: Backtest) -> list[str]:
    """NaN where something was observed, and quantiles that cross."""
    observed = np.isfinite(result.actual)
    empty = int((observed & ~result.scored).sum())
    crossing = int((result.crossed & observed).sum())
    told = [f"{empty} of {int(observed.sum())} forecasts are NaN"] if empty else []
    return told + ([f"the quantiles of {crossing} forecasts cross"] if crossing else [])


def _one_line(error: Exception) -> str:
    told = " ".join(str(error).split())[:500]
    return told if isinstance(error, UserError) else f"{type(error).__name__}: {told}"
