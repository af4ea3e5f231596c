"""An empty working directory with a tracking store of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable

import pytest
from support.entry_points import Answer

from experiments import cli, data, finetune, pretrain
from experiments.config import DataConfig, PretrainConfig
from experiments.finetune_config import FinetuneConfig


@pytest.fixture
def home(home, empty_database):
    """Afterwards no trace of its store is left in this process."""
    import mlflow

    shutil.copy(empty_database, home / "mlflow.db")
    yield home
    mlflow.set_tracking_uri(None)


@pytest.fixture
def command(home, monkeypatch, capfd) -> Callable[..., Answer]:
    """Run an entry point; its exit code and what it wrote to stderr."""

    def call(name: str, *words: str) -> Answer:
        schema, module = {
            "pretrain": (PretrainConfig, pretrain),
            "finetune": (FinetuneConfig, finetune),
            "data": (DataConfig, data),
        }[name]
        monkeypatch.setattr(sys, "argv", [name, *words])
        code = 0
        capfd.readouterr()
        try:
            cli.run(name, schema, module.PARAMETERS, module.main, title="")
        except SystemExit as left:
            code = int(left.code)
        return code, capfd.readouterr().err

    return call
