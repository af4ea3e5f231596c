from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from support.promotion import LENIENT, Killed, MortalClient

from tsfm.errors import CheckpointError, ConfigError, TrackingError
from tsfm.models.base import Forecast
from tsfm.models.statistical import SeasonalNaive
from tsfm.tracking.promotion import promoter
from tsfm.tracking.promotion.decision import PROMOTED, REFUSED, ROLLED_BACK, UNCHANGED
from tsfm.tracking.promotion.ledger import Ledger
from tsfm.tracking.promotion.moves import moves
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.promotion.promoter import promote, roll_back
from tsfm.tracking.promotion.standing import Standing

MODEL = "ohlcv"
pytestmark = pytest.mark.usefixtures("vault")


@pytest.fixture
def attempt(registered: MlflowClient, policy: Policy):
    """Promote a version."""

    def run(version: str, rules: Policy = policy, client: MlflowClient = registered):
        return promote(client, MODEL, version, rules, run_id=f"run-{version}")

    return run


def standing(client: MlflowClient) -> tuple[str | None, str | None]:
    now = Standing.read(client, MODEL)
    return now.champion, now.previous


def test_versions_become_champion_and_previous(registered: MlflowClient, attempt):
    first = attempt("1")
    assert (first.outcome, first.exit_code) == (PROMOTED, 0)
    assert standing(registered) == ("1", None)
    second = attempt("")
    assert (second.outcome, second.version) == (PROMOTED, "3")
    assert standing(registered) == ("3", "1")
    assert second.standing == Standing(champion="3", previous="1")
    again = attempt("@champion")
    assert (again.outcome, again.exit_code) == (UNCHANGED, 4)
    assert standing(registered) == ("3", "1")


def test_a_rule_that_fails_changes_nothing(registered: MlflowClient, attempt):
    attempt("1")
    strict = Policy.of(LENIENT | {"rules": {"skill": {}, "latency": {"at_most_ms": 1e9}}})
    decision = attempt("2", strict)
    assert (decision.outcome, decision.exit_code) == (REFUSED, 3)
    assert [finding.rule for finding in decision.failed] == ["skill"]
    assert "against ohlcv/1" in decision.why
    assert standing(registered) == ("1", None)
    assert "promotion" not in registered.get_model_version(MODEL, "2").tags


def test_rollback_exchanges_champion_and_previous(registered: MlflowClient, attempt, policy):
    attempt("1")
    with pytest.raises(TrackingError, match="no alias previous"):
        roll_back(registered, MODEL, policy, run_id="r")
    attempt("2")
    back = roll_back(registered, MODEL, policy, run_id="r")
    assert (back.outcome, back.exit_code, back.version) == (ROLLED_BACK, 0, "1")
    assert standing(registered) == ("1", "2")
    roll_back(registered, MODEL, policy, run_id="s")
    assert standing(registered) == ("2", "1")


def test_rollback_without_a_champion_is_told(registered: MlflowClient, policy):
    with pytest.raises(TrackingError, match="no alias champion"):
        roll_back(registered, MODEL, policy, run_id="r")


def test_evidence_about_a_former_champion_refuses(registered: MlflowClient, attempt, monkeypatch):
    attempt("1")
    measure = promoter._move

    def meanwhile(*args):
        monkeypatch.setattr(promoter, "_move", measure)
        assert attempt("3").outcome == PROMOTED
        return measure(*args)

    monkeypatch.setattr(promoter, "_move", meanwhile)
    decision = attempt("2")
    assert decision.outcome == REFUSED
    assert "the champion became version 3 meanwhile; it was measured against version 1" in (
        decision.why
    )
    assert standing(registered) == ("3", "1")


def test_a_holder_that_was_fenced_out_is_refused(registered: MlflowClient, attempt, monkeypatch):
    attempt("1")
    entry = promoter.move_entry

    def slept(*args, **kwargs):
        ledger = Ledger.of(registered, MODEL)
        ledger.put("move", max(ledger.entries("lease")), {"kind": "none"})
        return entry(*args, **kwargs)

    monkeypatch.setattr(promoter, "move_entry", slept)
    assert attempt("2").outcome == REFUSED
    assert standing(registered) == ("1", None)


@pytest.mark.parametrize(
    ("dies_before", "champion"),
    [("log_param", "1"), ("set_model_version_tag", "2"), ("set_registered_model_alias", "2")],
)
def test_a_promotion_that_is_killed_is_undone_or_completed(
    registered: MlflowClient, attempt, policy, life, dies_before: str, champion: str
):
    attempt("1")
    life.end()
    with pytest.raises(Killed):
        attempt(
            "2", client=MortalClient(registered, 2 * (dies_before == "log_param"), [dies_before])
        )
    life.begin()
    assert standing(registered)[0] == "1"
    assert attempt(champion).outcome == UNCHANGED
    assert attempt("3").outcome == PROMOTED
    assert standing(registered) == ("3", champion)


def test_a_move_to_a_version_that_was_deleted_is_undone(registered: MlflowClient, attempt, life):
    attempt("1")
    life.end()
    with pytest.raises(Killed):
        attempt("2", client=MortalClient(registered, 0, ["set_model_version_tag"]))
    life.begin()
    registered.delete_model_version(MODEL, "2")
    assert attempt("3").outcome == PROMOTED
    assert standing(registered) == ("3", "1")
    states = [entry["state"] for entry in Ledger.of(registered, MODEL).entries("done").values()]
    assert states == ["carried out", "undone: a version is deleted", "carried out"]


def test_aliases_that_a_person_moved_are_respected(registered: MlflowClient, attempt):
    attempt("1")
    registered.set_registered_model_alias(MODEL, "champion", "2")
    decision = attempt("3")
    assert decision.outcome == PROMOTED
    assert standing(registered) == ("3", "2")
    last = max(moves(Ledger.of(registered, MODEL)).items())[1]
    assert last["from"] == {"champion": "2", "previous": None}


def test_looks_are_counted_and_limited(attempt):
    few = Policy.of(LENIENT | {"rules": {"skill": {}, "looks": {"at_most": 1}}})
    attempt("1")
    assert [f.rule for f in attempt("2", few).failed] == ["skill", "looks"]
    assert "3 looks" in attempt("3", few).why


@pytest.mark.parametrize(
    ("version", "told"),
    [("9", "there is no version 9 of ohlcv. There are: 1, 2, 3"), ("@best", "no alias @best")],
)
def test_versions_and_aliases_that_do_not_exist_are_told(attempt, registered, version, told):
    with pytest.raises(TrackingError, match=told):
        attempt(version)
    assert Ledger.of(registered, MODEL).entries("look") == {}


def test_models_versions_and_vaults_that_do_not_exist_are_told(
    registered: MlflowClient, policy, home: Path, attempt
):
    with pytest.raises(TrackingError, match=r"no registered model 'nobody'.*ohlcv"):
        promote(registered, "nobody", "", policy, run_id="r")
    assert registered.get_experiment_by_name("promotion/nobody") is None
    registered.create_registered_model("empty")
    with pytest.raises(TrackingError, match="Register a version first"):
        promote(registered, "empty", "", policy, run_id="r")
    with pytest.raises(ConfigError, match="there is no vault"):
        attempt("1", replace(policy, vault=str(home / "none")))


def test_a_version_without_artifacts_is_told(registered: MlflowClient, attempt, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    registered.create_model_version(MODEL, str(tmp_path / "empty"))
    registered.create_model_version(MODEL, str(tmp_path / "gone"))
    with pytest.raises(CheckpointError, match="it holds no forecaster"):
        attempt("4")
    with pytest.raises(TrackingError, match="is gone"):
        attempt("5")
    assert standing(registered) == (None, None)


def test_a_candidate_that_fails_is_refused_with_the_reason(attempt, monkeypatch):
    attempt("1")
    good = SeasonalNaive.predict

    def answering(change):
        calls = []

        def predict(self, *args, **kwargs):
            calls.append(1)
            found = good(self, *args, **kwargs)
            return found if len(calls) == 1 else change(found)

        monkeypatch.setattr(SeasonalNaive, "predict", predict)
        return attempt("2").why

    def broken(_found: Forecast) -> Forecast:
        raise RuntimeError("mat1 and mat2")

    def empty(found: Forecast) -> Forecast:
        quantiles = found.quantiles.copy()
        quantiles[0] = np.nan
        return replace(found, quantiles=quantiles)

    def crossing(found: Forecast) -> Forecast:
        return replace(found, quantiles=found.quantiles[..., ::-1])

    assert "RuntimeError: mat1 and mat2" in answering(broken)
    assert "forecasts are NaN" in answering(empty)
    assert "forecasts cross" in answering(crossing)


def test_a_champion_that_fails_is_an_error(attempt, monkeypatch):
    attempt("1")

    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2")

    monkeypatch.setattr(SeasonalNaive, "predict", broken)
    with pytest.raises(TrackingError, match="the champion, version 1, cannot answer"):
        attempt("2")
