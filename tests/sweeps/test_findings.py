"""What tables and figures are made of: which trials count, how they rank, what mattered."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.trial import TrialState
from support.findings import CRPS, SIZE, SPEED, findings
from support.sweeps import plan_of, study_of

from sweeps.axes import Scale
from sweeps.findings import Findings


def test_points_that_no_constraint_allowed_are_not_shown():
    found = findings(6, pruned=2, failed=1, free=3)
    assert [one.number for one in found.trials] == list(range(9))
    assert len(found.complete) == 6
    assert found.table()["state"].tolist() == 6 * ["complete"] + 2 * ["pruned"] + ["fail"]


def test_trials_of_earlier_studies_and_those_given_back_are_not_shown(home):
    earlier = study_of(plan_of(trials=2), "earlier")
    for value in (1.0, 2.0):
        earlier.tell(earlier.take().trial, value)
    study = study_of(plan_of(trials=2), "later", warm_start="earlier")
    taken = study.take()
    study.hand_back(taken.trial)
    again = study.take()
    study.tell(again.trial, 3.0)
    assert [one.number for one in Findings.of(study).trials] == [again.trial.number]


def test_ranks_go_from_worst_to_best_whatever_the_direction():
    found = findings(20, (CRPS, SPEED))
    assert found.ranks(0)[np.argmin(found.values(0))] == 1
    assert found.ranks(1)[np.argmax(found.values(1))] == 1
    assert found.ranks(1).min() == 0


def test_importance_finds_the_parameter_that_the_function_depends_on():
    found = findings(120)
    for shares in found.importances[0].values():
        assert next(iter(shares)) == "lr"
        assert sum(shares.values()) == pytest.approx(1)
    assert found.ranking()[0].name == "lr"


def test_importance_is_told_for_each_objective_in_its_own_direction():
    crps, size, speed = findings(80, (CRPS, SIZE, SPEED)).importances
    assert next(iter(crps["PED-ANOVA"])) == "lr"
    assert next(iter(speed["PED-ANOVA"])) == "mask_ratio"
    assert set(size) == {"PED-ANOVA", "fANOVA"}


def test_conditional_parameters_have_an_importance_only_where_it_is_defined():
    (found,) = findings(60).importances
    assert "model.heads" in found["PED-ANOVA"]
    assert "model.heads" not in found["fANOVA"]


def test_no_importance_is_told_of_a_handful_of_trials_or_of_one_parameter():
    assert findings(4).importances == [{}]
    assert findings(30, parameters={"lr": {"low": 1e-4, "high": 1e-2}}).importances == [{}]


def test_validations_stand_for_steps_where_those_are_unknown():
    assert findings(3, pruned=2).steps() == (3 * 4 + 2 * 2, 2 * 2)


def test_steps_spared_are_counted_from_the_training_that_was_planned():
    base = {"trainer.max_steps": 600, "trainer.validate_every": 60}
    taken, spared = findings(1, pruned=2, base=base).steps()
    assert taken == 60 * (4 + 2 * 2)
    assert spared == 2 * (600 - 120)


def test_optunas_functions_see_the_trials_under_their_own_numbers():
    found = findings(5, failed=1)
    study = found.plain()
    assert [one.number for one in study.get_trials()] == [0, 1, 2, 3, 4, 5]
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 5
    assert study.best_trials[0].number == found.best[0].number


def test_a_diverged_trial_does_not_flatten_the_axis():
    found = findings(40, diverged=1)
    scale = Scale.of_values(found.values())
    assert not scale.log
    assert scale.high < 1
    assert scale.place(found.values()[0]) == 1


def test_values_over_decades_lie_on_a_logarithmic_axis():
    scale = Scale.of_values(np.logspace(-6, 2, 50))
    assert scale.log
    assert scale.place(1e-2) == pytest.approx(0.5)


def test_an_axis_of_one_value_or_of_none_has_room():
    for values in (np.array([3.0]), np.array([])):
        assert np.isfinite(Scale.of_values(values).place(3.0))
