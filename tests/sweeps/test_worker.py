"""Workers: what a trial leaves in study and store, whatever becomes of it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from support.sweeps import plan_of, runs_under, study_of, worked, worker

from sweeps.leading import PUBLISHED, Crew, Leader, parent_run
from sweeps.recipe import Outcome
from sweeps.rehearsal import Rehearsal
from sweeps.study import KEPT, METRICS, RUN_ID, WORKER
from tsfm.errors import ConfigError
from tsfm.tracking.sweep_record import TrialRun


class Modelling(Rehearsal):
    """Leaves a directory as a model."""

    def run(self, config, record, cache):
        outcome = super().run(config, record, cache)
        model = record.directory / "model"
        model.mkdir(parents=True)
        (model / "x").write_text(str(config.x))
        return Outcome(metrics=outcome.metrics, model=model, steps=outcome.steps)


def use(monkeypatch, recipe):
    monkeypatch.setattr("sweeps.recipe.recipe_of", lambda experiment: recipe)


def test_a_trial_is_a_run_under_the_studys(home, client):
    study = study_of(plan_of(trials=8, pruner={"name": "median", "n_startup_trials": 2}))
    runs = runs_under(client, worked(study))
    trials = study.get_trials()
    assert [run.data.tags["sweep.trial"] for run in runs] == [str(one.number) for one in trials]
    states = {one.state for one in trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}
    for run, trial in zip(runs, trials, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags["sweep.state"] == trial.state.name
        assert run.data.tags["sweep.study"] == "trial"
        assert {key: float(value) for key, value in run.data.params.items()} == trial.params
        assert trial.user_attrs[RUN_ID] == run.info.run_id
        reported = client.get_metric_history(run.info.run_id, "value")
        known = [one.value for one in reported][: len(trial.intermediate_values)]
        assert known == list(trial.intermediate_values.values())
        if trial.state == TrialState.COMPLETE:
            assert run.data.metrics["value"] == trial.value
            assert trial.user_attrs[METRICS]["value"] == trial.value
        names = [one.path for one in client.list_artifacts(run.info.run_id)]
        assert names == ["config.yaml"]
    assert not [path for path in (home / "outputs").glob("*") if path.name != "sweeps"]


def test_pruned_trials_stop_at_the_validation_that_prunes_them(home, monkeypatch):
    seen = []

    class Counting(Rehearsal):
        def run(self, config, record, cache):
            steps = []
            seen.append(steps)
            told = record.log_metrics
            record.log_metrics = lambda metrics, step: (steps.append(step), told(metrics, step))
            return super().run(config, record, cache)

    use(monkeypatch, Counting())
    study = study_of(plan_of(trials=8, pruner={"name": "asha"}))
    worked(study)
    for trial, steps in zip(study.get_trials(), seen, strict=True):
        assert len(steps) == len(trial.intermediate_values)
        assert (len(steps) < 10) == (trial.state == TrialState.PRUNED)


def test_models_of_the_best_only_are_kept(home, client, monkeypatch):
    use(monkeypatch, Modelling())
    study = study_of(plan_of(trials=12, seed=2))
    runs = runs_under(client, worked(study))
    (best,) = study.best()
    assert best.value == min(one.value for one in study.get_trials())
    assert sum(KEPT in one.user_attrs for one in study.get_trials()) > 1
    for run in runs:
        kept = [one.path for one in client.list_artifacts(run.info.run_id, "checkpoint")]
        own = int(run.data.tags["sweep.trial"]) == best.number
        assert kept == (["checkpoint/x"] if own else [])
    assert not list((home / "outputs").glob("*/model"))


def test_of_several_objectives_the_front_is_kept(home, client, monkeypatch):
    use(monkeypatch, Modelling())
    study = study_of(plan_of(trials=12, objectives=["value", "cost"]))
    runs = runs_under(client, worked(study))
    kept = {
        int(run.data.tags["sweep.trial"])
        for run in runs
        if client.list_artifacts(run.info.run_id, "checkpoint")
    }
    assert kept == {one.number for one in study.best()}
    assert len(kept) > 1


def test_a_trial_that_fails_is_told_and_counts(home, client):
    study = study_of(plan_of(trials=6, fixed={"fail_above": 0.5}))
    runs = runs_under(client, worked(study))
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert len(failed) == sum(one.params["x"] > 0.5 for one in study.get_trials())
    assert failed
    for run in failed:
        assert run.data.tags["sweep.state"] == "FAIL"
        assert "is above 0.5" in run.data.tags["failure"]
        assert "failure.txt" in [one.path for one in client.list_artifacts(run.info.run_id)]
    assert study.standing().is_over


def test_where_everything_fails_the_sweep_ends(home):
    study = study_of(plan_of(trials=20, fixed={"fail_above": -9}))
    with pytest.raises(ConfigError, match=r"5 trials in a row failed.*is above"):
        worked(study)
    assert study.standing().failed == 5


def test_values_that_are_no_numbers_fail(home, monkeypatch):
    class Lost(Rehearsal):
        def run(self, config, record, cache):
            return Outcome(metrics={"value": float("nan")})

    use(monkeypatch, Lost())
    study = study_of(plan_of(trials=1))
    worked(study)
    assert study.get_trials()[0].user_attrs["failure"] == "ArithmeticError: value is nan"


def test_an_interrupted_trial_waits_to_be_tried_again(home, client, monkeypatch):
    class Interrupted(Rehearsal):
        def run(self, config, record, cache):
            raise KeyboardInterrupt

    study = study_of(plan_of(trials=2))
    with monkeypatch.context() as interrupting:
        use(interrupting, Interrupted())
        with pytest.raises(KeyboardInterrupt):
            worked(study)
    (run,) = runs_under(client, study.user_attrs["sweep:parent"])
    assert (run.info.status, run.data.tags["sweep.state"]) == ("KILLED", "KILLED")
    assert [one.state for one in study.get_trials()] == [TrialState.FAIL, TrialState.WAITING]
    worked(study)
    first, second, _ = study.get_trials()
    assert second.params == first.params
    assert study.standing().complete == 2


@pytest.mark.parametrize("cut", ["finish", "begin", "tell"])
def test_what_a_killed_worker_left_is_mended(home, client, monkeypatch, cut):
    """Cut before MLflow's end, before the study knows the run, before the study knows the end."""

    def killed(*_, **__):
        raise SystemError

    study = study_of(plan_of(trials=1))
    with monkeypatch.context() as killing, parent_run(study, Crew(), {}) as record:
        if cut == "finish":
            killing.setattr(TrialRun, "finish", killed)
        elif cut == "begin":
            killing.setattr("optuna.Trial.set_user_attr", killed)
        else:
            killing.setattr(study, "tell", killed)
            killing.setattr(TrialRun, "finish", killed)
        killing.setattr(TrialRun, "log_text", killed)
        with pytest.raises(SystemError):
            worker(study, record.uri).work()
        client.set_terminated(runs_under(client, record.run_id)[0].info.run_id, "FAILED")
    monkeypatch.setattr("tsfm.tracking.environment.Process.is_alive", lambda self: False)
    with parent_run(study, Crew(), {}) as record:
        Leader(study, record).progress()
        worker(study, record.uri).work()
    runs = runs_under(client, record.run_id)
    states = [(run.info.status, run.data.tags["sweep.state"]) for run in runs]
    if cut == "finish":
        assert states == [("FINISHED", "COMPLETE")]
        assert runs[0].data.metrics["value"] == study.best()[0].value
    else:
        assert states == [("KILLED", "KILLED"), ("FINISHED", "COMPLETE")]
        assert runs[0].data.params == runs[1].data.params or not runs[0].data.params
    assert study.standing().complete == 1


@pytest.mark.parametrize("told", [False, True])
def test_what_a_lost_machine_left_is_mended(home, client, told):
    """Its worker died in the midst of a trial, or between the study's end of it and MLflow's."""
    study = study_of(plan_of(trials=1))
    with parent_run(study, Crew(), {}) as record:
        leader = Leader(study, record)
        taken = study.take()
        run = leader.parent.begin(taken.trial.number, taken.point, lambda *_: None)
        study.rdb.set_trial_user_attr(taken.trial._trial_id, WORKER, "elsewhere/1/1.0")
        if told:
            study.tell(taken.trial, 0.5)
            leader.settle()
            assert client.get_run(run.run_id).info.status == "RUNNING"
        study.rdb.grace_period = -1
        leader.progress()
        left = client.get_run(run.run_id)
        states = (left.info.status, left.data.tags["sweep.state"])
        assert states == (("FINISHED", "COMPLETE") if told else ("KILLED", "KILLED"))


def test_a_model_that_was_registered_before_a_kill_is_not_registered_again(
    home, client, monkeypatch
):
    use(monkeypatch, Modelling())
    study = study_of(plan_of(trials=2))
    worked(study)
    (best,) = study.best()
    with parent_run(study, Crew(), {}) as record:
        client.create_registered_model("m")
        client.create_model_version("m", "file:///x", run_id=best.user_attrs[RUN_ID])
        Leader(study, record).finish()
    assert study.user_attrs[PUBLISHED] == [best.number]
    assert len(client.search_model_versions("name = 'm'")) == 1


class Dead(BaseException):
    """Stands for SIGKILL: nothing that runs after it may write."""


WRITES = ("log_batch", "log_metric", "log_figure", "set_tag", "delete_tag", "set_terminated")


def dies_after(patch: pytest.MonkeyPatch, writes: int) -> None:
    """From now on this process writes so often to MLflow, and never again."""
    left = [writes]

    def wrapped(write):
        def call(*given, **named):
            if not left[0]:
                raise Dead
            left[0] -= 1
            return write(*given, **named)

        return call

    for name in WRITES:
        method = f"mlflow.MlflowClient.{name}"
        patch.setattr(method, wrapped(getattr(MlflowClient, name)))


@pytest.mark.parametrize("then", [0, 1, 2, 3, None])
@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_trial_whose_end_is_cut_at_any_write_is_mended(home, client, monkeypatch, writes, then):
    """Of its worker, and then of who mends it."""
    study = study_of(plan_of(trials=1))
    told = study.tell
    with parent_run(study, Crew(), {}) as record:
        with monkeypatch.context() as killing:
            after_told = lambda *a, **k: (told(*a, **k), dies_after(killing, writes))
            killing.setattr(study, "tell", after_told)
            with suppress(Dead):
                worker(study, record.uri).work()
        monkeypatch.setattr("tsfm.tracking.environment.Process.is_alive", lambda self: False)
        with monkeypatch.context() as killing, suppress(Dead):
            if then is not None:
                dies_after(killing, then)
            Leader(study, record).settle()
        Leader(study, record).finish()
    (run,) = runs_under(client, record.run_id)
    assert (run.info.status, run.data.tags["sweep.state"]) == ("FINISHED", "COMPLETE")
    assert run.data.metrics["value"] == study.best()[0].value


def test_only_who_joins_works_beside_another(home, monkeypatch):
    study = study_of(plan_of(trials=2))
    with parent_run(study, Crew(), {}) as record:
        monkeypatch.setattr("tsfm.tracking.lifecycle.Process.current", lambda: None)
        with pytest.raises(Exception, match="join=true"), parent_run(study, Crew(), {}):
            pass
        with parent_run(study, Crew(join=True), {}) as joined:
            assert joined.run_id == record.run_id
        assert record.client.get_run(record.run_id).info.status == "RUNNING"
