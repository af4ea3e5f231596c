"""`mlflow run` as users type it: in a fresh copy, with environments that MLflow makes itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NOT_COPIED = (".git", ".venv*", ".*_cache", ".cache", "__pycache__", "*.egg-info", "mlflow.db*")
LOCAL_ONLY = ("mlruns", "outputs", ".env", ".hypothesis")
TINY = {
    "data": "simulated",
    "max_steps": "4",
    "batch_size": "2",
    "patch_sizes": "16",
    "context": "64",
    "horizon": "16",
    "register_as": "tiny bars",
    "overrides": "model.d_model=64 model.num_layers=1 trainer.warmup_steps=1"
    " trainer.validate_every=2 trainer.validation_batches=1 data.simulated_assets=4"
    " data.simulated_bars=1200 evaluation.windows_per_item=1 evaluation.baselines=[random_walk]",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    target = tmp_path / "a fresh copy"
    ignored = shutil.ignore_patterns(*NOT_COPIED, *LOCAL_ONLY)
    shutil.copytree(ROOT, target, ignore=ignored)
    (target / "mlruns").mkdir()
    return target


def find_links() -> str:
    """Where pip is told to look for wheels as well; uv reads none of pip's settings."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    values = [line.partition("=")[2] for line in listed.stdout.splitlines() if "find-links" in line]
    return values[0].strip("'").split()[0] if values else ""


def mlflow_run(
    copy: Path, parameters: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("MLFLOW_")}
    environment |= {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_ENV_ROOT": str(copy.parent / "envs"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }
    if found := find_links():
        environment.setdefault("UV_FIND_LINKS", found)
    given = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    return subprocess.run(
        [BIN / "mlflow", "run", ".", "-e", "pretrain", *options, *given],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def recorded(copy: Path) -> tuple[list, list]:
    """The runs and the registered versions of the copy's own store."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{copy / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return client.search_runs(experiments), client.search_model_versions()


def assert_trained_and_registered(copy: Path, environment: str | None) -> None:
    (run,), (version,) = recorded(copy)
    assert run.info.status == "FINISHED"
    assert run.data.tags.get("mlflow.project.env") == environment
    assert run.data.params["max_steps"] == TINY["max_steps"]
    assert run.data.metrics
    assert (version.name, version.run_id) == (TINY["register_as"], run.info.run_id)
    assert any((copy / "mlruns").iterdir())


def pyenv_has_the_python() -> bool:
    if shutil.which("pyenv") is None:
        return False
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True)
    return str(yaml.safe_load((ROOT / "python_env.yaml").read_text())["python"]) in (
        versions.stdout.split()
    )


@pytest.mark.skipif(
    not pyenv_has_the_python(), reason="MLflow's default needs pyenv with python_env.yaml's Python"
)
def test_bare_command_in_the_default_environment(copy: Path):
    done = mlflow_run(copy, TINY)
    assert done.returncode == 0, done.stdout
    assert_trained_and_registered(copy, "virtualenv")


@pytest.mark.skipif(not (BIN / "uv").exists(), reason="uv comes with the extra dev")
def test_uv_environment(copy: Path):
    done = mlflow_run(copy, TINY, "--env-manager", "uv")
    assert done.returncode == 0, done.stdout
    assert_trained_and_registered(copy, "uv")


def test_bad_parameter_fails_at_once_and_leaves_no_run_running(copy: Path):
    done = mlflow_run(copy, TINY | {"lr": "quick"}, "--env-manager", "local")
    assert done.returncode != 0
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "lr" in told
    (run,), versions = recorded(copy)
    assert run.info.status == "FAILED"
    assert not versions


def test_local_environment(copy: Path):
    done = mlflow_run(copy, TINY, "--env-manager", "local")
    assert done.returncode == 0, done.stdout
    assert_trained_and_registered(copy, None)
