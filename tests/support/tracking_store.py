"""An empty working directory with a tracking store of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home(home: Path, empty_database: Path) -> Iterator[Path]:
    """Afterwards no trace of its store is left in this process."""
    import mlflow

    shutil.copy(empty_database, home / "mlflow.db")
    yield home
    mlflow.set_tracking_uri(None)
