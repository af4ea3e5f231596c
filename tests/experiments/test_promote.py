"""The entry point: what it refuses, what it answers, and with which exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.entry_points import expect_told
from support.told_commands import run_entry

from experiments import promote
from experiments.promote_config import PromoteConfig
from tsfm.errors import ConfigError
from tsfm.tracking.promotion.decision import REFUSED, UNCHANGED, Decision
from tsfm.tracking.promotion.standing import Standing
from tsfm.tracking.promotion.vault import Vault


@pytest.fixture
def answer(home, monkeypatch, capfd):
    """Run the entry point; its exit code and what it wrote to stderr."""

    def call(*words: str) -> tuple[int, str]:
        code, _, err = run_entry("promote", words, monkeypatch, capfd)
        return code, err

    return call


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["version=three"], "version='three' is no version"),
        (["version=@"], "version='@' is no version"),
        (["model=models:/ohlcv/3"], "Give the name alone"),
        (["rollback=true", "show=true"], "rollback and show at once"),
        (["rollback=true", "version=3"], "version=3 with rollback"),
        (["policy=none.yaml"], "there is no such policy"),
        (["rollback=perhaps"], "rollback"),
        (["seal=true", "data=nowhere"], "nowhere"),
        (["context=0"], "context=0"),
    ],
)
def test_bad_words_are_told_before_anything_is_loaded(answer, words: list[str], told: str):
    expect_told(answer(*words), told)


def test_an_unknown_rule_is_told_with_the_nearest(answer, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("rules: {calibraton: {}}")
    expect_told(answer("policy=mine.yaml"), "'calibraton'", "Did you mean calibration", "mine.yaml")


@pytest.mark.parametrize("words", [[], ["rollback=true"], ["show=true"]])
def test_a_model_that_is_not_registered_is_told(answer, words: list[str]):
    expect_told(answer("model=nobody", *words), "no registered model 'nobody'")


@pytest.mark.parametrize(("outcome", "code"), [(REFUSED, 3), (UNCHANGED, 4)])
def test_exit_codes_tell_the_outcome(answer, monkeypatch, outcome: str, code: int):
    decision = Decision(
        outcome=outcome, model="ohlcv", version="3", standing=Standing(), why="because"
    )
    monkeypatch.setattr(promote, "promote", lambda _config: decision)
    assert answer() == (code, "")


def test_seal_freezes_the_last_bars_of_a_source(answer, home: Path):
    words = ["seal=true", "model=mine", "context=64", "horizon=5", "data=sample"]
    code, err = answer(*words)
    assert code == 0, err
    vault = Vault.open(home / "vaults" / "mine")
    assert [task.name for task, _ in vault.tasks] == ["sample_bars/time", "sample_bars/symbols"]
    assert all(task.windows(panel) for task, panel in vault.tasks)
    assert set(promote.asked_elsewhere(vault)) == {"ohlcv/daily_10"}
    expect_told(answer(*words), "never replaced")


def test_a_policy_by_name_or_file(tmp_path: Path):
    named = PromoteConfig()
    assert named.policy_file.name == "promotion.yaml"
    own = tmp_path / "own.yaml"
    own.write_text("rules: {looks: {at_most: 3}}")
    assert PromoteConfig(policy=str(own)).rules().rule("looks").at_most == 3
    with pytest.raises(ConfigError, match="no such policy"):
        PromoteConfig(policy="nothing")
