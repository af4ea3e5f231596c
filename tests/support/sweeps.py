"""Studies of a function that costs nothing, in the working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeps.leading import Crew, parent_run
from sweeps.opening import open_study
from sweeps.plan import Plan
from sweeps.space import Space
from sweeps.storage import SweepStorage, address
from sweeps.study import SweepStudy
from sweeps.worker import Worker, WorkerSpec

ROOT = Path(__file__).resolve().parents[2]
LINE = {"low": -3.0, "high": 3.0}
SPACE: dict[str, Any] = {"parameters": {"x": LINE, "y": LINE}, "objectives": ["value"]}


def plan_of(trials: int = 6, seed: int = 0, **space: Any) -> Plan:
    values = {**SPACE, "sampler": "random", **space}
    return Plan(
        experiment="rehearsal", space=Space.read(values, where="here"), trials=trials, seed=seed
    )


def study_of(plan: Plan, name: str = "trial", uri: str = "", **options: Any) -> SweepStudy:
    return open_study(SweepStorage(address(uri)), name, plan, **options)


def worked(study: SweepStudy, **crew: Any) -> str:
    """All trials in this process; the id of the study's run."""
    with parent_run(study, Crew(**crew), {}) as record:
        worker(study, record.uri).work()
        return record.run_id


def worker(study: SweepStudy, tracking: str) -> Worker:
    spec = WorkerSpec(
        storage=study.rdb.uri,
        study=study.study_name,
        tracking=tracking,
        directory=os.getcwd(),
    )
    return Worker(spec, study)


def history(study: SweepStudy) -> list[tuple[Any, ...]]:
    """What every trial tried, and what came of it."""
    return [
        (one.number, one.state.name, one.params, one.values, one.intermediate_values)
        for one in study.get_trials()
    ]


def command(
    home: Path, *words: str, before: Callable[[], None] | None = None, **variables: str
) -> subprocess.Popen[str]:
    """A sweep as a process of its own; ``before`` is called in it first."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "experiments.sweep", *words],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Until it holds; its value."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it never came to that")


def runs_under(client: Any, run_id: str) -> list[Any]:
    """Of all trials, the first first."""
    experiment = client.get_run(run_id).info.experiment_id
    under = f"tags.`mlflow.parentRunId` = '{run_id}'"
    found = client.search_runs([experiment], under, max_results=5000)
    return sorted(found, key=lambda run: int(run.data.tags["sweep.trial"]))


def written(path: Path, **space: Any) -> Path:
    """A space's file."""
    path.write_text(json.dumps({**SPACE, **space}))
    return path
