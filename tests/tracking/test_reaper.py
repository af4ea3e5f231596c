import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tsfm.tracking.environment import Process, host_name, user_name
from tsfm.tracking.lifecycle import HOST_TAG, PID_TAG, STARTED_TAG
from tsfm.tracking.reaper import reap


@pytest.fixture
def experiment(client):
    return client.create_experiment("trial")


@pytest.fixture
def make_run(client, experiment):
    def make(process=None, age=0.0, tags=None):
        tags = dict(tags or {})
        if process is not None:
            tags |= {
                HOST_TAG: process.host,
                PID_TAG: str(process.pid),
                STARTED_TAG: repr(process.started),
            }
        begun = int((time.time() - age) * 1000)
        return client.create_run(experiment, start_time=begun, tags=tags).info.run_id

    return make


@pytest.fixture(scope="module")
def gone():
    """A process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    started = psutil.Process(child.pid).create_time()
    child.wait()
    return Process(host=host_name(), pid=child.pid, started=started)


def launched_here(home):
    return {
        "mlflow.project.entryPoint": "pretrain",
        "mlflow.user": user_name(),
        "mlflow.source.name": f"file://{home}",
    }


def test_a_run_whose_process_is_gone_fails_with_the_reason(client, make_run, gone):
    run_id = make_run(gone)
    assert reap() == (run_id,)
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert f"process {gone.pid} on {gone.host} is gone" in run.data.tags["failure"]
    assert reap() == ()


def test_a_number_given_to_a_new_process_does_not_keep_a_run_alive(make_run):
    own = Process.current()
    earlier = Process(host=own.host, pid=own.pid, started=own.started - 1e6)
    assert reap() == ()
    run_id = make_run(earlier)
    assert reap() == (run_id,)


def test_living_processes_and_other_hosts_are_left_alone(client, make_run, gone):
    elsewhere = Process(host="elsewhere/1", pid=gone.pid, started=gone.started)
    kept = [make_run(Process.current()), make_run(elsewhere), make_run(age=1e6)]
    assert reap() == ()
    assert {client.get_run(run_id).info.status for run_id in kept} == {"RUNNING"}


def test_ended_runs_keep_their_status(client, make_run, gone):
    run_id = make_run(gone)
    client.set_terminated(run_id, "KILLED")
    assert reap() == ()
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_launch_that_never_started_the_program_fails_after_a_while(client, make_run, home):
    young = make_run(age=60, tags=launched_here(home))
    old = make_run(age=7200, tags=launched_here(home))
    assert reap() == (old,)
    assert "its program never started" in client.get_run(old).data.tags["failure"]
    assert client.get_run(young).info.status == "RUNNING"


def test_launches_of_others_are_left_alone(make_run, home, tmp_path):
    own = launched_here(home)
    make_run(age=7200, tags=own | {"mlflow.user": "somebody"})
    make_run(age=7200, tags=own | {"mlflow.source.name": f"file://{tmp_path}#other/project"})
    make_run(age=7200, tags=own | {"mlflow.source.name": "https://example.org/project"})
    assert reap() == ()


def test_a_launch_is_not_given_up_while_a_process_carries_its_id(make_run, home):
    run_id = make_run(age=7200, tags=launched_here(home))
    waiting = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env=os.environ | {"MLFLOW_RUN_ID": run_id},
    )
    assert reap() == ()
    waiting.communicate(b"\n")
    assert reap() == (run_id,)


def test_every_page_of_runs_is_looked_at(make_run, gone, client, monkeypatch):
    ids = {make_run(gone) for _ in range(5)}
    search = type(client).search_runs
    monkeypatch.setattr(
        type(client), "search_runs", lambda *a, **k: search(*a, **(k | {"max_results": 2}))
    )
    assert set(reap()) == ids


@pytest.mark.slow
def test_a_killed_program_is_found(client, home):
    program = (
        "from tsfm.tracking.runs import MlflowRun\n"
        "with MlflowRun.start('trial', entry_point='pretrain') as run:\n"
        "    run.log_metrics({'loss': 1.0}, 1)\n"
        "    run.flush()\n"
        "    print(run.run_id, flush=True)\n"
        "    input()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=home
    )
    run_id = child.stdout.readline().decode().strip()
    assert reap() == ()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert client.get_run(run_id).info.status == "RUNNING"
    assert reap() == (run_id,)
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.metrics == {"loss": 1.0}
