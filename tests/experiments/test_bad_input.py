"""Bad input, end to end in one process: one line, exit code 2, and nothing half-done left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.bad_bars import (
    bars,
    constant,
    impossible,
    missing_column,
    repeated,
    undated,
    unobserved,
    unsorted,
    wordy,
)
from support.entry_points import Answer, expect_told

from tsfm.errors import TrackingError

TINY = [
    "max_steps=2", "batch_size=2", "patch_sizes=16", "context=64", "horizon=16", "register_as=tiny",
]  # fmt: skip
OVERRIDES = (
    "model.d_model=64 model.num_layers=1 trainer.warmup_steps=1 trainer.validate_every=1"
    " trainer.validation_batches=1 trainer.progress=false data.simulated_assets=4"
    " data.simulated_bars=600 evaluation.windows_per_item=1 evaluation.items_per_task=2"
    " evaluation.baselines=[random_walk]"
)


@pytest.fixture
def pretraining(command) -> Callable[..., Answer]:
    def call(*words: str, overrides: str = "") -> Answer:
        return command("pretrain", *TINY, f"overrides={OVERRIDES} {overrides}", *words)

    return call


@pytest.fixture
def never_trains(monkeypatch):
    """Fails when training begins."""
    import tsfm.training.trainer as trainer

    def begun(*arguments, **options):
        raise AssertionError("training began")

    monkeypatch.setattr(trainer, "_run", begun)


def expect_nothing_left(home: Path, runs: int = 1) -> None:
    """Every run has ended as failed, and no model was logged or registered."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments)
    assert [run.info.status for run in found] == ["FAILED"] * runs
    assert all(run.data.tags["failure"] for run in found)
    assert not client.search_model_versions()
    assert not client.search_registered_models()
    assert not client.search_logged_models(experiments)


BAD_BARS = [
    (missing_column, ["high"]),
    (unsorted, ["BBB", "row 311", "not later"]),
    (repeated, ["BBB", "row 311"]),
    (constant, ["BBB", "7"]),
    (unobserved, ["BBB", "close"]),
    (impossible, ["BBB", "row 310", "high"]),
    (wordy, ["volume", "many"]),
    (undated, ["yesterday"]),
]


@pytest.mark.parametrize(
    ("spoil", "told"), BAD_BARS, ids=lambda value: getattr(value, "__name__", "")
)
def test_bad_bars(home, pretraining, never_trains, spoil, told):
    spoil(bars()).to_csv(home / "bars.csv", index=False)
    expect_told(pretraining(f"data={home / 'bars.csv'}"), *told, "bars")
    expect_nothing_left(home)


@pytest.mark.parametrize(
    ("length", "told"),
    [
        (20, "64 + 16 bars: the longest has 20"),
        (79, "64 + 16 bars"),
        (90, "0 of 3 series hold a window of 64 + 16 bars"),
    ],
)
def test_series_shorter_than_one_window_or_too_short_to_be_divided(
    home, pretraining, never_trains, length, told
):
    bars(length=length).to_parquet(home / "bars.parquet")
    expect_told(pretraining(f"data={home / 'bars.parquet'}"), told, "panel bars", "longer series")
    expect_nothing_left(home)


def test_a_file_that_is_no_table(home, pretraining, never_trains):
    (home / "bars.parquet").write_bytes(b"no parquet at all")
    expect_told(pretraining(f"data={home / 'bars.parquet'}"), "cannot be read", "bars.parquet")
    (home / "bars.csv").write_text("")
    expect_told(pretraining(f"data={home / 'bars.csv'}"), "bars.csv")
    expect_nothing_left(home, runs=2)


def test_a_folder_that_is_no_panel(home, pretraining, never_trains):
    (home / "folder").mkdir()
    expect_told(pretraining(f"data={home / 'folder'}"), "folder")
    expect_nothing_left(home)


def test_context_and_horizon_over_the_token_budget_of_the_panel_s_variates(
    home, pretraining, never_trains
):
    """⌈64 / 16⌉ + ⌈16 / 16⌉ = 5 tokens of each of 4 variates."""
    answer = pretraining("data=simulated", overrides="model.token_budget=19")
    expect_told(
        answer, "context 64 + horizon 16 of 4 variates need 20 tokens at patch size 16", "19"
    )
    expect_nothing_left(home)


def test_context_and_horizon_over_the_token_budget_of_any_panel(home, pretraining):
    expect_told(pretraining("data=simulated", overrides="model.token_budget=4"), "need 5 tokens")
    expect_nothing_left(home, runs=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["base_model=nowhere"], "'nowhere'"),
        (["base_model=models:/nobody/1"], "models:/nobody/1"),
        (["base_model=scratch", "mode=full"], "of 4 variates need 20 tokens"),
    ],
)
def test_finetuning_fails_before_it_trains(home, command, never_trains, words, told):
    given = [word for word in TINY if not word.startswith("patch_sizes")]
    overrides = f"overrides={OVERRIDES} model.patch_sizes=[16] model.token_budget=19"
    given = [*given, "model=moirai", overrides, "data=simulated"]
    expect_told(command("finetune", *given, *words), told)
    expect_nothing_left(home)


# --- places that cannot be reached or written to --------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:1",
        "postgresql://nobody@127.0.0.1:1/none",
        "sqlite:////no/such/folder/mlflow.db",
        "carrier-pigeon://coop",
    ],
)
def test_unreachable_tracking(home, pretraining, never_trains, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    expect_told(pretraining("data=simulated"), uri)
    expect_nothing_left(home, runs=0)
    assert not (home / "outputs").exists()


def test_a_database_that_is_none(home, pretraining, never_trains):
    (home / "mlflow.db").write_bytes(b"no database" * 100)
    expect_told(pretraining("data=simulated"), "mlflow.db")


@pytest.mark.parametrize("place", ["/proc", "/dev/full"])
def test_artifacts_that_cannot_be_written(home, pretraining, never_trains, place):
    """Nobody, root included, can make files there."""
    (home / "mlruns").symlink_to(place)
    expect_told(pretraining("data=simulated"), "artifact", "mlruns")
    expect_nothing_left(home, runs=0)


@pytest.mark.parametrize("place", ["/proc", "a file"])
def test_checkpoints_that_cannot_be_written(home, pretraining, never_trains, place):
    (home / "a file").touch()
    (home / "outputs").symlink_to(place)
    expect_told(pretraining("data=simulated"), "checkpoints", "outputs")
    expect_nothing_left(home, runs=0)


# --- going on with a run --------------------------------------------------------------------------


@pytest.fixture
def interrupted(home, pretraining, monkeypatch) -> str:
    """The id of a run, on a file of an awkward name, interrupted while it was validated."""
    from tsfm.training.monitor import ForecastMonitor

    def interrupt(self, model, step):
        raise KeyboardInterrupt

    bars(length=600).to_csv(home / "my bars (1).csv", index=False)
    with monkeypatch.context() as patched:
        patched.setattr(ForecastMonitor, "__call__", interrupt)
        code, err = pretraining("data=my bars (1).csv")
    assert (code, err.splitlines()[-1]) == (130, "interrupted")
    ((run_id, status),) = statuses(home).items()
    assert status == "KILLED"
    return run_id


def statuses(home: Path) -> dict[str, str]:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id: run.info.status for run in client.search_runs(experiments)}


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint(home, pretraining, interrupted, never_trains, content):
    path = home / "outputs" / interrupted / "checkpoints" / "last.ckpt"
    path.write_bytes(content)
    expect_told(pretraining(f"resume={interrupted}"), "last.ckpt")
    expect_nothing_left(home)


def test_a_run_stopped_before_its_first_checkpoint_starts_over(home, pretraining, interrupted):
    assert not (home / "outputs" / interrupted / "checkpoints" / "last.ckpt").exists()
    code, err = pretraining(f"resume={interrupted}")
    assert code == 0, err
    assert statuses(home) == {interrupted: "FINISHED"}
    (version,) = MlflowClient(f"sqlite:///{home / 'mlflow.db'}").search_model_versions()
    assert (version.name, version.run_id) == ("tiny", interrupted)


def test_nothing_is_registered_when_the_results_cannot_be_recorded(home, pretraining, monkeypatch):
    from tsfm.tracking import publish

    def refuse(*arguments, **options):
        raise TrackingError("the store is gone")

    monkeypatch.setattr(publish, "log_model_metrics", refuse)
    expect_told(pretraining("data=simulated"), "the store is gone")
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    assert set(statuses(home).values()) == {"FAILED"}
    assert not client.search_registered_models()


def test_a_run_whose_outputs_are_elsewhere(home, pretraining, interrupted, never_trains):
    (home / "outputs").rename(home / "moved")
    expect_told(pretraining(f"resume={interrupted}"), interrupted, "outputs")
    assert statuses(home) == {interrupted: "KILLED"}


def test_a_run_that_never_was(home, pretraining, never_trains):
    expect_told(pretraining("resume=0123456789abcdef"), "0123456789abcdef")
    expect_nothing_left(home, runs=0)


# --- building panels ------------------------------------------------------------------------------
