"""Studies: trials are taken once, given back when their worker dies, and drawn the same again."""

from __future__ import annotations

import threading

import optuna
import pytest
from optuna.trial import TrialState
from support.sweeps import LINE, history, plan_of, study_of, worked

from sweeps.opening import check_feasible, check_objectives, load_study
from sweeps.pruners import check_pruner
from sweeps.study import FAILURE, FREE, WORKER, SweepOverError
from tsfm.errors import ConfigError

DEAD = "elsewhere/1/1.0"


def test_no_more_trials_than_planned_are_taken_and_none_twice(home):
    study_of(plan_of(trials=12))
    taken: list[int] = []

    def take():
        study = load_study(f"sqlite:///{home}/sweeps.db", "trial")
        while True:
            try:
                taken.append(study.take().trial.number)
            except SweepOverError:
                return

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(12))


def test_a_dead_workers_trial_is_tried_again_with_what_it_drew(home, monkeypatch):
    study = study_of(plan_of(trials=2))
    first = study.take()
    monkeypatch.setattr("tsfm.tracking.environment.Process.is_alive", lambda self: False)
    (given,) = study.recover()
    assert given.number == first.trial.number
    assert study.recover() == []
    again = study.take()
    assert again.point == first.point
    assert again.trial.number == 1
    study.tell(again.trial, 0.5)
    other = study.take()
    assert other.point != first.point
    study.tell(other.trial, 0.4)
    with pytest.raises(SweepOverError):
        study.take()
    assert study.standing().is_over
    assert (study.standing().complete, study.standing().retried) == (2, 1)


def test_a_configuration_that_kills_its_workers_is_given_up(home, monkeypatch):
    study = study_of(plan_of(trials=1))
    monkeypatch.setattr("tsfm.tracking.environment.Process.is_alive", lambda self: False)
    for _ in range(4):
        study.take()
        study.recover()
    assert study.standing().is_over
    assert study.standing().failed == 1
    (last,) = [one for one in study.get_trials() if FAILURE in one.user_attrs]
    assert "died 4 times" in last.user_attrs[FAILURE]


def test_trials_of_other_machines_are_taken_back_when_their_hearts_stop(home):
    study = study_of(plan_of(trials=1))
    taken = study.take()
    study.rdb.set_trial_user_attr(taken.trial._trial_id, WORKER, DEAD)
    assert study.recover() == []
    study.rdb.grace_period = -1
    assert len(study.recover()) == 1


def test_giving_back_that_was_cut_short_doubles_nothing(home, monkeypatch):
    study = study_of(plan_of(trials=1))
    study.take()
    monkeypatch.setattr("tsfm.tracking.environment.Process.is_alive", lambda self: False)
    with monkeypatch.context() as cut:
        cut.setattr(study._storage, "set_trial_state_values", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study.recover()
    study.recover()
    states = [one.state for one in study.get_trials()]
    assert states == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.parametrize("sampler", ["random", "tpe,n_startup_trials=3", "gp,n_startup_trials=3",
                                     "cmaes", "nsga2,population_size=4"])  # fmt: skip
def test_a_serial_sweep_is_the_same_again_also_when_it_was_interrupted(home, sampler):
    name, *options = sampler.split(",")
    spec = {"name": name, **{k: int(v) for k, v in (one.split("=") for one in options)}}

    def run(study_name, parts):
        for trials in parts:
            study = study_of(plan_of(trials=trials, sampler=spec), name=study_name)
            while True:
                try:
                    taken = study.take()
                except SweepOverError:
                    break
                study.tell(taken.trial, taken.config.value)
        return [(one.params, one.values) for one in study.get_trials()]

    whole = run("whole", (9,))
    assert len(whole) == 9
    assert len({str(params) for params, _ in whole}) == 9
    assert run("again", (9,)) == whole
    if name != "gp":  # it starts fitting from its last fit
        assert run("broken", (2, 5, 9)) == whole
    assert [params for params, _ in run("other", (9,))] == [params for params, _ in whole]


def test_pruning_and_values_are_the_same_again(home):
    first = study_of(plan_of(trials=12, pruner={"name": "asha", "min_resource": 1}), name="a")
    second = study_of(plan_of(trials=12, pruner={"name": "asha", "min_resource": 1}), name="b")
    worked(first)
    worked(second)
    assert history(first) == history(second)
    states = [one.state for one in first.get_trials()]
    assert TrialState.PRUNED in states
    assert TrialState.COMPLETE in states


def test_infeasible_points_are_told_to_the_sampler_and_do_not_count(home):
    study = study_of(plan_of(trials=5, constraints={"half": "x <= 0"}))
    points = []
    for _ in range(5):
        taken = study.take()
        points.append(taken.point)
        study.tell(taken.trial, 1.0)
    assert all(point["x"] <= 0 for point in points)
    infeasible = [one for one in study.get_trials() if one.system_attrs.get(FREE) == "infeasible"]
    assert infeasible
    for one in infeasible:
        assert one.state == TrialState.PRUNED
        assert one.constraints["half"] == pytest.approx(one.params["x"])
    assert study.standing().infeasible == len(infeasible)
    assert study.standing().is_over


def test_a_space_without_a_feasible_point_is_refused():
    plan = plan_of(constraints={"no": "x > 3", "yes": "y < 9"})
    with pytest.raises(ConfigError, match=r"every breaks no: x > 3"):
        check_feasible(plan, plan.subject.base({}))


def test_what_the_experiment_refuses_everywhere_is_told():
    plan = plan_of(parameters={"reports": {"low": -9, "high": -1}})
    with pytest.raises(ConfigError, match="below zero"):
        check_feasible(plan, plan.subject.base({}))


def test_objectives_must_be_measured():
    with pytest.raises(ConfigError, match="value, distance, cost"):
        check_objectives(plan_of(objectives=["crps"]))
    with pytest.raises(ConfigError, match="pruner=asha"):
        check_objectives(plan_of(objectives=["distance"], pruner="asha"))


def test_a_grid_is_walked_once_around_infeasible_and_dead_trials(home, monkeypatch):
    grid = {"low": -1.0, "high": 1.0, "step": 1.0}
    plan = plan_of(trials=99, sampler="grid", parameters={"x": grid, "y": grid},
                   constraints={"sum": "x + y < 2"})  # fmt: skip
    study = study_of(plan)
    assert study.limit == 8
    points = []
    with monkeypatch.context() as killing:
        study.take()
        killing.setattr("tsfm.tracking.environment.Process.is_alive", lambda self: False)
        study.recover()
    while True:
        try:
            taken = study.take()
        except SweepOverError:
            break
        points.append((taken.point["x"], taken.point["y"]))
        study.tell(taken.trial, 0.0)
    assert len(points) == len(set(points)) == 8
    assert study.standing().is_over


def test_enqueued_points_come_first_and_count(home):
    study = study_of(plan_of(trials=3, enqueue=[{"x": 1.0, "y": 1.0}, {"x": 2.0}]))
    first, second = study.take(), study.take()
    assert first.point == {"x": 1.0, "y": 1.0}
    assert second.point["x"] == 2.0
    study.take()
    with pytest.raises(SweepOverError):
        study.take()


def test_a_new_study_learns_from_an_earlier_one(home):
    earlier = study_of(plan_of(trials=6), name="earlier")
    worked(earlier)
    narrow = {"x": {"low": -1.0, "high": 3.0}, "y": LINE}
    study = study_of(plan_of(trials=2, parameters=narrow), name="later", warm_start="earlier")
    kept = [one for one in earlier.get_trials() if one.params["x"] >= -1]
    known = [one for one in study.get_trials() if one.system_attrs.get(FREE) == "earlier"]
    assert [one.params for one in known] == [one.params for one in kept]
    assert [one.values for one in known] == [one.values for one in kept]
    assert study.best() == []
    worked(study)
    assert study.standing().complete == 2
    with pytest.raises(ConfigError, match="warm_start=nowhere is not in the storage"):
        study_of(plan_of(), name="more", warm_start="nowhere")


def test_several_objectives_have_a_front(home):
    study = study_of(plan_of(trials=15, objectives=["value", {"metric": "cost"}]))
    worked(study)
    front = {one.number for one in study.best()}
    assert front == {one.number for one in study.best_trials}
    with pytest.raises(ConfigError, match="pruner=none"):
        check_pruner({"name": "median"}, 2)


def test_a_study_of_something_else_is_refused(home):
    study_of(plan_of())
    with pytest.raises(ConfigError, match="minimize value, not maximize value"):
        study_of(plan_of(objectives=[{"metric": "value", "direction": "maximize"}]))
    with pytest.raises(ConfigError, match=r"version of the space: parameters\.x was"):
        study_of(plan_of(parameters={"x": {"low": 0.0, "high": 1.0}, "y": LINE}))
    with pytest.raises(ConfigError, match=r"fixed\.seed was absent, now 3"):
        study_of(plan_of(fixed={"seed": 3}))
    assert study_of(plan_of(trials=9, sampler="tpe", seed=4)).plan.trials == 9
    optuna.create_study(storage=f"sqlite:///{home}/sweeps.db", study_name="foreign").add_trial(
        optuna.create_trial(value=1.0)
    )
    with pytest.raises(ConfigError, match="no sweep of this project"):
        study_of(plan_of(), name="foreign")
