"""What a study found, as tables and figures need it: finished trials, the best, what mattered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.parameters import SearchParameter
from sweeps.space import Objective, Space
from sweeps.study import FAILURE, FREE, METRICS, RUN_ID, Standing, SweepStudy

if TYPE_CHECKING:
    import pandas as pd

FEWEST_FOR_IMPORTANCE = 8
MOST_FOR_FANOVA = 300
"""Complete trials: below the one an importance is chance, above the other fANOVA takes seconds."""

STEPS, EVERY, WHOLE = "steps", "trainer.validate_every", "trainer.max_steps"
"""Training steps taken, a final metric; parameters: those between validations, those planned."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The finished trials of a study, without points that no constraint allowed, trials of earlier
    studies, and those that were given up to be tried again.

    Attributes
    ----------
    name
        Of the study.
    best
        The best trial, or the Pareto front; empty before one is complete.
    base
        Parameters of the experiment where nothing is searched.
    """

    name: str
    space: Space
    trials: tuple[FrozenTrial, ...]
    best: tuple[FrozenTrial, ...]
    standing: Standing

    base: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, study: SweepStudy) -> Findings:
        """That of a study so far."""
        shown = [one for one in study.get_trials(deepcopy=False, states=FINISHED) if _counts(one)]
        return cls(
            name=study.study_name,
            space=study.plan.space,
            trials=tuple(shown),
            best=tuple(one for one in study.best() if _counts(one)),
            standing=study.standing(),
            base=study.base,
        )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.space.objectives

    @property
    def last(self) -> int:
        """Number of the last trial."""
        return max((one.number for one in self.trials), default=0)

    @cached_property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """Trials with finite values."""
        return tuple(
            one
            for one in self.trials
            if one.state == TrialState.COMPLETE and np.isfinite(one.values).all()
        )

    @cached_property
    def varied(self) -> tuple[SearchParameter, ...]:
        """Parameters that had more than one value among the complete trials."""
        return tuple(
            one
            for one in self.space.parameters
            if len({repr(trial.params.get(one.name)) for trial in self.complete}) > 1
        )

    def values(self, order: int = 0) -> np.ndarray:
        """An objective of the complete trials ``[trials]``."""
        return np.array([one.values[order] for one in self.complete], dtype=float)  # noqa: PD011

    def losses(self, order: int = 0) -> np.ndarray:
        """An objective turned so that less is better ``[trials]``."""
        return self.values(order) * self.sign(order)

    def ranks(self, order: int = 0) -> np.ndarray:
        """Of the complete trials by an objective, from 0 (worst) to 1 (best) ``[trials]``."""
        from scipy.stats import rankdata

        found = rankdata(-self.losses(order))
        return np.asarray((found - 1) / max(len(found) - 1, 1))

    @cached_property
    def importances(self) -> list[dict[str, dict[str, float]]]:
        """Of each objective, by evaluator, parameters with their shares, the largest first.

        PED-ANOVA (Watanabe et al., IJCAI 2023; for conditional parameters arXiv 2601.20800) tells
        what the best tenth has in common; fANOVA (Hutter et al., ICML 2014) the share of the
        variance, of parameters that all trials have. Both are Optuna's. Empty with fewer than
        :data:`FEWEST_FOR_IMPORTANCE` complete trials.
        """
        return [self._importance(order) for order in range(len(self.objectives))]

    def ranking(self, order: int = 0) -> tuple[SearchParameter, ...]:
        """Parameters that varied, the most important first; in the space's order where unknown."""
        shares = next(iter(self.importances[order].values()), {})
        return tuple(sorted(self.varied, key=lambda one: -shares.get(one.name, 0.0)))

    def plain(self, trials: Sequence[FrozenTrial] | None = None) -> optuna.Study:
        """These trials alone, or some of them, as a study for Optuna's functions to look at."""
        return _Shown(self, self.trials if trials is None else trials)

    def steps(self) -> tuple[float, float]:
        """Training steps of complete and pruned trials, and how many more without pruning.

        Where trials did not record them, validations stand for steps.
        """
        tried = [one for one in self.trials if one.state != TrialState.FAIL]
        taken: list[float] = [len(one.intermediate_values) for one in tried]
        planned: list[float] = [max(taken, default=0.0)] * len(tried)
        if all(self._known(WHOLE, one) and self._known(EVERY, one) for one in tried):
            taken = [self._taken(one) for one in tried]
            planned = [self._known(WHOLE, one) for one in tried]
        spared = [
            max(whole - done, 0.0)
            for one, done, whole in zip(tried, taken, planned)
            if one.state == TrialState.PRUNED
        ]
        return float(sum(taken)), float(sum(spared))

    def table(self) -> pd.DataFrame:
        """One row per trial: state, objectives, parameters, steps, seconds, failure, run."""
        import pandas as pd

        rows: list[dict[str, Any]] = [
            {
                "trial": one.number,
                "state": one.state.name.lower(),
                **self._judged(one),
                **{each.name: one.params.get(each.name) for each in self.space.parameters},
                "validations": len(one.intermediate_values),
                "steps": self._taken(one) or None,
                "seconds": one.duration.total_seconds() if one.duration else None,
                "best": one.number in {each.number for each in self.best},
                "failure": one.user_attrs.get(FAILURE, ""),
                "run": one.user_attrs.get(RUN_ID, ""),
            }
            for one in self.trials
        ]
        columns = [
            "trial", "state", *(one.metric for one in self.objectives),
            *(one.name for one in self.space.parameters),
            "validations", "steps", "seconds", "best", "failure", "run",
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    def metrics_of(self, trial: FrozenTrial) -> Mapping[str, float]:
        """Final metrics of a trial."""
        found: Mapping[str, float] = trial.user_attrs.get(METRICS, {})
        return found

    def _judged(self, trial: FrozenTrial) -> dict[str, float | None]:
        """Its objectives; of a pruned trial the last validation."""
        names = [one.metric for one in self.objectives]
        if trial.state == TrialState.COMPLETE:
            return dict(zip(names, trial.values))
        last = trial.intermediate_values.get(trial.last_step) if trial.last_step else None
        return {name: last if len(names) == 1 else None for name in names}

    def _taken(self, trial: FrozenTrial) -> float:
        """Its steps; of a pruned trial those of its validations."""
        found: float | None = self.metrics_of(trial).get(STEPS)
        return found or len(trial.intermediate_values) * self._known(EVERY, trial)

    def _known(self, key: str, trial: FrozenTrial) -> float:
        """A parameter under its own or its last name; 0 where there is none."""
        known = {**self.base, **trial.params}
        return float(known.get(key.rpartition(".")[2]) or known.get(key) or 0)

    def sign(self, order: int = 0) -> float:
        """1 where less is better, -1 where more is."""
        return 1.0 if self.objectives[order].direction == "minimize" else -1.0

    def _importance(self, order: int) -> dict[str, dict[str, float]]:
        from optuna.importance import (
            FanovaImportanceEvaluator,
            PedAnovaImportanceEvaluator,
            get_param_importances,
        )

        names = [one.name for one in self.varied]
        if len(self.complete) < FEWEST_FOR_IMPORTANCE or len(names) < 2:
            return {}
        study, sign = self.plain(), self.sign(order)
        everywhere = [name for name in names if all(name in one.params for one in self.complete)]
        evaluators: list[tuple[str, Any, Sequence[str]]] = [
            ("PED-ANOVA", PedAnovaImportanceEvaluator(), names)
        ]
        if len(self.complete) <= MOST_FOR_FANOVA and len(everywhere) > 1:
            evaluators.append(("fANOVA", FanovaImportanceEvaluator(seed=0), everywhere))
        found = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for label, evaluator, searched in evaluators:
                shares = get_param_importances(
                    study,
                    evaluator=evaluator,
                    params=list(searched),
                    target=lambda one: sign * one.values[order],  # noqa: PD011
                )
                found[label] = {name: float(share) for name, share in shares.items()}
        return found


class _Shown(optuna.Study):
    """Trials under their own numbers, without attributes, which Optuna shows at every point."""

    def __init__(self, findings: Findings, trials: Sequence[FrozenTrial]) -> None:
        directions = [StudyDirection[one.upper()] for one in findings.space.directions]
        made = optuna.create_study(directions=directions)
        super().__init__(made.study_name, made._storage)
        self._shown = [_bare(one) for one in trials]

    def get_trials(
        self,
        deepcopy: bool = True,  # noqa: ARG002
        states: Any = None,
    ) -> list[FrozenTrial]:
        return [one for one in self._shown if states is None or one.state in states]


def _bare(trial: FrozenTrial) -> FrozenTrial:
    bare = copy(trial)
    bare._user_attrs, bare._system_attrs = {}, {}
    return bare


def _counts(trial: FrozenTrial) -> bool:
    if trial.system_attrs.get(FREE) in ("infeasible", "earlier"):
        return False
    return trial.state != TrialState.FAIL or FAILURE in trial.user_attrs
