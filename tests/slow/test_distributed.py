"""Training by two processes, here or on two nodes: one run, one version, the weights of one."""

from __future__ import annotations

import os
import socket
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
    process = started(home, [sys.executable], *words)
    _, told = process.communicate()
    assert process.returncode == 0, told


def started(home: Path, launcher: list[str], *words: str) -> subprocess.Popen[str]:
    hidden = (
        "MLFLOW_", "LOCAL_RANK", "TSFM_", "MASTER_", "WORLD_SIZE", "RANK", "TORCHELASTIC", "SLURM_",
    )  # fmt: skip
    environment = {key: os.environ[key] for key in os.environ if not key.startswith(hidden)}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [*launcher, "-m", "experiments.pretrain", *WORDS, *words],
        cwd=home,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def pretrain_on_two_nodes(home: Path, *words: str) -> None:
    """By torchrun on each, as if this machine were both: one process a node, of local rank 0."""
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nodes = [
        started(
            home,
            [
                sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={node}",
                "--nproc_per_node=1", "--master_addr=127.0.0.1", f"--master_port={port}",
            ],
            *words,
        )
        for node in range(2)
    ]  # fmt: skip
    told = [node.communicate()[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told


def trained(home: Path) -> tuple[list, list, dict[str, torch.Tensor]]:
    """Runs, registered versions and weights at the last step."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (checkpoint,) = home.glob("outputs/*/checkpoints/last.ckpt")
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    return client.search_runs(experiments), client.search_model_versions(), state


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, torch.Tensor]:
    """The weights that one process comes to."""
    home = tmp_path_factory.mktemp("one") / "alone"
    pretrain(home, f"overrides={OVERRIDES} trainer.accumulate=2 trainer.validation_batches=2")
    return trained(home)[2]


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_processes_train_one_run_as_one_process_would(tmp_path, expected, nodes):
    launch = pretrain if nodes == 1 else pretrain_on_two_nodes
    shape = f"trainer.devices={2 // nodes} trainer.num_nodes={nodes}"
    launch(tmp_path / "together", f"overrides={OVERRIDES} {shape} trainer.validation_batches=1")
    runs, versions, weights = trained(tmp_path / "together")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert [version.run_id for version in versions] == [runs[0].info.run_id]
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
