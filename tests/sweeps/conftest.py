"""An empty working directory with a tracking store of its own."""

from __future__ import annotations

import pytest
from support.tracking_store import home as home


@pytest.fixture
def client(home):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
