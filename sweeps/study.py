"""One study in its storage: what it is of, who takes its next trial, what becomes of dead ones."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.parameters import SearchParameter
from sweeps.plan import Plan
from sweeps.pruners import make_pruner
from sweeps.samplers import make_sampler, reseed
from sweeps.space import value_of
from sweeps.storage import SweepStorage
from tsfm.errors import ConfigError
from tsfm.tracking.environment import Process, host_name

if TYPE_CHECKING:
    from optuna.storages._cached_storage import _CachedStorage

PLAN, PARENT = "sweep:plan", "sweep:parent"
FREE, DEATHS, RETRIED = "sweep:free", "sweep:deaths", "sweep:retry_of"
WORKER, RUN_ID, METRICS, KEPT, FAILURE = "worker", "run_id", "metrics", "kept", "failure"
"""User attributes of trials: process, MLflow run, final metrics, whether its model is kept, why it
failed."""

SECONDS_OF_MEMORY = 1.0


class SweepOverError(Exception):
    """No trial is left to be taken."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A trial of this process: what it tries, and the experiment's config for it."""

    trial: optuna.Trial
    point: dict[str, Any]
    config: Any


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a study is."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    infeasible: int = 0
    retried: int = 0
    left: int = 0

    @property
    def done(self) -> int:
        return self.complete + self.pruned + self.failed

    @property
    def is_over(self) -> bool:
        return not (self.left or self.running or self.waiting)


class SweepStudy(optuna.Study):
    """A study whose trials are taken one at a time, up to the plan's number, by any process."""

    def __init__(self, name: str, storage: SweepStorage, plan: Plan) -> None:
        self.plan, self.rdb = plan, storage
        self.base = plan.subject.base(plan.space.fixed)
        sampler = make_sampler(plan.space, plan.space.sampler, self.base, plan.seed)
        super().__init__(name, storage, sampler=sampler, pruner=make_pruner(plan.space.pruner))
        self._seen, self._remembers = 0.0, False
        self.limit = plan.trials
        if hasattr(sampler, "points"):
            sampler.place = self._place  # type: ignore[attr-defined]
            self.limit = min(plan.trials, len(sampler.points))

    # --- taking trials ----------------------------------------------------------------------------

    def take(self) -> Taken:
        """The next trial, this process's own from now on, and all its parameters drawn.

        Points that break a constraint are told to the sampler and do not count.

        Raises
        ------
        SweepOverError
            When none is left.
        ConfigError
            When the sampler finds no point that the constraints allow.
        """
        for _ in range(1000):
            trial = self._asked()
            point = self.plan.space.draw(partial(SearchParameter.suggest, trial=trial), self.base)
            broken = self.plan.space.violations(point, self.base)
            if not broken:
                try:
                    config = self.plan.subject.config({**self.plan.space.fixed, **point})
                    return Taken(trial=trial, point=point, config=config)
                except ConfigError:
                    broken = {"config": 1.0}
            for name, size in broken.items():
                trial.set_constraint(name, size)
            self.rdb.set_trial_system_attr(trial._trial_id, FREE, "infeasible")
            self.tell(trial, state=TrialState.PRUNED)
        raise ConfigError(
            f"the sampler found no point that keeps {', '.join(self.plan.space.constraints)}",
            remedy="loosen the constraints, or give sampler=random",
        )

    def is_hopeless(self, trial: optuna.Trial) -> bool:
        """Whether the pruner gives a trial up; it sees other trials as of a second ago or less."""
        if time.monotonic() - self._seen > SECONDS_OF_MEMORY:
            self._thread_local.cached_all_trials, self._seen = None, time.monotonic()
        self._remembers = True
        try:
            return trial.should_prune()
        finally:
            self._remembers = False

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        return super()._get_trials(deepcopy, states, use_cache or self._remembers)

    def _asked(self) -> optuna.Trial:
        self._thread_local.in_optimize_loop = True  # heartbeats are this package's
        try:
            return self.ask()
        finally:
            self._thread_local.in_optimize_loop = False

    def _pop_waiting_trial_id(self) -> int:
        """Optuna's hook of ``ask``: under the study's lock, so that no two take the same."""
        owner = Process.current()
        me = f"{owner.host}/{owner.pid}/{owner.started!r}"
        taken = self.rdb.alone(f"sweep/{self.study_name}", partial(self._claimed, me))
        _, number = cast("_CachedStorage", self._storage)._trial_id_to_study_id_and_number[taken]
        reseed(self.sampler, self.plan.seed, number)
        return taken

    def _claimed(self, me: str) -> int:
        """A trial that is this process's from its first heartbeat on."""
        counted, waiting = self.rdb.tally(self._study_id, FREE)
        if waiting is None:
            if counted >= self.limit:
                raise SweepOverError
            fresh = create_trial(state=TrialState.RUNNING, user_attrs={WORKER: me})
            taken = self._storage.create_new_trial(self._study_id, fresh)
        elif self._storage.set_trial_state_values(waiting, state=TrialState.RUNNING):
            taken = waiting
            self.get_trials(deepcopy=False)  # Optuna's cache must know it: others may have made it
            self._storage.set_trial_user_attr(taken, WORKER, me)
        else:
            return self._claimed(me)
        self.rdb.record_heartbeat(taken)
        return taken

    def _place(self, trial: FrozenTrial) -> int:
        """A trial's place among those that count."""
        earlier = self.get_trials(deepcopy=False)[: trial.number]
        return sum(FREE not in one.system_attrs for one in earlier)

    # --- standing ---------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """Numbers of trials by what became of them."""
        found = dict.fromkeys(asdict(Standing()), 0)
        counted = 0
        for one in self.get_trials(deepcopy=False):
            mark = one.system_attrs.get(FREE)
            counted += mark is None
            if mark == "infeasible" or mark == "earlier":
                found["infeasible"] += mark == "infeasible"
            elif one.state == TrialState.FAIL and FAILURE not in one.user_attrs:
                found["retried"] += 1
            else:
                found[_COUNTED[one.state]] += 1
        return Standing(**{**found, "left": max(self.limit - counted, 0)})

    def best(self) -> list[FrozenTrial]:
        """The best trial, or those of the Pareto front; empty before one is complete."""
        own = [
            one
            for one in self.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if one.system_attrs.get(FREE) != "earlier"
        ]
        if not own:
            return []
        signs = np.array([1 if one == "minimize" else -1 for one in self.plan.space.directions])
        values = np.array([one.values for one in own]) * signs
        if len(signs) == 1:
            return [own[int(values[:, 0].argmin())]]
        no_worse = (values[:, None] <= values[None]).all(-1)
        better = (values[:, None] < values[None]).any(-1)
        dominated = (no_worse & better).any(0)
        return [one for one, beaten in zip(own, dominated, strict=True) if not beaten]

    def is_best(self, values: Sequence[float]) -> bool:
        """Whether nothing so far is as good (of several objectives: as good in all)."""
        signs = np.array([1 if one == "minimize" else -1 for one in self.plan.space.directions])
        mine = signs * np.array(values)
        return not any((signs * np.array(one.values) <= mine).all() for one in self.best())

    def superseded(self) -> list[FrozenTrial]:
        """Trials whose models were kept and are the best no more."""
        best = {one.number for one in self.best()}
        complete = self.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [one for one in complete if KEPT in one.user_attrs and one.number not in best]

    # --- the dead ---------------------------------------------------------------------------------

    def recover(self) -> list[FrozenTrial]:
        """Take back the trials of processes that died; each is tried again with what it had drawn.

        Of this machine a process is known to be gone; of others a trial is given up after
        ``grace`` seconds without a heartbeat.

        Returns
        -------
        list of FrozenTrial
            Those that were given up.
        """
        return self.rdb.alone(f"sweep/{self.study_name}", self._recovered)

    def _recovered(self) -> list[FrozenTrial]:
        running = self.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        silent = set(self.rdb._get_stale_trial_ids(self._study_id)) if running else set()
        dead = [one for one in running if one._trial_id in silent or self.is_orphan(one)]
        for one in dead:
            self.give_back(one)
        return dead

    def hand_back(self, trial: optuna.Trial) -> None:
        """:meth:`give_back` of this process's own trial, since it is being stopped."""

        def handed_back() -> None:
            frozen = self._storage.get_trial(trial._trial_id)
            if frozen.state == TrialState.RUNNING:
                self.give_back(frozen, counted=False)

        self.rdb.alone(f"sweep/{self.study_name}", handed_back)

    def give_back(self, trial: FrozenTrial, *, counted: bool = True) -> None:
        """End a trial as FAIL, and let it be taken again with the same parameters.

        Parameters
        ----------
        counted
            Whether it is one of the few deaths that a configuration survives.
        """
        deaths = int(trial.system_attrs.get(DEATHS, 0)) + counted
        with suppress(UpdateFinishedTrialError):
            if deaths > self.plan.max_retries:
                died = f"its worker died {deaths} times"
                self._storage.set_trial_user_attr(trial._trial_id, FAILURE, died)
            elif not self._has_retry(trial):
                self.add_trial(_again(trial, deaths))
            self._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)

    def _has_retry(self, trial: FrozenTrial) -> bool:
        """Whether whoever gave it back died in the midst of that."""
        later = self.get_trials(deepcopy=False)[trial.number + 1 :]
        return any(one.system_attrs.get(RETRIED) == trial.number for one in later)

    def is_orphan(self, trial: FrozenTrial) -> bool:
        """Whether the process that took a trial is gone, as far as this machine can tell."""
        host, pid, started = ["", "", "", *trial.user_attrs.get(WORKER, "").rsplit("/", 2)][-3:]
        if started and host == host_name():
            return not Process(host=host, pid=int(pid), started=float(started)).is_alive()
        since = datetime.now() - (trial.datetime_start or datetime.min)
        return not started and abs(since) > timedelta(seconds=self.rdb.grace_period or 60)

    # --- what is tried first ----------------------------------------------------------------------

    def learn_from(self, earlier: Sequence[FrozenTrial]) -> int:
        """Let the sampler know finished trials of another study, where they lie in this space.

        Returns
        -------
        int
            How many were taken over.
        """
        distributions = {name: one.distribution() for name, one in self.plan.space.by_name.items()}
        added = 0
        for one in earlier:
            known = {name: value for name, value in one.params.items() if name in distributions}
            wanted = self.plan.space.draw(partial(value_of, known), self.base)
            if set(wanted) != set(known) or not all(
                self.plan.space.by_name[name].contains(value) for name, value in known.items()
            ):
                continue
            self.add_trial(
                create_trial(
                    state=one.state,
                    values=one.values,
                    params=known,
                    distributions={name: distributions[name] for name in known},
                    user_attrs={"study": one.user_attrs.get("study", "")},
                    system_attrs={FREE: "earlier"},
                    intermediate_values=one.intermediate_values,
                )
            )
            added += 1
        return added

    def await_points(self) -> None:
        """Enqueue the configurations that are tried first."""
        for point in self.plan.space.enqueue:
            self.enqueue_trial(dict(point))


def _again(trial: FrozenTrial, deaths: int) -> FrozenTrial:
    """A waiting trial with what another one had drawn."""
    kept = {
        key: value
        for key, value in trial.system_attrs.items()
        if not key.startswith(("completed_rung", "tpe:", "constraints", "sweep:"))
    }
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs={**kept, FREE: "retry", DEATHS: deaths, RETRIED: trial.number},
    )


_COUNTED = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
