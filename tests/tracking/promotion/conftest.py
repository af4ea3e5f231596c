"""A registered model of equal versions, and a vault of one small task."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.promotion import LENIENT

from tsfm.data.ohlcv.preparation import BarPreparation
from tsfm.data.provenance import Provenance
from tsfm.evaluation.tasks import Task
from tsfm.models.statistical import SeasonalNaive
from tsfm.tracking.environment import Process, host_name
from tsfm.tracking.promotion.ledger import Ledger
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.promotion.vault import Vault
from tsfm.tracking.registry import log_model, register
from tsfm.tracking.runs import MlflowRun

MODEL = "ohlcv"


@pytest.fixture(scope="session")
def registered_database(tmp_path_factory, empty_database: Path, bars) -> Path:
    """Versions 1, 2 and 3 of ``ohlcv``, all a seasonal-naive forecaster; to copy."""
    import mlflow

    folder = tmp_path_factory.mktemp("registered")
    shutil.copy(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    SeasonalNaive().save(folder / "model")
    BarPreparation().save(folder / "model")
    Provenance().save(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        client = MlflowClient(tracking_uri=uri)
        client.create_experiment("trial", artifact_location=str(folder / "artifacts"))
        with MlflowRun.start("trial", entry_point="pretrain", uri=uri) as run:
            logged = log_model(run, folder / "model", name="naive", input_example=bars)
        for _ in range(3):
            register(run.client, logged.model_id, MODEL)
    mlflow.set_tracking_uri(None)
    return folder / "mlflow.db"


@pytest.fixture
def registered(home: Path, registered_database: Path) -> Iterator[MlflowClient]:
    """A store of one's own with three versions of ``ohlcv``."""
    import mlflow

    shutil.copy(registered_database, home / "mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    yield MlflowClient()
    mlflow.set_tracking_uri(None)


@pytest.fixture
def vault(home: Path, make_panel) -> Vault:
    panel = make_panel(n_items=4, length=300)
    task = Task.on(panel, context=48, horizon=6, stride=24)
    return Vault.seal(home / "vault", [(task, panel)])


@pytest.fixture
def policy() -> Policy:
    """Under which a model that is as good as its rival passes."""
    return Policy.of(LENIENT)


@pytest.fixture
def ledger(client: MlflowClient) -> Ledger:
    client.create_registered_model(MODEL)
    return Ledger.of(client, MODEL)


class Life:
    """Whether leases are taken by this process, or by one that is no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.current = monkeypatch, Process.current

    def end(self) -> None:
        gone = Process(host=host_name(), pid=2**22 + 1, started=1.0)
        self.monkeypatch.setattr(Process, "current", lambda: gone)

    def begin(self) -> None:
        self.monkeypatch.setattr(Process, "current", self.current)


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Life:
    return Life(monkeypatch)
