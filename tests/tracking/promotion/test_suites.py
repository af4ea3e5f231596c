"""Evidence of task suites: kept answers are read, what is missing is computed, failures named."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.promotion import LENIENT

from tsfm.data.provenance import Provenance
from tsfm.evaluation.answers import answers
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.suites import load_suite
from tsfm.models.statistical import SeasonalNaive
from tsfm.tracking.promotion import suites
from tsfm.tracking.promotion.contestant import Contestant
from tsfm.tracking.promotion.decision import PROMOTED, REFUSED
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.promotion.promoter import promote
from tsfm.tracking.promotion.rules import SuiteRule
from tsfm.tracking.promotion.suites import ask_suites

TASKS = "general/equipment_orders,general/marriages"
RULE = SuiteRule(tasks=TASKS, metric="mase")


@pytest.fixture(autouse=True)
def cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TSFM_CACHE", str(home / "cache"))
    return home / "cache"


@pytest.fixture
def contestant(registered: MlflowClient):
    return lambda version: Contestant.of(registered, "ohlcv", version)


def test_both_are_asked_and_nothing_twice(contestant, cache: Path, monkeypatch):
    found = ask_suites(contestant("2"), contestant("1"), "seasonal_naive", RULE)
    assert found.scores is not None
    assert set(found.scores["model"]) == {"ohlcv/1", "ohlcv/2"}
    assert set(found.scores["task"]) == set(TASKS.split(","))
    assert not found.problems
    monkeypatch.setattr(Contender, "load", lambda _self: pytest.fail("computed again"))
    again = ask_suites(contestant("2"), contestant("1"), "seasonal_naive", RULE)
    assert again.scores is not None
    assert again.scores["numerator"].tolist() == found.scores["numerator"].tolist()


def test_answers_of_the_leaderboard_are_read(contestant, cache: Path, monkeypatch):
    one = contestant("2")
    contenders = [Contender(name="mine", directory=one.directory), Contender(name="mean")]
    answers(contenders, load_suite(TASKS), metric="mase", kept=cache / "answers")
    monkeypatch.setattr(Contender, "load", lambda _self: pytest.fail("computed again"))
    found = ask_suites(one, None, "mean", RULE)
    assert found.scores is not None
    assert set(found.scores["model"]) == {"ohlcv/2", "mean"}


def test_what_the_candidate_cannot_answer_or_was_trained_on_is_a_problem(
    contestant, tmp_path: Path
):
    (task, _) = load_suite(TASKS)
    _, panel = task.open()
    directory = SeasonalNaive().save(tmp_path / "leaking")
    Provenance.of(panel).save(directory)
    leaking = Contestant(model="m", version="1", directory=directory)
    found = ask_suites(leaking, None, "seasonal_naive", RULE)
    assert found.problems == ("general/equipment_orders: it was trained on the answers",)
    broken = Contestant(model="m", version="2", directory=tmp_path)
    found = ask_suites(broken, None, "seasonal_naive", RULE)
    assert len(found.problems) == 2
    assert "config.json" in found.problems[0]
    beside = ask_suites(contestant("2"), broken, "seasonal_naive", RULE)
    assert beside.scores is None
    assert not beside.problems
    assert "m/2: the directory holds no config.json" in beside.left_out[0]


def test_missing_data_are_told(contestant, monkeypatch):
    monkeypatch.setattr(suites, "load_suite", lambda _tasks: (_gone(),))
    found = ask_suites(contestant("2"), contestant("1"), "seasonal_naive", RULE)
    assert "the file is gone" in found.problems[0]


def _gone():
    from dataclasses import replace

    from tsfm.errors import DataError

    def missing():
        raise DataError("the file is gone", where="panel x")

    return replace(load_suite(TASKS)[0], source=missing)


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(("above", "outcome"), [(-0.5, PROMOTED), (0.5, REFUSED)])
def test_a_policy_may_ask_for_suites(registered: MlflowClient, above: float, outcome: str):
    rules = {"suite": {"tasks": "glucose/virtual_60min", "metric": "mase", "above": above}}
    policy = Policy.of(LENIENT | {"rules": rules})
    decision = promote(registered, "ohlcv", "1", policy, run_id="run")
    assert decision.outcome == outcome
    told = next(finding for finding in decision.findings if finding.rule == "suite")
    assert "mase against seasonal_naive on glucose/virtual_60min" in told.told
