"""A run, a model and a registration through a tracking server on PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

import pandas as pd
import pytest
from support.databases import Postgres

import tsfm
from tsfm.data.preparation import load_preparation
from tsfm.models.frames import forecast_frame
from tsfm.tracking import store
from tsfm.tracking.registry import log_model
from tsfm.tracking.runs import MlflowRun
from tsfm.tracking.serving import load_served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


@pytest.fixture(scope="module")
def postgres():
    """The address of an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        made = Postgres(Path(folder))
        yield made.address
        made.stop()


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    """The address of a tracking server on that database."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", postgres,
        "--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | quiet, start_new_session=True,
    )  # fmt: skip
    said = []
    for line in process.stdout:
        said.append(line)
        if "Application startup complete" in line:
            break
    else:
        pytest.fail(f"mlflow server ended: {''.join(said)}")
    reader = Thread(target=said.extend, args=(process.stdout,))
    reader.start()
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(timeout=60)
    reader.join()


def test_everything_goes_through_a_server_on_postgresql(
    home, server, postgres, model_directory, bars, monkeypatch, make_panel
):
    from matplotlib.figure import Figure

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    assert store.connect() == server
    store.check(postgres)
    with MlflowRun.start("trial", entry_point="pretrain") as run:
        run.log_params({"size": 3})
        run.log_panel(make_panel(), "train")
        run.log_environment(seed=1)
        for step in range(1500):
            run.log_metrics({"loss": float(step)}, step)
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([1, 2])
        run.log_figure(figure, "fan", 1)
        logged = log_model(
            run, model_directory, name="naive", register_as="ohlcv",
            input_example=bars, metrics={"crps": 0.5}, panel=make_panel(),
        )  # fmt: skip
    assert not (home / "mlflow.db").exists()
    assert not (home / "mlruns").exists()
    assert run.url().startswith(server)

    found = run.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics["loss"] == 1499.0
    history = run.client.get_metric_history(run.run_id, "loss")
    assert [metric.step for metric in history] == list(range(1500))
    assert run.client.get_model_version("ohlcv", "1").run_id == run.run_id
    run.client.set_registered_model_alias("ohlcv", "champion", "1")

    assert tsfm.load_forecaster("models:/ohlcv@champion").name == "seasonal_naive"
    forecast = load_served(logged.uri).predict(bars, horizon=3)
    preparation = load_preparation(model_directory)
    expected = forecast_frame(tsfm.load_forecaster(model_directory), preparation, bars, 3)
    pd.testing.assert_frame_equal(forecast, expected, rtol=0, atol=1e-6)
