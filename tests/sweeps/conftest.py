"""An empty working directory with a tracking store of its own."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def home(home, empty_database):
    """Afterwards no trace of its store is left in this process."""
    import mlflow

    shutil.copy(empty_database, home / "mlflow.db")
    yield home
    mlflow.set_tracking_uri(None)


@pytest.fixture
def client(home):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
