from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from support.promotion import Killed, MortalClient

from tsfm.errors import TrackingError
from tsfm.tracking.promotion import ledger as module
from tsfm.tracking.promotion.ledger import LEDGER_TAG, Ledger, patient

BUSY = MlflowException("(sqlite3.OperationalError) database is locked")
BUSY.error_code = "TEMPORARILY_UNAVAILABLE"


def test_a_model_has_one_ledger(client: MlflowClient):
    assert Ledger.existing(client, "ohlcv") is None
    ledger = Ledger.of(client, "ohlcv")
    assert Ledger.of(client, "ohlcv").run_id == ledger.run_id
    assert Ledger.existing(client, "ohlcv").run_id == ledger.run_id
    assert Ledger.of(client, "it's other").run_id != ledger.run_id
    run = client.get_run(ledger.run_id)
    assert (run.info.run_name, run.info.status) == ("ohlcv", "FINISHED")


def test_many_that_begin_at_once_get_the_same(client: MlflowClient):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: Ledger.of(client, "ohlcv").run_id, range(8)))
    assert len(found) == 1
    home = client.get_experiment_by_name("promotion").experiment_id
    assert [run.info.run_id for run in client.search_runs([home])] == list(found)


def test_one_that_is_overtaken_at_the_beginning_joins_the_first(client: MlflowClient):
    class Overtaken(MlflowClient):
        def create_run(self, *args, **kwargs):
            run = super().create_run(*args, **kwargs)
            self.first = Ledger.of(client, "ohlcv")
            return run

    slow = Overtaken(tracking_uri=client.tracking_uri)
    assert Ledger.of(slow, "ohlcv").run_id == slow.first.run_id


@pytest.mark.parametrize("writes", range(4))
def test_one_that_is_killed_at_the_beginning_leaves_nothing(client: MlflowClient, writes: int):
    with pytest.raises(Killed):
        Ledger.of(MortalClient(client, writes), "ohlcv")
    ledger = Ledger.of(client, "ohlcv")
    home = client.get_experiment_by_name("promotion").experiment_id
    assert [run.info.run_id for run in client.search_runs([home])] == [ledger.run_id]


def test_a_line_is_written_once(ledger: Ledger):
    first = {"who": "a", "list": [1, 2], "share": 0.1}
    assert ledger.put("move", 1, first) == first
    assert ledger.put("move", 1, {"who": "b"}) == first
    assert ledger.put("move", 1, first) == first
    assert ledger.entries("move") == {1: first}
    assert ledger.entries("mov") == {}


def test_of_many_writers_one_wins_and_all_know_whom(ledger: Ledger):
    with ThreadPoolExecutor(8) as pool:
        retained = list(pool.map(lambda k: ledger.put("lease", 1, {"who": k})["who"], range(16)))
    assert len(set(retained)) == 1


def test_appended_lines_have_numbers_of_their_own(ledger: Ledger):
    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(lambda k: ledger.append("look", {"who": k}), range(12)))
    assert len(set(numbers)) == 12
    assert {n: entry["who"] for n, entry in ledger.entries("look").items()} == {
        number: k for k, number in enumerate(numbers)
    }


def test_a_line_that_is_too_long_is_refused_rather_than_cut(ledger: Ledger):
    with pytest.raises(TrackingError, match="has 7010 characters"):
        ledger.put("look", 1, {"why": "x" * 7000})
    assert ledger.entries("look") == {}


def test_a_busy_store_is_waited_for(ledger: Ledger, monkeypatch):
    answers = iter([BUSY, BUSY, None])
    log_param = ledger.client.log_param

    def busy(*args, **kwargs):
        if error := next(answers):
            raise error
        return log_param(*args, **kwargs)

    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    monkeypatch.setattr(ledger.client, "log_param", busy)
    assert ledger.put("move", 1, {"who": "a"}) == {"who": "a"}


def test_a_store_that_is_locked_while_it_is_connected_to_is_waited_for():
    answers = iter([TrackingError("the tracking database cannot be used: database is locked"), 3])

    @patient
    def connect() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert connect() == 3
    other = patient(lambda: (_ for _ in ()).throw(TrackingError("no such folder")))
    with pytest.raises(TrackingError, match="no such folder"):
        other()


def test_a_write_whose_answer_was_lost_is_recognised(ledger: Ledger, monkeypatch):
    log_param = ledger.client.log_param

    def lost(*args, **kwargs):
        log_param(*args, **kwargs)
        raise MlflowException("connection reset")

    monkeypatch.setattr(ledger.client, "log_param", lost)
    assert ledger.put("move", 1, {"who": "a"}) == {"who": "a"}


def test_a_store_that_stays_away_is_told(ledger: Ledger, monkeypatch):
    def gone(*_, **__):
        raise BUSY

    monkeypatch.setattr(module, "SECONDS_OF_PATIENCE", -1.0)
    monkeypatch.setattr(ledger.client, "get_run", gone)
    with pytest.raises(TrackingError, match="database is locked"):
        ledger.lines()


def test_a_deleted_ledger_and_a_foreign_experiment_are_told(client: MlflowClient):
    ledger = Ledger.of(client, "ohlcv")
    client.delete_run(ledger.run_id)
    with pytest.raises(TrackingError, match=f"mlflow runs restore --run-id {ledger.run_id}"):
        Ledger.of(client, "ohlcv")
    client.restore_run(ledger.run_id)
    experiment = client.get_experiment_by_name("promotion/ohlcv").experiment_id
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore -x {experiment}"):
        Ledger.of(client, "ohlcv")
    client.create_experiment("promotion/other")
    with pytest.raises(TrackingError, match=f"no tag {LEDGER_TAG}"):
        Ledger.of(client, "other")
