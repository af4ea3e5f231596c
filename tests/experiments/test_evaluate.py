"""Looking into a model by command: what is logged, what is told, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.embedders import oscillators
from support.entry_points import Answer, expect_told
from support.patchtst import make_patchtst
from support.told_commands import run_entry

from experiments import evaluate
from experiments.cli import compose_config
from experiments.evaluate_config import EvaluateConfig
from tsfm.data.panel import Panel
from tsfm.errors import UserError

SMALL = (
    "embeddings.permutations=10 tokens.bars=8 tokens.windows=8 tokens.permutations=10"
    " koopman.stride=8 koopman.delays=16 koopman.rank=4 koopman.steps=[1,2]"
    " precision.lengths=[16,32] precision.starts=2 precision.integrated=64 precision.windows=1"
    " forgetting.context=64 forgetting.windows=3"
)


@pytest.fixture
def running(home, monkeypatch, capfd) -> Callable[..., Answer]:
    """Run the entry point on oscillators and a tiny model; its exit code and stderr."""
    panel, _ = oscillators(points=200)
    Panel.write(home / "made", panel, panel.info)
    make_patchtst(context=64, patch=8).save(home / "model")

    def call(*words: str, overrides: str = "") -> Answer:
        given = ["context=64", "horizon=16", f"overrides={SMALL} {overrides}", *words]
        code, _, err = run_entry("evaluate", given, monkeypatch, capfd)
        return code, err

    return call


def only_run(home: Path):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    names = {
        entry.path
        for folder in ("tables", "plots")
        for entry in client.list_artifacts(run.info.run_id, folder)
    }
    return run, names


def test_several_analyses_are_one_run(home, running):
    assert running("model=model", "analysis=embeddings, tokens,koopman", "data=made") == (0, "")
    run, names = only_run(home)
    assert run.info.status == "FINISHED"
    assert {f"plots/{name}.png" for name in ("embeddings", "tokens", "koopman")} <= names
    assert {f"tables/{name}.csv" for name in ("separability", "token_kinds", "koopman")} <= names
    assert 0 <= run.data.metrics["embeddings.neighbours.system.encoder"] <= 1
    assert run.data.metrics["tokens.error.last"] > 0
    assert run.data.metrics["koopman.r2.state.encoder.1"] <= 1
    for word in ("systems apart", "next token", "linear operator"):
        assert word in run.data.tags["conclusion"]
    assert run.data.params["config.model"] == "model"


def test_context_needs_systems_and_a_name_is_enough_of_a_model(home, running):
    answer = running(
        "model=parroting", "analysis=context", overrides="ensemble.systems=[Lorenz,Rossler]"
    )
    assert answer[0] == 0, answer[1]
    run, names = only_run(home)
    assert {"plots/context.png", "tables/context.csv", "tables/context_law.csv"} <= names
    assert run.data.metrics["context.valid_time.parroting.32.1e-12"] >= 0


def test_forgetting_needs_a_base_and_no_systems(home, running):
    expect_told(running("model=model", "analysis=forgetting"), "without base", "base=")
    answer = running("model=model", "analysis=forgetting", "base=random_walk")
    assert answer[0] == 0, answer[1]
    run, names = only_run(home)
    assert {"plots/forgetting.png", "tables/forgetting.csv"} <= names
    assert "ordinary series" in run.data.tags["conclusion"]
    assert run.data.metrics["forgetting.change.mase.sunspots"] != 0


def test_models_without_an_encoder_are_refused_in_a_line(running):
    told = running("model=parroting", "analysis=koopman", "data=made")
    expect_told(told, "parroting has no encoder", "patchtst")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model="], "model is empty.*baseline"),
        (["analysis="], "analysis is empty.*koopman"),
        (["analysis=tokens,colours"], "analysis='colours'.*forgetting, embeddings"),
        (["data=nowhere"], "data='nowhere' does not exist"),
        (["context=2048"], "context=2048 is no shorter.*ensemble.points"),
        (["horizon=0"], "horizon=0"),
        (["overrides=precision.rtols=[1e-8,1e-3]"], "precision.rtols"),
        (["overrides=koopman.rank=0"], "koopman.rank=0"),
        (["overrides=ensemble.systems=[Lorentz]"], "Lorentz.*Lorenz"),
    ],
)
def test_mistakes_are_told(words, told):
    with pytest.raises(UserError, match=f"(?s){told}") as caught:
        compose_config("evaluate", EvaluateConfig, evaluate.PARAMETERS, words)
    assert "\n" not in str(caught.value)


def test_systems_of_the_users_own_have_no_precision(tmp_path):
    with pytest.raises(UserError, match=r"analysis=context with data="):
        compose_config(
            "evaluate", EvaluateConfig, evaluate.PARAMETERS,
            ["analysis=context", f"data={tmp_path}"],
        )  # fmt: skip
