"""Every pruner by name stops what is unpromising, and never the best."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState
from support.sweeps import plan_of, study_of, worked

LINE = [0.9, 1.1, -3.0, 3.0, -2.5, 2.5, 1.0, -2.0, 2.0, -1.5, -2.8, 2.8]


@pytest.mark.parametrize(
    "pruner",
    [
        {"name": "asha"},
        {"name": "hyperband", "min_resource": 1, "max_resource": 10},
        {"name": "median", "n_startup_trials": 2},
        {"name": "wilcoxon", "n_startup_steps": 4},
    ],
    ids=lambda spec: spec["name"],
)
def test_the_unpromising_are_stopped_and_the_best_is_not(home, pruner):
    points = [{"x": x, "y": 1.0} for x in LINE]
    study = study_of(plan_of(trials=len(LINE), pruner=pruner, enqueue=points))
    worked(study)
    pruned = [one for one in study.get_trials() if one.state == TrialState.PRUNED]
    assert pruned
    assert len(pruned) + len(study.get_trials(states=[TrialState.COMPLETE])) == len(LINE)
    assert all(1 <= len(one.intermediate_values) < 10 for one in pruned)
    assert all(abs(one.params["x"] - 1) > 0.1 for one in pruned)
    (best,) = study.best()
    assert best.params == {"x": 1.0, "y": 1.0}
