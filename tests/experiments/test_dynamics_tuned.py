"""Experiment 3 with a fine-tuned Chronos beside the arms, and gone on with by its own settings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from support.chronos_tiny import amend, tiny
from support.dynamics_runs import DynamicsRuns
from support.entry_points import expect_told


@pytest.fixture
def running(home, monkeypatch, capfd) -> DynamicsRuns:
    return DynamicsRuns(home, monkeypatch, capfd, plain=True)


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def runs_by_name(home: Path) -> dict[str, object]:
    client = client_of(home)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return {run.info.run_name: run for run in found}


def whole_run(home: Path):
    (whole,) = (r for r in runs_by_name(home).values() if "mlflow.parentRunId" not in r.data.tags)
    return whole


def allowed(family: str, directory: Path) -> Path:
    """A tiny random one that tests may train."""
    tiny(family, directory)
    amend(directory, tsfm={"untrained": True, "allow_untrained": True})
    return directory


def test_a_tuned_chronos_is_judged_on_the_arms_windows(home, running):
    source = allowed("bolt", home / "tiny-bolt")
    code, err = running(overrides=f"judging.fine_tuned=[{source}]")
    assert code == 0, err
    runs = runs_by_name(home)
    assert {"none-0", "attention-0", "tiny-bolt-0"} <= set(runs)
    tuned = runs["tiny-bolt-0"].data
    assert float(tuned.params["config.trainer.lr"]) == 1e-5
    assert float(tuned.params["config.trainer.weight_decay"]) == 0
    assert tuned.metrics["train_loss"] > 0
    assert (
        tuned.params["config.trainer.max_steps"]
        == runs["none-0"].data.params["config.trainer.max_steps"]
    )

    whole = whole_run(home)
    path = client_of(home).download_artifacts(
        whole.info.run_id, "tables/leaderboard.csv", str(home)
    )
    leaders = pd.read_csv(path)
    windows = leaders.groupby("model")["windows"].sum()
    assert windows["tiny-bolt-tuned"] == windows["patchtst-none"]
    versions = {v.name for v in client_of(home).search_model_versions()}
    assert versions == {"tiny-none", "tiny-attention", "tiny-tiny-bolt"}


@pytest.mark.parametrize("where", ["fine_tuned", "zero_shot"])
def test_random_weights_reach_no_table(home, running, where):
    source = tiny("bolt", home / "random")
    answer = running(overrides=f"judging.{where}=[{source}]")
    expect_told(answer, "random", "never been trained")
    assert "none-0" not in runs_by_name(home)


def test_models_to_tune_have_names_of_their_own(home, running):
    expect_told(running(overrides="judging.fine_tuned=[a/same,b/same]"), "share a name")


def test_what_is_no_chronos_cannot_be_tuned(home, running):
    (home / "other").mkdir()
    (home / "other" / "config.json").write_text('{"model": "moirai"}')
    code, err = running(overrides=f"judging.fine_tuned=[{home / 'other'}]")
    assert code == 2, err
    assert "none-0" not in runs_by_name(home)


def test_an_interrupted_run_goes_on_with_its_own_augmentations(home, running, monkeypatch):
    """Whatever is given with resume: windows must be drawn as they were when the run began."""
    from tsfm.data.dynamics import augmenter
    from tsfm.training.callbacks import LastCheckpoint

    saved = LastCheckpoint._save

    def interrupted(self, trainer):
        saved(self, trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "_save", interrupted)
        assert running("augmentations=dystformer", "channel_mixing=none")[0] == 130
    used = []
    made = augmenter.Augmenter.__init__

    def told(self, config):
        used.append(config)
        made(self, config)

    monkeypatch.setattr(augmenter.Augmenter, "__init__", told)
    whole = whole_run(home)
    assert running(f"resume={whole.info.run_id}", "augmentations=none")[0] == 0
    from tsfm.data.dynamics.augmentation_config import AugmentationConfig

    assert used
    assert set(used) == {AugmentationConfig.preset("dystformer")}
