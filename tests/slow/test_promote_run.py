"""`mlflow run -e promote` as users type it, from a pretraining run to the alias that is served."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LEFT_OUT = (
    ".git", ".venv*", ".*_cache", ".cache", "__pycache__", "*.egg-info", "mlflow.db*", "mlruns",
    "outputs", "vaults", ".env", ".hypothesis",
)  # fmt: skip
DATA = "data.simulated_assets=6 data.simulated_bars=1500"
TINY = {
    "data": "simulated", "context": "64", "horizon": "16", "register_as": "tiny bars",
    "max_steps": "4", "batch_size": "2", "patch_sizes": "16",
    "overrides": f"{DATA} model.d_model=64 model.num_layers=1 trainer.warmup_steps=1"
    " trainer.validate_every=2 trainer.validation_batches=1 evaluation.windows_per_item=1"
    " evaluation.baselines=[random_walk]",
}  # fmt: skip
LENIENT = "rules: {leakage: {}, reload: {}, latency: {at_most_ms: 1.0e+5}, looks: {}}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    target = tmp_path / "a fresh copy"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (target / "mlruns").mkdir()
    return target


def mlflow_run(copy: Path, entry: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("MLFLOW_")}
    environment |= {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "TSFM_CACHE": str(copy / ".cache"),
    }
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    command = [BIN / "mlflow", "run", ".", "-e", entry, "--env-manager", "local", *given]
    return subprocess.run(
        command, cwd=copy, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_from_a_trained_version_to_the_champion(copy: Path):
    from mlflow import MlflowClient

    name = TINY["register_as"]
    done = mlflow_run(copy, "pretrain", **TINY)
    assert done.returncode == 0, done.stdout
    client = MlflowClient(f"sqlite:///{copy / 'mlflow.db'}")

    def aliases() -> dict[str, str]:
        return {a: str(v) for a, v in client.get_registered_model(name).aliases.items()}

    def attempts() -> list[tuple[str, str]]:
        places = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(
            places, "tags.`promotion.outcome` != ''", order_by=["attributes.start_time"]
        )
        return [(run.info.status, run.data.tags["promotion.outcome"]) for run in found]

    done = mlflow_run(copy, "promote", model=name)
    assert done.returncode == 1
    assert "error: there is no vault of held-out tasks" in done.stdout, done.stdout

    done = mlflow_run(
        copy, "promote", model=name, seal="true", data="simulated", context="64", horizon="16",
        overrides=DATA,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "simulated_1h/symbols" in done.stdout

    done = mlflow_run(copy, "promote", model=name, version="1")
    assert done.returncode == 1
    assert "FAILED  skill" in done.stdout, done.stdout
    assert "passed  leakage: no overlap of training and vault" in done.stdout
    assert "passed  reload" in done.stdout
    assert aliases() == {}

    (copy / "lenient.yaml").write_text(LENIENT)
    done = mlflow_run(copy, "promote", model=name, policy="lenient.yaml")
    assert done.returncode == 0, done.stdout
    assert aliases() == {"champion": "1"}

    done = mlflow_run(copy, "promote", model=name, policy="lenient.yaml")
    assert done.returncode == 1
    assert "version 1: unchanged" in done.stdout, done.stdout
    assert attempts() == [
        ("FAILED", "refused"), ("FINISHED", "promoted"), ("FAILED", "unchanged"),
    ]  # fmt: skip
    assert client.get_model_version(name, "1").tags["promotion"].startswith("champion since")
