from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.promotion import LENIENT, Killed, MortalClient

from tsfm.errors import TrackingError
from tsfm.tracking.promotion.attempt import attempt
from tsfm.tracking.promotion.audit import record_decision, record_evidence, shown
from tsfm.tracking.promotion.ledger import Ledger
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.promotion.promoter import promote, roll_back

MODEL = "ohlcv"
pytestmark = pytest.mark.usefixtures("vault")


@pytest.fixture
def promoted(registered: MlflowClient, policy: Policy):
    """Promote a version on record; the run's id."""

    def run(version: str, rules: Policy = policy) -> str:
        with attempt(MODEL, {"version": version}) as record:
            decision = promote(
                record.client, MODEL, version, rules, run_id=record.run_id,
                keep=lambda *found: record_evidence(record, *found),
            )  # fmt: skip
            record_decision(record, decision)
        return record.run_id

    return run


def test_run_version_and_ledger_tell_of_a_promotion(registered: MlflowClient, promoted):
    registered.update_model_version(MODEL, "1", "Trained on a rainy day.")
    run = registered.get_run(promoted("1"))
    assert run.info.status == "FINISHED"
    experiment = registered.get_experiment(run.info.experiment_id)
    assert experiment.name == "promotion/ohlcv"
    tags = run.data.tags
    assert (tags["promotion.outcome"], tags["promotion.version"]) == ("promoted", "1")
    assert tags["rule.skill"].startswith("passed: crps against seasonal_naive")
    assert "| skill | passed |" in tags["mlflow.note.content"]
    assert run.data.metrics["looks"] == 1
    assert {"skill.low", "skill.skill", "skill.detectable"} <= set(run.data.metrics)

    path = registered.download_artifacts(run.info.run_id, "promotion/evidence.json")
    evidence = json.loads(Path(path).read_text())
    assert (evidence["candidate"], evidence["rival"]) == ("ohlcv/1", "seasonal_naive")
    assert [f["rule"] for f in evidence["findings"]] == ["answers", "skill"]
    tables = {file.path for file in registered.list_artifacts(run.info.run_id, "tables")}
    assert {"tables/leaderboard.csv", "tables/comparison.csv"} <= tables

    version = registered.get_model_version(MODEL, "1")
    assert version.tags["promotion.run"] == run.info.run_id
    assert version.tags["promotion"].startswith("champion since 20")
    assert version.description.startswith(
        "Trained on a rainy day.\n\n**Promotion.** Champion since"
    )
    assert f"`{run.info.run_id}`" in version.description

    page = registered.get_run(Ledger.of(registered, MODEL).run_id)
    assert (page.data.tags["champion"], page.data.tags["looks"]) == ("1", "1")
    assert "| promote | 1 | carried out |" in page.data.tags["mlflow.note.content"]


def test_show_tells_everything_in_order(registered: MlflowClient, promoted, policy, life):
    assert list(shown(MODEL)) == [
        "ohlcv: champion –, previous –", "nothing was ever promoted by `promote`"
    ]  # fmt: skip
    promoted("1")
    promoted("2", Policy.of(LENIENT | {"rules": {"skill": {"above": 0.5}}}))
    promoted("3")
    roll_back(registered, MODEL, policy, run_id="back")
    text = "\n".join(shown(MODEL))
    assert "ohlcv: champion 1, previous 3" in text
    assert "3 looks at 3 versions" in text
    told = [
        "promote version 1: carried out",
        "look version 2: refused",
        "promote version 3: carried out",
        "rollback version 1: carried out",
    ]
    places = [text.index(line) for line in told]
    assert places == sorted(places)
    assert "its lower end must exceed +50.0%" in text
    assert "by other means" not in text

    registered.set_registered_model_alias(MODEL, "champion", "2")
    assert "moved by other means: the last move made version 1 champion" in "\n".join(shown(MODEL))

    life.end()
    with pytest.raises(Killed):
        promote(
            MortalClient(registered, 0, ["set_model_version_tag"]), MODEL, "3", policy, run_id="k"
        )
    life.begin()
    text = "\n".join(shown(MODEL))
    assert "is decided and not carried out: the next start completes it" in text
    assert "promote version 3: decided, not carried out" in text


def test_a_look_that_was_killed_is_shown(registered: MlflowClient, policy, life):
    life.end()
    dying = MortalClient(registered, 1, ["log_param"])
    with pytest.raises(Killed):
        promote(dying, MODEL, "1", policy, run_id="killed")
    life.begin()
    assert "look version 1: not finished" in "\n".join(shown(MODEL))


def test_an_unknown_model_is_told_and_leaves_no_run(registered: MlflowClient):
    with pytest.raises(TrackingError, match="no registered model 'nobody'"):
        list(shown("nobody"))
    before = len(registered.search_experiments())
    with pytest.raises(TrackingError, match="no registered model 'nobody'"), attempt("nobody", {}):
        pass
    assert len(registered.search_experiments()) == before
