"""What a storage's failures mean, and what a process that was cut off leaves in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial
from support.sweeps import plan_of, study_of

from sweeps import servers
from sweeps.locks import ServerLock
from sweeps.opening import load_study
from sweeps.storage import StorageLostError, SweepStorage, _patiently, expect_reachable
from sweeps.study import WORKER, SweepOverError, SweepStudy
from tsfm.errors import ConfigError, TrackingError
from tsfm.tracking.environment import Process


def failed(told: Exception) -> StorageInternalError:
    """As Optuna raises what a driver has told of a statement."""
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = told
    if not isinstance(told, sqlalchemy.exc.SQLAlchemyError):
        error.__cause__ = sqlalchemy.exc.OperationalError(
            "INSERT INTO trial_user_attributes", {"value_json": "the disk is full"}, told
        )
    return error


@pytest.mark.parametrize(
    ("told", "calls"),
    [
        (Exception(2013, "Lost connection to MySQL server during query"), 3),
        (Exception("server closed the connection unexpectedly\n\tThis probably means"), 3),
        (Exception(1406, "Data too long for column 'value_json' at row 1"), 1),
        (Exception("database or disk is full"), 1),
        (
            sqlalchemy.exc.PendingRollbackError(
                "Can't reconnect until invalid transaction is rolled back.  Please rollback() "
                "fully before proceeding"
            ),
            3,
        ),
    ],
)
def test_what_can_pass_is_waited_for_and_nothing_else(home, monkeypatch, told, calls):
    monkeypatch.setattr("sweeps.storage.time.sleep", lambda _: None)
    asked: list[int] = []

    @_patiently
    def third_time(_: SweepStorage) -> str:
        asked.append(1)
        if len(asked) < 3:
            raise failed(told)
        return "done"

    storage = study_of(plan_of()).rdb
    if calls == 3:
        assert third_time(storage) == "done"
    else:
        with pytest.raises(StorageLostError, match=re.escape(str(told.args[-1]))):
            third_time(storage)
    assert len(asked) == calls


def test_a_trial_taken_without_a_sign_of_life_is_tried_again(home):
    study = study_of(plan_of(trials=2))
    owner = Process.current()
    mine = {WORKER: f"{owner.host}/{owner.pid}/{owner.started!r}"}
    study.add_trial(create_trial(state=TrialState.WAITING))
    cut_off = study.rdb.create_new_trial(
        study._study_id, create_trial(state=TrialState.RUNNING, user_attrs=mine)
    )
    alive = study.take().trial
    assert [one._trial_id for one in study.recover()] == [cut_off]
    assert study.get_trials()[alive.number].state == TrialState.RUNNING
    assert study.standing().waiting == 1


def test_a_waiting_trial_that_another_process_made_is_taken(home):
    study = study_of(plan_of(trials=1))
    other = load_study(study.rdb.uri, study.study_name)
    other.get_trials()
    study.enqueue_trial({"x": 1.0, "y": 2.0})
    assert other.take().point == {"x": 1.0, "y": 2.0}


def test_a_study_whose_making_was_broken_off_is_made_anew(home, monkeypatch):
    earlier = study_of(plan_of(), "earlier")
    for value in (1.0, 2.0):
        earlier.tell(earlier.take().trial, value)

    def broken_off(self: SweepStudy) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(SweepStudy, "await_points", broken_off)
        with pytest.raises(KeyboardInterrupt):
            study_of(plan_of(), "later", warm_start="earlier")
    later = study_of(plan_of(), "later", warm_start="earlier")
    assert [one.value for one in later.get_trials()] == [1.0, 2.0]
    assert later.standing().left == 6


@dataclass
class BreakingLock:
    """A server's lock, held or not at each look at it."""

    looks: list[bool]

    def is_held(self) -> bool:
        return self.looks.pop(0)

    release = is_held


@pytest.mark.parametrize("raised", [UpdateFinishedTrialError, KeyError, SweepOverError])
@pytest.mark.parametrize("looks", [[False, False], [True, True]])
def test_what_fails_since_the_lock_was_lost_is_begun_again(home, monkeypatch, raised, looks):
    storage = study_of(plan_of()).rdb
    storage.uri = "postgresql://me@db/x"
    locks = [BreakingLock(looks.copy()), BreakingLock([True])]
    monkeypatch.setattr(storage, "_acquired", lambda *_: locks.pop(0))
    outcomes = [raised, None]

    def section() -> str:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return "done"

    if looks[0]:
        with pytest.raises(raised):
            storage.alone("one", section)
    else:
        assert storage.alone("one", section) == "done"


def test_who_publishes_stops_nobody_else(home, monkeypatch):
    study = study_of(plan_of(trials=2), "other")
    monkeypatch.setattr("sweeps.storage.SECONDS_FOR_LOCK", 0.2)
    publishing = SweepStorage(study.rdb.uri)
    with publishing.lock("finish/one", seconds=9):
        study.take()
        assert study_of(plan_of(), "third").recover() == []
        with (
            pytest.raises(StorageLostError, match=r"another process for 0\.1 s"),
            study.rdb.lock("finish/two", seconds=0.1),
        ):
            pass


@dataclass
class Answering:
    """A connection to MySQL that says 1 to everything."""

    engine: SimpleNamespace
    told: list[tuple[str, dict[str, float]]] = field(default_factory=list)

    def execution_options(self, **_: str) -> Answering:
        return self

    def execute(self, text: object, values: dict[str, float]) -> Answering:
        self.told.append((str(text), values))
        return self

    def scalar(self) -> int:
        return 1


@pytest.mark.parametrize(("waited", "kept"), [(120, 600), (3600, 3600)])
def test_mysql_keeps_a_lock_as_long_as_others_wait_for_it(waited, kept):
    engine = SimpleNamespace(name="mysql", url=SimpleNamespace(database="x"))
    connection = Answering(engine)
    ServerLock(connection, "finish/one").acquire(waited)
    assert connection.told[0] == ("SET SESSION wait_timeout = :seconds", {"seconds": kept})
    assert "GET_LOCK" in connection.told[-1][0]


@pytest.mark.parametrize(
    ("given", "driven"),
    [
        ("mysql://me@db/x", "mysql+pymysql://me@db/x"),
        ("mariadb://me@db/x", "mysql+pymysql://me@db/x"),
        ("mariadb+mysqldb://me@db/x", "mysql+mysqldb://me@db/x"),
        ("postgresql://me@db/x", "postgresql+psycopg://me@db/x"),
        ("sqlite:////tmp/s.db", "sqlite:////tmp/s.db"),
    ],
)
def test_addresses_are_driven_by_what_is_installed(given, driven):
    assert servers.driven(given) == driven


def test_a_missing_driver_is_told_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(servers.DRIVERS, "mysql", "mysql+mysqldb")
    monkeypatch.setitem(servers.EXTRAS, "MySQLdb", "tsfm-lab[mysql]")
    for use in (expect_reachable, SweepStorage):
        with pytest.raises(ConfigError, match=r"MySQLdb\. Pip install 'tsfm-lab\[mysql\]'"):
            use("mysql://me@127.0.0.1:1/x")


def test_a_server_without_a_database_is_refused(monkeypatch):
    monkeypatch.setattr("tsfm.tracking.store.check", lambda _: None)
    with pytest.raises(TrackingError, match=r"names no database.*me:\*\*\*@db"):
        expect_reachable("mysql://me:pw@db")
