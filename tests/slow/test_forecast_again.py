"""`mlflow run` of forecast, reproduce and lineage as users type them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def mlflow_run(home: Path, entry: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("MLFLOW_")}
    environment |= {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "CUSTOM_DATA_PATH": str(home),
        "OMP_NUM_THREADS": "1",
    }
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    command = [BIN / "mlflow", "run", ROOT, "-e", entry, "--env-manager", "local", *given]
    return subprocess.run(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def test_forecast_reproduce_and_lineage(tmp_path: Path):
    rng = np.random.default_rng(0)
    dates = pd.date_range("2024-01-01", periods=200, freq="D")
    values = 10 + np.sin(np.arange(200) * 2 * np.pi / 7) + 0.1 * rng.normal(size=200)
    pd.DataFrame({"date": dates, "shop": values}).to_csv(tmp_path / "sales.csv", index=False)
    out = tmp_path / "ahead.csv"
    told = mlflow_run(
        tmp_path, "forecast", model="seasonal_naive", data="sales.csv", horizon="7", out=str(out),
        conformal="true", baselines="random_walk",
    )  # fmt: skip
    assert told.returncode == 0, told.stdout
    assert len(pd.read_csv(out)) == 7
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs(["0"])
    assert (run.info.status, run.data.params["horizon"]) == ("FINISHED", "7")

    again = mlflow_run(tmp_path, "reproduce", run_id=run.info.run_id)
    assert again.returncode == 0, again.stdout
    assert "result      EQUAL" in again.stdout
    first, second = client.search_runs(["0"], order_by=["attributes.start_time ASC"])
    assert second.data.tags["reproduces"] == first.info.run_id
    assert second.info.status == "FINISHED"

    client.log_metric(first.info.run_id, "mase.value.seasonal_naive", 9.0, step=0)
    differing = mlflow_run(tmp_path, "reproduce", run_id=run.info.run_id)
    assert differing.returncode != 0
    assert "mase.value.seasonal_naive" in differing.stdout

    tree = mlflow_run(tmp_path, "lineage", run_id=run.info.run_id, out=str(tmp_path / "l.json"))
    assert tree.returncode == 0, tree.stdout
    assert (tmp_path / "l.json").exists()
    assert "reproduced by" in tree.stdout
