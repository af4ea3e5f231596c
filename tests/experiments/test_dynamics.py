"""Experiment 3, end to end in one process: both arms, matched, judged, registered, gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from support.dynamics_runs import OVERRIDES, DynamicsRuns
from support.entry_points import expect_told
from support.trajectories import MEMBERS, trajectories

from experiments import dynamics
from experiments.cli import compose_config
from experiments.dynamics_config import DynamicsConfig
from tsfm.data.panel import Panel
from tsfm.errors import UserError


def configured(*words: str) -> DynamicsConfig:
    return compose_config("dynamics", DynamicsConfig, dynamics.PARAMETERS, words)


@pytest.fixture
def running(home, monkeypatch, capfd) -> DynamicsRuns:
    return DynamicsRuns(home, monkeypatch, capfd)


@pytest.fixture
def plain(home, monkeypatch, capfd) -> DynamicsRuns:
    return DynamicsRuns(home, monkeypatch, capfd, plain=True)


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{home / 'mlflow.db'}")


def runs_of(home: Path) -> tuple[list, list]:
    """Runs of experiments, and those under them."""
    client = client_of(home)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    parts = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    return [run for run in found if run not in parts], parts


def table_of(home: Path, run, name: str) -> pd.DataFrame:
    path = client_of(home).download_artifacts(run.info.run_id, f"tables/{name}.csv", str(home))
    return pd.read_csv(path)


# --- a run ----------------------------------------------------------------------------------------


def test_both_arms_are_trained_matched_judged_and_registered(home, running):
    assert running()[0] == 0
    (whole,), parts = runs_of(home)
    assert whole.info.status == "FINISHED"
    assert {run.info.status for run in parts} == {"FINISHED"}
    assert {run.info.run_name for run in parts} == {"none-0", "attention-0"}
    assert {run.data.tags["mlflow.parentRunId"] for run in parts} == {whole.info.run_id}
    assert all(run.data.metrics["train_loss"] > 0 for run in parts)
    assert {run.data.tags["leakage"] for run in parts} == {"none"}

    arms = table_of(home, whole, "arms")
    assert arms["parameters"].max() <= 1.02 * arms["parameters"].min()
    assert len(set(arms["tokens"])) == 1
    assert (arms["GFLOP per step"] > 0).all()

    rows = table_of(home, whole, "differences")
    assert set(rows["group"]) == {"in_distribution", "held_out_systems", "held_out_skew"}
    assert set(rows["metric"]) == {"smape", "mae", "rmse", "valid_time"}
    assert set(rows["steps"]) == {0, 16, 32}
    leaders = table_of(home, whole, "leaderboard")
    assert set(leaders["model"]) == {
        "patchtst-none", "patchtst-attention", "mean", "parroting", "dlinear",
    }  # fmt: skip
    assert "channel mixing" in whole.data.tags["conclusion"]
    assert np.isfinite(whole.data.metrics["gain.smape.held_out_systems.16"])
    figures = {entry.path for entry in client_of(home).list_artifacts(whole.info.run_id, "plots")}
    assert "plots/channel_attention.png" in figures

    versions = client_of(home).search_model_versions()
    assert sorted((v.name, v.tags["seed"]) for v in versions) == [
        ("tiny-attention", "0"), ("tiny-none", "0"),
    ]  # fmt: skip


@pytest.mark.slow
def test_one_arm_alone_starts_from_weights_of_its_patch_size(home, plain):
    assert plain("channel_mixing=attention")[0] == 0
    (version,) = client_of(home).search_model_versions()
    base = f"base_model=models:/{version.name}/{version.version}"
    assert plain("channel_mixing=attention", base)[0] == 0
    expect_told(plain("channel_mixing=attention", base, overrides="model.patch=4"), "patch=8")
    expect_told(plain("channel_mixing=none", base), "channel_mixing=attention")


@pytest.mark.slow
def test_the_reference_arm_trains_alike(home, plain):
    words = [word for word in OVERRIDES.split() if not word.startswith("model.layers")]
    answer = plain("model=hf", overrides=f"{' '.join(words)} model.layers=1")
    assert answer[0] == 0, answer[1]
    (whole,), _ = runs_of(home)
    arms = table_of(home, whole, "arms")
    assert list(arms["arm"]) == ["patchtst_hf-none", "patchtst_hf-attention"]


def test_both_arms_see_the_same_windows_in_the_same_order(home, plain, monkeypatch):
    from tsfm.training.batches import Batches

    seen: list[np.ndarray] = []
    make = Batches.batch

    def batch(self, index):
        made = make(self, index)
        seen.append(made["context"].numpy().copy())
        return made

    monkeypatch.setattr(Batches, "batch", batch)
    assert plain("augmentations=dystformer")[0] == 0
    half = len(seen) // 2
    assert half >= 3
    for none, attention in zip(seen[:half], seen[half:], strict=True):
        np.testing.assert_array_equal(none, attention)


# --- going on -------------------------------------------------------------------------------------


def test_what_was_trained_is_not_trained_again(home, plain, monkeypatch):
    from tsfm.evaluation import arms
    from tsfm.training.module import TrainingModule

    def broken(*arguments, **options):
        raise UserError("the judge is ill")

    with monkeypatch.context() as patch:
        patch.setattr(arms, "hold_contest", broken)
        expect_told(plain(), "the judge is ill")
    (whole,), parts = runs_of(home)
    assert {run.info.status for run in [whole, *parts]} == {"FAILED"}
    monkeypatch.setattr(TrainingModule, "training_step", broken)
    assert plain(f"resume={whole.info.run_id}") == (0, "")
    assert {run.info.status for runs in runs_of(home) for run in runs} == {"FINISHED"}


def test_an_interrupted_arm_goes_on_and_the_others_wait_for_it(home, plain, monkeypatch):
    from tsfm.training.callbacks import LastCheckpoint

    saved = LastCheckpoint._save
    calls = []

    def interrupted(self, trainer):
        saved(self, trainer)
        calls.append(trainer.global_step)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "_save", interrupted)
        assert plain()[0] == 130
    (whole,), parts = runs_of(home)
    assert {run.info.status for run in [whole, *parts]} == {"KILLED"}
    assert len(parts) == 2

    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            LastCheckpoint, "_save", lambda self, t: (saved(self, t), calls.append(t.global_step))
        )
        assert plain(f"resume={whole.info.run_id}")[0] == 0
    again, same = runs_of(home)
    assert [run.info.run_id for run in again] == [whole.info.run_id]
    assert {run.info.run_id for run in same} == {run.info.run_id for run in parts}
    assert {run.info.status for run in [*again, *same]} == {"FINISHED"}
    assert sorted(calls)[0] > 1
    history = client_of(home).get_metric_history(same[0].info.run_id, "train_loss")
    assert sorted(point.step for point in history) == [1, 2, 3]
    assert len(client_of(home).search_model_versions()) == 2


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["channel_mixing=some"], "channel_mixing='some'.*none, attention, both"),
        (["model=moirai"], "no arms.*patchtst, panda or hf"),
        (["augmentations=all"], "augmentations='all'.*panda, dystformer"),
        (["seeds=0"], "seeds=0"),
        (["context=1000"], "1000.*longer than a trajectory of 1024 points"),
        (["data=nowhere"], "data='nowhere' does not exist"),
        (["base_model=x/y"], "base_model='x/y' is of one arm"),
        (["scales=8x4"], "scales='8x4'.*systems x trajectories x steps"),
        (["scales=8x4x9,16x4x9"], "names 2 scales"),
        (["scales=8x4x9,9x9x9,9x9x99", "channel_mixing=none"], "scales='8x4x9.*channel_mixing"),
        (["overrides=ensemble.systems=[Lorentz,Chen]"], "Lorentz.*Lorenz"),
        (["overrides=judging.baselines=[oracle]"], "oracle"),
        (["overrides=judging.headline_steps=100"], "headline_steps=100.*128"),
        (["overrides=judging.test_share=0.9"], "test_share=0.9"),
        (["horizon=8"], "horizon=8.*16"),
    ],
)
def test_mistakes_are_told(words, told):
    with pytest.raises(UserError, match=f"(?s){told}") as caught:
        configured(*words)
    assert "\n" not in str(caught.value)


def test_data_that_is_no_trajectory_is_told(home, plain):
    (home / "empty").mkdir()
    expect_told(plain(data="empty"), "train/SYSTEM", "empty")
    (home / "odd" / "train" / "Lorenz").mkdir(parents=True)
    (home / "odd" / "train" / "Lorenz" / "first.arrow").write_bytes(b"")
    expect_told(plain(data="odd"), "first.arrow")
    made = trajectories({name: MEMBERS[name] for name in ("Rossler", "Chen")})
    Panel.write(home / "trained", made, made.info)
    expect_told(plain(data="trained"), "no system of a held-out family", "n_systems")
    expect_told(plain("horizon=128"), "longer than every trajectory", "160")


def test_too_few_systems_are_told_before_anything_is_simulated(home, plain, monkeypatch):
    import tsfm.data.dynamics.corpus as corpus

    monkeypatch.setattr(corpus, "simulate_ensemble", None)
    expect_told(plain("n_systems=1", data=""), "0 of the systems", "n_systems")


# --- scales ---------------------------------------------------------------------------------------


def test_scales_are_read_and_sorted():
    study = configured("scales=16x8x600, 8x4x200,  20x2x900").study
    assert [scale.name for scale in study] == ["8x4x200", "20x2x900", "16x8x600"]
    assert study[2].size == 16 * 8 * 600
    several = configured("scales=16x8x600, 8x4x200, 20x2x900")
    assert several.at(several.study[0]).trainer.max_steps == 200
    assert (several.simulated.n_systems, several.simulated.n_trajectories) == (20, 8)
    alone = configured("n_systems=20", "max_steps=50")
    assert [scale.name for scale in alone.study] == ["20x8x50"]
    assert alone.at(alone.study[0]) is alone


def test_arms_at_several_scales_are_held_against_each_other(home, plain, monkeypatch):
    import tsfm.data.dynamics.corpus as corpus

    def simulated(config, *, progress):
        (home / "report.json").write_text("{}")
        assert (config.n_systems, config.n_trajectories) == (9, 8)
        return trajectories(count=8), home / "report.json"

    monkeypatch.setattr(corpus, "simulated", simulated)
    monkeypatch.setattr(corpus, "expect_both_sides", lambda config: None)
    assert plain("scales=3x8x2,6x8x2,9x8x3", data="") == (0, "")
    (whole,), parts = runs_of(home)
    assert {run.info.run_name for run in parts} == {
        f"{scale}-{arm}-0" for scale in ("3x8x2", "6x8x2", "9x8x3") for arm in ("none", "attention")
    }
    table = table_of(home, whole, "scaling")
    assert set(table["other"]) == {"patchtst-none", "parroting"}
    assert list(dict.fromkeys(table["size"])) == [48, 96, 216]
    trained = {run.info.run_name: run.data.params["config.trainer.max_steps"] for run in parts}
    assert (trained["3x8x2-none-0"], trained["9x8x3-none-0"]) == ("2", "3")
    assert len(client_of(home).search_model_versions()) == 2
    told = whole.data.tags["conclusion"]
    assert "patchtst-attention / parroting" in told
    assert "s = systems × trajectories × steps" in told


def test_an_ensemble_is_simulated_once(home, monkeypatch):
    from support.dynamics import small

    import tsfm.data.dynamics.corpus as corpus

    monkeypatch.setenv("TSFM_CACHE", str(home / "cache"))
    panel, report = corpus.simulated(small())
    assert report.exists()
    monkeypatch.setattr(corpus, "simulate_ensemble", None)
    again, _ = corpus.simulated(small())
    assert again.fingerprint == panel.fingerprint
    with pytest.raises(TypeError):
        corpus.simulated(small(seed=1))
