"""Promoters that race, and promoters that are killed at every step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.promotion import Killed, MortalClient

from tsfm.tracking.promotion.decision import PROMOTED
from tsfm.tracking.promotion.ledger import Ledger
from tsfm.tracking.promotion.moves import settle, unfinished
from tsfm.tracking.promotion.policy import Policy
from tsfm.tracking.promotion.promoter import promote, roll_back
from tsfm.tracking.promotion.standing import Standing

MODEL = "ohlcv"
ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_of_twenty_racing_processes_one_wins(home: Path):
    command = [sys.executable, str(ROOT / "benchmarks" / "promotion.py")]
    done = subprocess.run(
        [*command, "--json", "--rounds", "3"], cwd=home, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["promoters"], result["rounds_with_one_winner"], result["ours"]) == (20, 3, 1)


@pytest.mark.parametrize("kind", ["promotion", "rollback"])
@pytest.mark.usefixtures("vault")
def test_a_kill_before_any_write_leaves_all_or_nothing(
    registered: MlflowClient, policy: Policy, life, kind: str
):
    for version in "12":
        promote(registered, MODEL, version, policy, run_id=f"run-{version}")
    before = Standing(champion="2", previous="1")
    after = before.after("3" if kind == "promotion" else "1")
    reached, writes = [], -1
    while True:
        writes += 1
        dying = MortalClient(registered, writes)
        life.end()
        try:
            if kind == "promotion":
                promote(dying, MODEL, "3", policy, run_id=f"kill-{writes}")
            else:
                roll_back(dying, MODEL, policy, run_id=f"kill-{writes}")
            break
        except Killed:
            life.begin()
        ledger = Ledger.of(registered, MODEL)
        decided = unfinished(ledger) is not None
        settle(ledger)
        now = Standing.read(registered, MODEL)
        assert now == after or (now == before and not decided)
        assert unfinished(ledger) is None
        reached.append(now)
        if now == after:
            again = promote(registered, MODEL, "2", policy, run_id=f"back-{writes}")
            assert again.outcome == PROMOTED
            registered.set_registered_model_alias(MODEL, "previous", "1")
    assert Standing.read(registered, MODEL) == after
    first = reached.index(after)
    assert reached == [before] * first + [after] * (len(reached) - first)
    assert first >= 2
    assert len(reached) - first >= 2
