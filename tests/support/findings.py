"""Studies that never ran: trials of a known function, judged at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from sweeps.findings import Findings
from sweeps.space import Space
from sweeps.study import FAILURE, FREE, Standing

PARAMETERS: dict[str, Any] = {
    "lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "mask_ratio": {"low": 0.1, "high": 0.6},
    "patch_sizes": ["8,16", "16,32", "16,32,64"],
    "model.mixer": ["attention", "none"],
    "model.heads": {"choices": [1, 2, 4], "when": "mixer == 'attention'"},
}
CRPS = "validation_crps"
SIZE = {"metric": "parameters", "direction": "minimize"}
SPEED = {"metric": "tokens_per_second", "direction": "maximize"}


def findings(
    n: int,
    objectives: tuple[Any, ...] = (CRPS,),
    *,
    parameters: dict[str, Any] | None = None,
    pruned: int = 0,
    failed: int = 0,
    free: int = 0,
    diverged: int = 0,
    reports: int = 4,
    base: dict[str, Any] | None = None,
) -> Findings:
    """``n`` complete trials, then pruned ones (after half of the reports), failed ones, and points
    that do not count; ``diverged`` of the complete ones are a thousand times worse."""
    space = Space.read(
        {"parameters": parameters or PARAMETERS, "objectives": list(objectives)}, where="test"
    )
    study = optuna.create_study(
        directions=space.directions, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for number in range(n + pruned + failed + free):
        trial = study.ask()
        point = space.draw(lambda one, t=trial: t._suggest(one.name, one.distribution()), {})
        value = crps(point) * (1000 if number < diverged else 1)
        if number >= n + pruned + failed:
            study._storage.set_trial_system_attr(trial._trial_id, FREE, "infeasible")
            study.tell(trial, state=TrialState.PRUNED)
            continue
        if number >= n + pruned:
            trial.set_user_attr(FAILURE, "out of memory")
            study.tell(trial, state=TrialState.FAIL)
            continue
        if len(objectives) == 1:
            for step in range(1, reports + 1 if number < n else reports // 2 + 1):
                trial.report(value * (1 + 1 / step), step)
        if number >= n:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        values = [value, 1e4 / value, 10 * point.get("mask_ratio", 1.0)]
        study.tell(trial, values[: len(objectives)])
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    several = len(objectives) > 1
    looked_at = SimpleNamespace(
        study_name="test <study>",
        plan=SimpleNamespace(space=space),
        get_trials=study.get_trials,
        best=lambda: (study.best_trials if several else [study.best_trial]) if complete else [],
        standing=lambda: Standing(complete=n, pruned=pruned, failed=failed, infeasible=free),
        base=base or {},
    )
    return Findings.of(looked_at)  # type: ignore[arg-type]


def crps(point: dict[str, Any]) -> float:
    """Depends on the learning rate most, on the mask ratio less, on nothing else."""
    rate = np.log10(point["lr"] / 1.5e-3) if "lr" in point else 0.0
    return float(0.05 + 0.03 * rate**2 + 0.02 * (point.get("mask_ratio", 0.3) - 0.3) ** 2)
