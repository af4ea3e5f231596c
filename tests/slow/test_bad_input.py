"""Training in a process of its own: killed, interrupted, resumed, and out of disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
STEPS, CHECKPOINT_EVERY = 60, 5
WORDS = [
    "data=simulated", f"max_steps={STEPS}", "batch_size=2", "patch_sizes=16", "context=64",
    "horizon=16", "register_as=tiny",
    "overrides=model.d_model=64 model.num_layers=1 trainer.warmup_steps=1"
    f" trainer.checkpoint_every={CHECKPOINT_EVERY} trainer.validate_every={2 * CHECKPOINT_EVERY}"
    " trainer.validation_batches=1 trainer.threads=1 data.simulated_assets=4"
    " data.simulated_bars=1000 evaluation.windows_per_item=1 evaluation.items_per_task=2"
    " evaluation.baselines=[random_walk]",
]  # fmt: skip


def start(
    home: Path, *words: str, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("MLFLOW_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.pretrain", *words],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = process.communicate()
    return process.returncode, err


def store(home: Path):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def runs(home: Path) -> list:
    client = store(home)
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


def checkpoint(home: Path, run_id: str | None = None) -> Path | None:
    return next(home.glob(f"outputs/{run_id or '*'}/checkpoints/last.ckpt"), None)


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=False)["global_step"]


def stop_after_a_checkpoint(
    process: subprocess.Popen[str], home: Path, number: signal.Signals
) -> tuple[int, str]:
    """Send the signal once a checkpoint has been written that was not there before."""
    known = checkpoint(home)
    written = known.stat().st_mtime_ns if known else 0
    while process.poll() is None:
        found = checkpoint(home)
        if found is not None and found.stat().st_mtime_ns > written:
            process.send_signal(number)
            return finish(process)
        time.sleep(0.02)
    raise AssertionError(f"ended before it was stopped: {finish(process)}")


def test_interrupted_then_killed_then_resumed_equals_never_stopped(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    uninterrupted = start(whole, *WORDS)
    process = start(broken, *WORDS)
    code, err = stop_after_a_checkpoint(process, broken, signal.SIGINT)
    assert (code, err.splitlines()[-1]) == (130, "interrupted")
    (run,) = runs(broken)
    run_id = run.info.run_id
    assert run.info.status == "KILLED"
    first = step_of(checkpoint(broken))
    assert 0 < first < STEPS

    process = start(broken, *WORDS, f"resume={run_id}")
    code, _ = stop_after_a_checkpoint(process, broken, signal.SIGKILL)
    assert code == -signal.SIGKILL
    (run,) = runs(broken)
    assert run.info.status == "RUNNING", "nobody could say that it died"
    second = step_of(checkpoint(broken))
    assert first < second < STEPS
    assert not store(broken).search_model_versions()

    code, err = finish(start(broken, *WORDS, f"resume={run_id}"))
    assert code == 0, err
    code, err = finish(uninterrupted)
    assert code == 0, err

    (run,), (expected,) = runs(broken), runs(whole)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    weights = [
        (home / "outputs" / r.info.run_id / "model" / "model.safetensors").read_bytes()
        for home, r in ((broken, run), (whole, expected))
    ]
    assert weights[0] == weights[1]
    histories = [history(broken, run), history(whole, expected)]
    assert [step for step, _ in histories[0]["train_loss"]] == list(range(1, STEPS + 1))
    assert histories[0].keys() == histories[1].keys()
    for key in histories[0]:
        if not key.endswith(("per_second", "seconds", "bytes")):
            assert histories[0][key] == histories[1][key], key
    (version,) = store(broken).search_model_versions()
    assert version.run_id == run_id


def history(home: Path, run) -> dict[str, list[tuple[int, float]]]:
    client = store(home)
    return {
        key: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key))
        for key in run.data.metrics
    }


@pytest.mark.parametrize("kilobytes", [64, 1536])
def test_a_full_disk(tmp_path, kilobytes):
    """No file may grow beyond a limit: too low for the database, or for a checkpoint only."""
    limit = kilobytes * 1024

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    words = [word.replace("model.d_model=64", "model.d_model=192") for word in WORDS]
    code, err = finish(start(tmp_path, *words, before=restrict))
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    if kilobytes > 1000:
        (run,) = runs(tmp_path)
        assert run.info.status == "FAILED"
        assert "too large" in run.data.tags["failure"]
        assert not store(tmp_path).search_model_versions()
    assert not list(tmp_path.glob("outputs/*/model/*"))
