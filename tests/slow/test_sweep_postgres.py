"""Two machines on one PostgreSQL, and a database that goes away in the midst."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from optuna.trial import TrialState
from support.sweeps import command, runs_under, wait_for, written

from sweeps.opening import load_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


class Postgres:
    """A server of its own in a temporary folder."""

    def __init__(self, folder: str) -> None:
        found = shutil.which("initdb") or (str(PROGRAMS[-1]) if PROGRAMS else None)
        if found is None:
            pytest.skip("initdb is not found: install postgresql")
        self.folder, self.programs = folder, Path(found).parent
        self.user = "postgres" if os.geteuid() == 0 else getpass.getuser()
        if os.geteuid() == 0:
            shutil.chown(folder, self.user)
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]
        self._run("initdb", "-D", f"{folder}/data", "-U", self.user, "--auth=trust", "--no-sync")
        self.address = f"postgresql://{self.user}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._control("-l", f"{self.folder}/log", "-o", options, "start")

    def stop(self) -> None:
        self._control("-m", "immediate", "stop")

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", *words)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.programs / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def postgres():
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(folder)
        server.start()
        yield server
        server.stop()


def sweep(place: Path, postgres: Postgres, home: Path, trials: int):
    return command(
        place, "experiment=rehearsal", f"space={home}/space.yaml", "study=s", f"trials={trials}",
        f"storage={postgres.address}", "join=true", "pruner=median",
        "overrides=heartbeat=2 grace=6",
        MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db",
    )  # fmt: skip


def test_two_machines_share_a_study_whose_database_goes_away(home, empty_database, postgres):
    from mlflow import MlflowClient

    shutil.copy(empty_database, home / "mlflow.db")
    written(home / "space.yaml", fixed={"seconds": 0.5}, sampler="tpe")
    places = [home / "one", home / "two"]
    for place in places:
        place.mkdir()
    trials = 16
    machines = [sweep(place, postgres, home, trials) for place in places]

    def ended() -> int:
        try:
            study = load_study(postgres.address, "s")
        except Exception:
            return 0
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(study.get_trials(states=states))

    wait_for(lambda: ended() >= 3, 150)
    postgres.stop()
    postgres.start()
    told = [machine.communicate(timeout=200) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    study = load_study(postgres.address, "s")
    assert study.standing().is_over
    assert ended() == trials
    workers = {one.user_attrs["worker"] for one in study.get_trials()}
    assert len(workers) == 2
    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")
    parent = study.user_attrs["sweep:parent"]
    runs = runs_under(client, parent)
    assert client.get_run(parent).info.status == "FINISHED"
    kept = [run for run in runs if run.info.status == "FINISHED"]
    assert len(kept) == trials
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    assert not list(home.glob("*/sweeps.db"))
