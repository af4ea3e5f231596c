"""Sweeps whose processes are killed, interrupted, or run out of disk: nothing lost or doubled."""

from __future__ import annotations

import resource
import shutil
import signal
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState
from support.sweeps import command, runs_under, wait_for, written

from sweeps.opening import load_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRIALS = 8


@pytest.fixture
def place(home, empty_database):
    shutil.copy(empty_database, home / "mlflow.db")
    written(home / "space.yaml", fixed={"seconds": 0.7}, sampler="random")
    return home


def sweep(place: Path, *words: str, **variables: str):
    given = ["experiment=rehearsal", "space=space.yaml", "study=s", f"trials={TRIALS}"]
    return command(place, *given, *words, **variables)


def the_study(place: Path):
    try:
        return load_study(f"sqlite:///{place}/sweeps.db", "s")
    except Exception:
        return None


def expect_complete(place: Path, trials: int = TRIALS) -> None:
    """Every trial once, in study and store, and nobody left."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{place}/mlflow.db")
    study = the_study(place)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(complete) == trials
    assert len({str(one.params) for one in complete}) == trials
    lost = study.get_trials(states=(TrialState.FAIL,))
    assert {str(one.params) for one in lost if len(one.params) == 2} <= {
        str(one.params) for one in complete
    }
    assert {one.state for one in study.get_trials()} <= {TrialState.COMPLETE, TrialState.FAIL}
    parent = study.user_attrs["sweep:parent"]
    assert client.get_run(parent).info.status == "FINISHED"
    runs = runs_under(client, parent)
    states = {"COMPLETE": "FINISHED", "KILLED": "KILLED"}
    for run in runs:
        assert run.info.status == states[run.data.tags["sweep.state"]]
    finished = [run for run in runs if run.info.status == "FINISHED"]
    assert sorted(int(run.data.tags["sweep.trial"]) for run in finished) == sorted(
        one.number for one in complete
    )
    for run, trial in zip(finished, sorted(complete, key=lambda one: one.number), strict=True):
        assert run.data.metrics["value"] == trial.value


def finished(place: Path) -> int:
    study = the_study(place)
    return len(study.get_trials(states=(TrialState.COMPLETE,))) if study else 0


def workers_of(process) -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if "sweeps.worker" in one.cmdline()
    ]


def end_well(place: Path, *words: str) -> None:
    again = sweep(place, *words)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, err
    assert "best" in out
    expect_complete(place)


def test_a_killed_worker_is_replaced(place):
    process = sweep(place, "workers=2")
    wait_for(lambda: finished(place) >= 3, 120)
    for worker in workers_of(process)[:1]:
        worker.kill()
    before = finished(place)
    wait_for(lambda: finished(place) >= min(before + 3, TRIALS - 1), 120)
    for worker in workers_of(process):
        worker.kill()
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    expect_complete(place)


def test_a_killed_parent_leaves_no_orphans_and_is_gone_on_with(place):
    process = sweep(place, "workers=2")
    wait_for(lambda: finished(place) >= 3, 120)
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    process.wait()
    psutil.wait_procs(workers, timeout=40)
    assert not [one for one in workers if one.is_running() and one.status() != "zombie"]
    assert finished(place) < TRIALS
    end_well(place)


def test_everything_killed_at_once_again_and_again(place):
    for round_ in range(2):
        process = sweep(place, "workers=2")
        wait_for(lambda done=2 * round_ + 1: finished(place) >= done, 120)
        workers = workers_of(process)
        for one in [*workers, psutil.Process(process.pid)]:
            one.kill()
        process.wait()
    end_well(place)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(place, times):
    process = sweep(place, "workers=2")
    wait_for(lambda: finished(place) >= 2, 120)
    workers = workers_of(process)
    process.send_signal(signal.SIGINT)
    if times == 2:
        process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert not [one for one in workers if one.is_running() and one.status() != "zombie"]
    end_well(place)


@pytest.mark.parametrize("who", ["mlflow.db", "sweeps.db-wal"])
def test_a_full_disk_ends_the_sweep_in_one_line_and_it_goes_on(place, who):
    """A limit on file sizes stands for the disk, as soon as one of the databases meets it."""
    largest = (place / "mlflow.db").stat().st_size + 60_000 if who == "mlflow.db" else 600_000
    if who != "mlflow.db":
        (place / "mlflow.db").unlink()
        largest = 150_000

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    written(place / "space.yaml", sampler="random")
    process = command(
        place, "experiment=rehearsal", "space=space.yaml", "study=s", "trials=60", before=restrict
    )
    _, err = process.communicate(timeout=250)
    assert process.returncode == 2, err
    told = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1, err
    assert "Traceback" not in err
    if who == "mlflow.db":
        done = finished(place)
        assert 0 < done < 60
        again = command(
            place, "experiment=rehearsal", "space=space.yaml", "study=s", f"trials={done + 3}"
        )
        _, err = again.communicate(timeout=250)
        assert again.returncode == 0, err
        expect_complete(place, done + 3)
