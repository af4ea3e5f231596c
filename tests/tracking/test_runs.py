import errno
import inspect
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import matplotlib
import pandas as pd
import psutil
import pytest
import yaml
from matplotlib.figure import Figure

from tsfm.errors import ConfigError, DataError, TrackingError
from tsfm.tracking import metrics as metrics_module
from tsfm.tracking.environment import host_name
from tsfm.tracking.lifecycle import HOST_TAG, PID_TAG, STARTED_TAG
from tsfm.tracking.runs import MlflowRun
from tsfm.training.logger import RunLogger

matplotlib.use("agg")


def start(**options):
    return MlflowRun.start("trial", entry_point="pretrain", **options)


def history(client, run_id, key):
    return [(m.step, m.value) for m in client.get_metric_history(run_id, key)]


def figure():
    drawing = Figure(figsize=(2, 2))
    drawing.subplots().plot([0, 1], [1, 0])
    return drawing


def mlflow_run(client, monkeypatch, **params):
    """What ``mlflow run`` does before it starts the program."""
    tags = {"mlflow.source.name": "file:///project", "mlflow.project.entryPoint": "pretrain"}
    run = client.create_run(client.create_experiment("launched"), tags=tags)
    for key, value in params.items():
        client.log_param(run.info.run_id, key, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    return run.info.run_id


def test_a_finished_run_holds_everything_that_was_logged(client):
    with start(run_name="first", tags={"purpose": "test"}) as run:
        assert client.get_run(run.run_id).info.status == "RUNNING"
        for step in range(2500):
            run.log_metrics({"loss": 1 / (step + 1), "lr": 0.5}, step)
        run.log_params({"model": {"size": 3, "names": ["a", "b"]}})
        run.log_config({"trainer": {"steps": 10, "lr": 1e-3}})
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert found.data.tags["purpose"] == "test"
    assert found.data.tags["tsfm.entry_point"] == "pretrain"
    assert found.data.tags[PID_TAG] == str(os.getpid())
    assert history(client, run.run_id, "loss") == [(k, 1 / (k + 1)) for k in range(2500)]
    assert len(history(client, run.run_id, "lr")) == 2500
    assert found.data.params == {
        "model.size": "3",
        "model.names": "['a', 'b']",
        "config.trainer.steps": "10",
        "config.trainer.lr": "0.001",
    }
    text = run.file("config.yaml").read_text()
    assert yaml.safe_load(text) == {"trainer": {"steps": 10, "lr": 1e-3}}


def test_the_protocol_of_training_is_honoured():
    for name, declared in vars(RunLogger).items():
        if inspect.isfunction(declared) and not name.startswith("_"):
            ours = inspect.signature(getattr(MlflowRun, name))
            assert list(ours.parameters) == list(inspect.signature(declared).parameters)


def test_hundreds_of_long_parameters_are_kept(client):
    with start() as run:
        run.log_params({f"p{k}": "x" * 7000 for k in range(250)})
    params = client.get_run(run.run_id).data.params
    assert len(params) == 250
    assert {len(value) for value in params.values()} == {6000}


@pytest.mark.parametrize(
    ("error", "status", "failure"),
    [
        (DataError("no bars", where="x.csv", remedy="add some"), "FAILED", "no bars [x.csv]"),
        (RuntimeError("boom"), "FAILED", "RuntimeError: boom"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
        (SystemExit(2), "FAILED", "SystemExit: 2"),
        (SystemExit(0), "FINISHED", None),
        (type("SIGTERMException", (SystemExit,), {})(), "KILLED", "SIGTERMException"),
    ],
)
def test_every_end_has_its_status_and_keeps_what_was_logged(client, error, status, failure):
    with pytest.raises(type(error)), start() as run:  # noqa: PT012
        run.log_metrics({"loss": 2.0}, 1)
        raise error
    found = client.get_run(run.run_id)
    assert found.info.status == status
    assert found.info.end_time is not None
    assert history(client, run.run_id, "loss") == [(1, 2.0)]
    assert found.data.tags.get("failure", "").startswith(failure or "")
    if isinstance(error, RuntimeError):
        assert "raise error" in run.file("failure.txt").read_text()


def test_sigterm_ends_the_run_as_killed_and_the_handler_is_given_back(client):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, start() as run:  # noqa: PT012
        run.log_metrics({"loss": 2.0}, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert caught.value.code == 143
    assert client.get_run(run.run_id).info.status == "KILLED"
    assert history(client, run.run_id, "loss") == [(1, 2.0)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_run_of_mlflow_run_is_adopted(client, monkeypatch):
    launched = mlflow_run(client, monkeypatch, lr="1e-3", steps="abc")
    with start(run_name="named") as run:
        run.log_params({"lr": 0.001, "steps": 10, "other": 1})
        run.log_params({"lr": 0.001, "steps": 10})
    found = client.get_run(launched)
    assert run.run_id == launched
    assert "MLFLOW_RUN_ID" not in os.environ
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "named"
    assert found.data.tags["mlflow.source.name"] == "file:///project"
    assert found.data.params == {
        "lr": "1e-3", "lr.2": "0.001", "steps": "abc", "steps.2": "10", "other": "1",
    }  # fmt: skip


def test_a_child_run_does_not_adopt(client, monkeypatch):
    launched = mlflow_run(client, monkeypatch)
    with start(parent=launched) as child:
        pass
    assert child.run_id != launched
    assert client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == launched
    assert os.environ["MLFLOW_RUN_ID"] == launched


def test_resuming_goes_on_without_repeating_a_step(client):
    with pytest.raises(RuntimeError), start() as run:  # noqa: PT012
        for step in range(10):
            run.log_metrics({"loss": float(step)}, step)
        for step in (4, 9):
            run.log_figure(figure(), "fan chart/AAA", step)
        raise RuntimeError("power cut")
    with start(resume=run.run_id) as again:
        for step in range(5, 15):
            again.log_metrics({"loss": float(step), "new": 0.0}, step)
        for step in (9, 14):
            again.log_figure(figure(), "fan chart/AAA", step)
    found = client.get_run(run.run_id)
    assert again.run_id == run.run_id
    assert found.info.status == "FINISHED"
    assert "failure" not in found.data.tags
    assert history(client, run.run_id, "loss") == [(k, float(k)) for k in range(15)]
    assert [step for step, _ in history(client, run.run_id, "new")] == list(range(5, 15))
    images = [f.path for f in client.list_artifacts(run.run_id, "images") if "png" in f.path]
    assert sorted(int(path.split("+step+")[1].split("+")[0]) for path in images) == [4, 9, 14]


def test_resuming_through_mlflow_run_drops_the_run_it_made(client, monkeypatch):
    with start() as first:
        pass
    launched = mlflow_run(client, monkeypatch)
    with start(resume=first.run_id) as run:
        assert client.get_run(first.run_id).info.status == "RUNNING"
    dropped = client.get_run(launched)
    assert run.run_id == first.run_id
    assert dropped.info.lifecycle_stage == "deleted"
    assert dropped.info.status == "FINISHED"
    assert dropped.data.tags["resumed_into"] == first.run_id


def test_resuming_what_is_not_there_fails_and_leaves_nothing_running(client, monkeypatch):
    launched = mlflow_run(client, monkeypatch)
    with pytest.raises(TrackingError, match="there is no run missing"):
        start(resume="missing")
    found = client.get_run(launched)
    assert found.info.status == "FAILED"
    assert "no run missing" in found.data.tags["failure"]


def test_resuming_a_deleted_run_says_how_to_get_it_back(client):
    with start() as run:
        pass
    client.delete_run(run.run_id)
    with pytest.raises(TrackingError, match="mlflow runs restore"):
        start(resume=run.run_id)


def test_a_run_that_another_process_works_on_is_not_resumed(client):
    parent = psutil.Process(os.getppid())
    run = start()
    run.set_tags(
        {HOST_TAG: host_name(), PID_TAG: parent.pid, STARTED_TAG: repr(parent.create_time())}
    )
    with pytest.raises(TrackingError, match=f"still running in process {parent.pid}"):
        start(resume=run.run_id)
    assert client.get_run(run.run_id).info.status == "RUNNING"


def test_artifacts_that_cannot_be_written_stop_the_run_before_it_exists(client):
    experiment = client.create_experiment("trial", artifact_location="file:///proc/artifacts")
    with pytest.raises(TrackingError, match="artifact folder cannot be written"):
        start()
    assert client.search_runs([experiment]) == []


def test_a_disk_that_fills_up_fails_the_run_with_one_clear_error(client, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    expected = r"store refuses what log_text sends: .*No space left.*mlflow\.db.*[Ff]ree disk space"
    with pytest.raises(TrackingError, match=expected), start() as run:  # noqa: PT012
        monkeypatch.setattr(run.client, "log_text", full)
        run.log_text("much", "text.txt")
    found = client.get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert "No space left" in found.data.tags["failure"]


def test_a_deleted_experiment_is_told(client):
    client.delete_experiment(client.create_experiment("trial"))
    with pytest.raises(TrackingError, match="'trial' is deleted"):
        start()


def test_metrics_wait_for_a_store_that_is_away_for_a_while(client, monkeypatch):
    monkeypatch.setattr(metrics_module, "SECONDS_BETWEEN_FLUSHES", 0.0)
    monkeypatch.setattr(metrics_module, "LARGEST_SHARE_OF_TIME", float("inf"))
    with start() as run:
        send = run.client.log_batch
        with monkeypatch.context() as away:
            away.setattr(run.client, "log_batch", _refuse)
            with pytest.warns(UserWarning, match="1 metrics wait for the tracking store: away"):
                run.log_metrics({"loss": 1.0}, 1)
        assert run.client.log_batch == send
        run.log_metrics({"loss": 2.0}, 2)
        assert history(client, run.run_id, "loss") == [(1, 1.0), (2, 2.0)]


def test_a_record_that_stays_incomplete_fails_the_run(client, monkeypatch):
    with pytest.raises(TrackingError, match="is incomplete: away"), start() as run:  # noqa: PT012
        run.log_metrics({"loss": 1.0}, 1)
        monkeypatch.setattr(run.client, "log_batch", _refuse)
    found = client.get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert "the record is incomplete" in found.data.tags["failure"]


def test_an_incomplete_record_does_not_hide_the_first_error(client, monkeypatch):
    with pytest.raises(RuntimeError, match="boom") as caught, start() as run:  # noqa: PT012
        run.log_metrics({"loss": 1.0}, 1)
        monkeypatch.setattr(run.client, "log_batch", _refuse)
        raise RuntimeError("boom")
    assert "incomplete as well: away" in caught.value.__notes__[0]
    assert client.get_run(run.run_id).info.status == "FAILED"


@pytest.mark.usefixtures("client")
def test_figures_tables_and_files_become_artifacts(tmp_path):
    table = pd.DataFrame({"model": ["a"] * 1500, "crps": [0.1234567] * 1500})
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.txt").write_text("inside")
    with start() as run:
        run.log_figure(figure(), "calibration: AAA")
        run.log_table(table, "leaderboard")
        run.log_file(tmp_path / "note.txt", "notes")
        run.log_file(tmp_path / "folder", "notes")
    pd.testing.assert_frame_equal(pd.read_csv(run.file("tables/leaderboard.csv")), table)
    html = run.file("tables/leaderboard.html")
    assert html.read_text().count("<tr>") == 1000
    assert "500 more rows" in html.read_text()
    assert run.file("plots/calibration_ AAA.png").read_bytes().startswith(b"\x89PNG")
    assert run.file("notes/inner.txt").read_text() == "inside"
    with pytest.raises(TrackingError, match="no artifact nothing"):
        run.file("nothing")


def test_panels_become_dataset_inputs(client, make_panel):
    panel = make_panel(name="random walks")
    with start() as run:
        run.log_panel(panel, "train")
        run.log_panel(panel.slice([0] * 3, [50] * 3), "test")
        with pytest.raises(ConfigError, match=r"role='training'.*train, validation, test"):
            run.log_panel(panel, "training")
    inputs = client.get_run(run.run_id).inputs.dataset_inputs
    roles = {tag.value: entry.dataset for entry in inputs for tag in entry.tags}
    assert set(roles) == {"train", "test"}
    assert panel.fingerprint.startswith(roles["train"].digest)
    assert roles["train"].digest != roles["test"].digest
    profile = yaml.safe_load(roles["train"].profile)
    assert profile["bars"] == 1200
    assert profile["first"] == "2024-01-01T00:00:00"
    assert profile["licence"] == "CC0-1.0"
    columns = yaml.safe_load(roles["train"].schema)["mlflow_colspec"]
    assert [column["name"] for column in columns] == ["item_id", "timestamp", "a", "b"]


def test_a_panel_on_disk_names_its_place(client, make_panel, tmp_path):
    from tsfm.data.panel import Panel

    made = make_panel()
    panel = Panel.write(tmp_path / "panel", iter(made), made.info)
    with start() as run:
        run.log_panel(panel, "validation")
    (entry,) = client.get_run(run.run_id).inputs.dataset_inputs
    assert entry.dataset.source_type == "local"
    assert str(tmp_path / "panel") in entry.dataset.source


def test_the_environment_is_recorded(client):
    with start() as run:
        environment = run.log_environment(seed=3)
    found = yaml.safe_load(run.file("environment/environment.json").read_text())
    assert found["seeds"] == {"seed": 3}
    assert "mlflow==" in run.file("environment/requirements.txt").read_text()
    tags = client.get_run(run.run_id).data.tags
    assert tags["tsfm.sources"] == environment.code.sources


@pytest.mark.usefixtures("client")
def test_the_url_is_a_command_for_files_and_a_page_for_servers(home):
    with start() as run:
        pass
    page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}"
    assert run.url() == f"mlflow ui   →   http://127.0.0.1:5000/{page}"
    run.uri = f"sqlite:///{home}/other.db"
    assert f"--backend-store-uri 'sqlite:///{home}/other.db'" in run.url()
    run.uri = "http://me:secret@host:5000"
    assert run.url() == f"http://me:***@host:5000/{page}"


def test_an_unreachable_store_makes_no_run(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(TrackingError, match="does not answer"):
        start(uri=address)
    assert list(home.iterdir()) == []


@pytest.mark.usefixtures("home")
def test_a_server_of_another_kind_is_refused():
    class NotMlflow(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), NotMlflow)
    Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(TrackingError, match="answers 404"):
        start(uri=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()


@pytest.mark.slow
def test_ctrl_c_in_a_real_process_ends_the_run(client, home):
    program = (
        "import os, signal\n"
        "from tsfm.tracking.runs import MlflowRun\n"
        "with MlflowRun.start('trial', entry_point='pretrain') as run:\n"
        "    run.log_metrics({'loss': 1.0}, 1)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=home, capture_output=True)
    assert done.returncode == -signal.SIGINT
    (run,) = client.search_runs([client.get_experiment_by_name("trial").experiment_id])
    assert run.info.status == "KILLED"
    assert run.data.metrics == {"loss": 1.0}


def _refuse(*_, **__):
    raise OSError("away")
