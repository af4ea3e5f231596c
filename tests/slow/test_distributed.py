"""Training by two processes: the weights of one, and one run with one registered version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
WORDS = [
    "data=simulated", "max_steps=4", "batch_size=2", "patch_sizes=16", "context=64",
    "horizon=16", "register_as=tiny",
]  # fmt: skip
OVERRIDES = (
    "model.d_model=64 model.num_layers=1 model.token_budget=64 trainer.warmup_steps=1"
    " trainer.validate_every=2 trainer.threads=1 trainer.progress=false data.simulated_assets=4"
    " data.simulated_bars=1000 evaluation.windows_per_item=1 evaluation.items_per_task=2"
    " evaluation.baselines=[random_walk]"
)


def pretrain(home: Path, *words: str) -> None:
    home.mkdir()
    hidden = ("MLFLOW_", "LOCAL_RANK", "TSFM_", "MASTER_", "WORLD_SIZE")
    environment = {key: os.environ[key] for key in os.environ if not key.startswith(hidden)}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "experiments.pretrain", *WORDS, *words],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def trained(home: Path) -> tuple[list, list, dict[str, torch.Tensor]]:
    """Runs, registered versions and weights at the last step."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (checkpoint,) = home.glob("outputs/*/checkpoints/last.ckpt")
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    return client.search_runs(experiments), client.search_model_versions(), state


def test_two_processes_train_one_run_as_one_process_would(tmp_path):
    alone = f"{OVERRIDES} trainer.accumulate=2 trainer.validation_batches=2"
    together = f"{OVERRIDES} trainer.devices=2 trainer.validation_batches=1"
    pretrain(tmp_path / "alone", f"overrides={alone}")
    pretrain(tmp_path / "together", f"overrides={together}")
    _, _, expected = trained(tmp_path / "alone")
    runs, versions, weights = trained(tmp_path / "together")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert [version.run_id for version in versions] == [runs[0].info.run_id]
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
