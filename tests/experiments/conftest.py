"""An empty working directory with a tracking store of its own."""

from __future__ import annotations

import shutil

import pytest

VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "CUSTOM_DATA_PATH",
    "LOTSA_V1_PATH",
    "LSF_PATH",
)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Made once: creating the tables takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def home(tmp_path, monkeypatch, empty_database):
    """The working directory; afterwards no trace of its store is left in this process."""
    import mlflow

    for name in VARIABLES:
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    yield tmp_path
    mlflow.set_tracking_uri(None)
