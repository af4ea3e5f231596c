"""A sweep from the outside: its run, its workers, what becomes of its best trial."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from sweeps.cluster_config import ClusterConfig
from sweeps.launcher import launcher_of
from sweeps.recipe import Cache, recipe_of
from sweeps.study import FAILURE, METRICS, PARENT, RUN_ID, WORKER, Standing, SweepStudy
from sweeps.worker import WorkerSpec
from tsfm.errors import ConfigError, TrackingError
from tsfm.tracking import store
from tsfm.tracking.environment import host_name
from tsfm.tracking.experiment import OUTPUTS
from tsfm.tracking.reaper import reap
from tsfm.tracking.runs import MlflowRun, artifact
from tsfm.tracking.sweep_record import CHECKPOINT, Parent, attached, end_as_finished, is_led

if TYPE_CHECKING:
    from tsfm.tracking.registry import LoggedForecaster

PUBLISHED, REPORTED = "sweep:published", "sweep:reported"
SECONDS_TO_PUBLISH = 3600.0
"""For which others wait while one publishes the best model and reports."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """How the trials are run on this machine.

    Attributes
    ----------
    launcher, workers
        Who starts how many.
    threads
        Of each worker; 0: its share of the cores.
    join
        Whether others may be at work on the study already.
    cluster
        What a worker is given where a cluster starts it.
    """

    launcher: str = "local"
    workers: int = 1
    threads: int = 0
    join: bool = False
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    @property
    def share(self) -> int:
        return self.threads or max(1, _cores() // self.workers)


def lead(study: SweepStudy, crew: Crew, described: Any) -> MlflowRun:
    """Run a study to its end, with its record in MLflow; the best model is registered.

    Parameters
    ----------
    described
        Of the sweep's own config; recorded.

    Raises
    ------
    UserError
        When a store is lost, workers keep dying, or somebody else leads the study.
    """
    with parent_run(study, crew, described) as record:
        leader = Leader(study, record)
        spec = WorkerSpec(
            storage=study.rdb.uri,
            study=study.study_name,
            tracking=record.uri,
            directory=str(Path.cwd()),
            threads=crew.share,
            heartbeat=int(study.rdb.heartbeat_interval or 10),
            grace=int(study.rdb.grace_period or 60),
        )
        launcher_of(crew.launcher, crew.cluster).run(spec, crew.workers, leader.progress)
        leader.finish()
    return record


@contextmanager
def parent_run(study: SweepStudy, crew: Crew, described: Any) -> Iterator[MlflowRun]:
    """The study's own run: made, gone on with, or joined where another process leads it."""
    uri = store.connect()
    reap(uri)
    with study.rdb.lock(f"parent/{study.study_name}"):
        known = study.user_attrs.get(PARENT)
        if known and crew.join and is_led(uri, known):
            record, leads = attached(uri, known), False
        else:
            record, leads = _begun(study, uri, known), True
            study.set_user_attr(PARENT, record.run_id)
    if not leads:
        os.environ.pop("MLFLOW_RUN_ID", None)
        yield record
        return
    with record:
        if not known:
            record.log_config(described)
            record.log_environment(seed=study.plan.seed)
            record.log_text(_yaml(study), "space.yaml")
        yield record


class Leader:
    """What a leading process does between and after trials."""

    def __init__(self, study: SweepStudy, record: MlflowRun) -> None:
        self.study, self.record = study, record
        self.parent = Parent(record.uri, record.run_id, study.study_name)
        self._told: set[int] = {
            one.number for one in study.get_trials(deepcopy=False) if one.state.is_finished()
        }

    def progress(self) -> Standing:
        """Mend what dead workers left, tell what is new, count."""
        self.study.recover()
        self.settle()
        standing = self.study.standing()
        for one in self.study.get_trials(deepcopy=False):
            if one.state.is_finished() and one.number not in self._told:
                self._told.add(one.number)
                self._tell(one, standing)
        return standing

    def settle(self) -> None:
        """End the runs of trials whose processes are gone, as the study knows them."""
        runs = self.parent.unfinished()
        if not runs:
            return
        trials = {one.number: one for one in self.study.get_trials(deepcopy=False)}
        for run_id, number in runs.items():
            trial = trials[number]
            why = trial.user_attrs.get(FAILURE, "")
            died = trial.state == TrialState.FAIL and not why
            if trial.state == TrialState.RUNNING or self._ends_itself(trial, died=died):
                continue
            state = "KILLED" if died else trial.state.name
            self.parent.settle(
                run_id, state, why or ("its worker died; tried again" if died else ""),
                metrics=trial.user_attrs.get(METRICS, {}),
            )  # fmt: skip

    def _ends_itself(self, trial: Any, *, died: bool) -> bool:
        """Whether its worker lives, and is just putting the last into its run.

        Of other machines as their hearts tell: one whose trial was taken back is dead, the others
        have ``grace`` seconds for their last.
        """
        study = self.study
        if trial.user_attrs.get(WORKER, "").startswith(f"{host_name()}/"):
            return not study.is_orphan(trial)
        since = abs(datetime.now() - (trial.datetime_complete or datetime.min))
        return not died and since < timedelta(seconds=study.rdb.grace_period or 60)

    def finish(self) -> None:
        """Once, by the first process that sees the study over: publish, report."""
        from sweeps.report import record_report, show_report

        study = self.study
        self.settle()
        with study.rdb.lock(f"finish/{study.study_name}", seconds=SECONDS_TO_PUBLISH):
            for one in study.superseded():
                self.parent.discard(one.user_attrs[RUN_ID])
            best = study.best()
            mark = [one.number for one in best]
            if mark and study.user_attrs.get(PUBLISHED) != mark:
                for one in best[:1]:
                    published = self._publish(one)
                    if published is not None:
                        print(f"registered  {published.uri}")
                study.set_user_attr(PUBLISHED, mark)
            done = study.standing().done
            if study.user_attrs.get(REPORTED) != done:
                record_report(study, self.record)
                study.set_user_attr(REPORTED, done)
            end_as_finished(self.parent.client, self.record)
        show_report(study, self.record)
        if not best:
            self._expect_sense()

    def _expect_sense(self) -> None:
        """Raise :class:`ConfigError` where trials failed and none was completed."""
        failed = [one for one in self.study.get_trials() if FAILURE in one.user_attrs]
        if failed:
            raise ConfigError(
                f"no trial was completed; the last one failed by {failed[-1].user_attrs[FAILURE]}",
                where=f"study {self.study.study_name}",
                remedy="see failure.txt of their runs; correct space or fixed parameters, and give "
                "the study another name",
            )

    def _publish(self, trial: Any) -> LoggedForecaster | None:
        """The best trial's model, judged on the test tasks that no trial has seen."""
        plan = self.study.plan
        recipe, run_id = recipe_of(plan.experiment), trial.user_attrs[RUN_ID]
        if "kept" not in trial.user_attrs or self._is_registered(run_id):
            return None
        values = {**plan.space.fixed, **trial.params}
        config = plan.subject.config({**values, "register_as": plan.register_as})
        record = MlflowRun(self.parent.client, self.parent.client.get_run(run_id), self.record.uri)
        tags = {"sweep.study": self.study.study_name, "sweep.trial": str(trial.number)}
        model = artifact(self.parent.client, run_id, CHECKPOINT)
        cache = Cache(OUTPUTS / "sweeps" / self.study.study_name)
        published = recipe.publish(config, record, model, cache, tags)
        record.flush()
        return published

    def _is_registered(self, run_id: str) -> bool:
        """Whether whoever published it died before noting that; a version comes last."""
        return bool(self.parent.client.search_model_versions(f"run_id = '{run_id}'"))

    def _tell(self, trial: Any, standing: Standing) -> None:
        if trial.system_attrs.get("sweep:free") in ("infeasible", "earlier"):
            return
        values = ", ".join(f"{value:.5g}" for value in trial.values or ())
        why = trial.user_attrs.get(FAILURE, "")
        line = f"trial {trial.number:4d}  {trial.state.name.lower():8s}  {values}{why[:80]}"
        print(f"{line}  ({standing.done} of {self.study.limit})", file=sys.stderr)


def _begun(study: SweepStudy, uri: str, known: str | None) -> MlflowRun:
    """A new run, or the study's own gone on with."""
    try:
        return MlflowRun.start(
            f"sweep-{study.plan.experiment}",
            entry_point="sweep",
            run_name=None if known else study.study_name,
            tags={"sweep.study": study.study_name, "sweep.space": study.plan.digest},
            resume=known,
            uri=uri,
        )
    except TrackingError as error:
        if not known:
            raise
        raise TrackingError(
            f"study {study.study_name}: {error.what}",
            where=f"MLFLOW_TRACKING_URI={store.masked(uri)}",
            remedy="if others run it, give join=true; if its runs are elsewhere, set "
            "MLFLOW_TRACKING_URI to that store",
        ) from error


def _yaml(study: SweepStudy) -> str:
    import yaml

    return str(yaml.safe_dump(study.plan.space.described(), sort_keys=False, allow_unicode=True))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
