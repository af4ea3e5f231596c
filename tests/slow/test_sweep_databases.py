"""PostgreSQL and MariaDB as storages: what they keep, their locks, two machines on one of them."""

from __future__ import annotations

import math
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy
from optuna.trial import TrialState, create_trial
from support.databases import SECRET, SERVERS
from support.sweeps import command, plan_of, runs_under, study_of, wait_for, written

from sweeps.locks import ServerLock
from sweeps.opening import load_study
from sweeps.storage import StorageLostError, SweepStorage, expect_reachable
from sweeps.study import PLAN, WORKER, SweepOverError
from tsfm.errors import TrackingError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

AWKWARD = [0.1 + 0.2, 5e-324, -5e-324, math.nextafter(1.0, 2.0), 1.7976931348623157e308, -1e-7 / 3]


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with tempfile.TemporaryDirectory() as folder:
        made = SERVERS[request.param](Path(folder))
        yield made
        made.stop()


@pytest.fixture
def storage(server):
    made = SweepStorage(server.with_password)
    yield made
    made.engine.dispose()


def test_tables_are_made_once_by_many_that_start_together(server):
    def versions(_: int) -> list[str]:
        made = SweepStorage(server.address)
        with made.engine.connect() as connection:
            found = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version"))
            return list(found.scalars())

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(versions, range(4)))
    assert found == [[found[0][0]]] * 4


def test_numbers_texts_times_and_names_come_back_as_they_were(storage, server):
    spread = {"low": -1.8e307, "high": 1.8e307}
    plan = plan_of(trials=9, parameters={"x": spread, "y": spread}, enqueue=[{"x": AWKWARD[0]}])
    study = study_of(plan, "Kept", server.with_password)
    other = study_of(plan, "kept", server.with_password)
    assert study._study_id != other._study_id
    taken = study.take()
    long = {"text": "ü" * 200_000, "Text": "another"}
    for name, text in long.items():
        taken.trial.set_user_attr(name, text)
    for step, value in enumerate([*AWKWARD, math.inf, -math.inf, math.nan]):
        taken.trial.report(value, step)
    study.tell(taken.trial, AWKWARD[-1])
    (kept,) = load_study(server.with_password, "Kept").get_trials(states=(TrialState.COMPLETE,))
    assert kept.params == taken.point
    assert kept.params["x"] == AWKWARD[0]
    assert kept.value == AWKWARD[-1]
    assert {name: kept.user_attrs[name] for name in long} == long
    back = [kept.intermediate_values[step] for step in range(9)]
    assert [value.hex() for value in back[:6]] == [value.hex() for value in AWKWARD]
    assert back[6:8] == [math.inf, -math.inf]
    assert math.isnan(back[8])
    assert kept.datetime_start < kept.datetime_complete


def test_a_lock_excludes_others_and_is_not_taken_for_held_when_its_connection_broke(
    storage, server
):
    other = SweepStorage(server.address)
    with storage.lock("one"):
        with pytest.raises(StorageLostError, match=r"another process for 0\.3 s") as told:
            other._acquired(other.engine, "one", 0.3)
        assert SECRET not in str(told.value)
        with other.lock("two", seconds=0.3):
            pass
    with other.lock("one", seconds=0.3):
        pass
    lock = ServerLock(storage.engine.connect(), "one")
    lock.acquire(0.3)
    assert lock.is_held()
    server.stop()
    server.start()
    assert not lock.is_held()
    assert not lock.release()


def test_a_section_whose_lock_was_lost_is_begun_again(storage, server):
    study = study_of(plan_of(), "again", server.with_password)
    began: list[int] = []

    def section() -> int:
        began.append(1)
        if len(began) == 1:
            server.stop()
            server.start()
        return storage.tally(study._study_id, "none")[0]

    assert storage.alone("one", section) == 0
    assert len(began) == 2
    began.clear()
    with storage.lock("one"):
        section()
    assert len(began) == 1


def test_no_two_take_the_same_trial_and_none_too_many(server):
    plan = plan_of(trials=12, enqueue=[{"x": 1.0, "y": float(y)} for y in range(3)])
    study_of(plan, "shared", server.address)

    def numbers(_: int) -> list[int]:
        mine, taken = load_study(server.address, "shared"), []
        while True:
            try:
                taken.append(mine.take().trial.number)
            except SweepOverError:
                return taken

    with ThreadPoolExecutor(3) as threads:
        found = [number for some in threads.map(numbers, range(3)) for number in some]
    assert sorted(found) == list(range(12))


def test_heartbeats_do_not_depend_on_the_zone_of_the_server(storage, server):
    study = study_of(plan_of(), "zones", server.with_password)
    study.take()
    there = {
        "postgresql": "ALTER DATABASE sweeps SET timezone = '{}'",
        "mysql": "SET GLOBAL time_zone = '{}'",
    }[storage.engine.name]
    zones = {"postgresql": ("Asia/Tokyo", "UTC"), "mysql": ("+09:00", "SYSTEM")}
    admin = SweepStorage(server.address)
    for zone in zones[storage.engine.name]:
        with admin.engine.begin() as connection:
            connection.execute(sqlalchemy.text(there.format(zone)))
        later = load_study(server.with_password, "zones")
        assert later.recover() == []
        later.rdb.record_heartbeat(later.get_trials()[0]._trial_id)
    cut_off = create_trial(
        state=TrialState.RUNNING, user_attrs={WORKER: later.get_trials()[0].user_attrs[WORKER]}
    )
    number = later.rdb.create_new_trial(later._study_id, cut_off)
    assert [one._trial_id for one in later.recover()] == [number]


def test_what_cannot_be_used_is_told_in_a_line_without_the_password(server):
    wrong = server.with_password.replace(SECRET, "wr/ong")
    with pytest.raises(TrackingError, match=r"guarded.*storage=.*guarded:\*\*\*@") as told:
        expect_reachable(wrong)
    assert "wr/ong" not in str(told.value)
    assert "\n" not in str(told.value)
    with pytest.raises(StorageLostError, match="guarded"):
        SweepStorage(wrong)


def sweep(place: Path, storage: str, home: Path, trials: int):
    return command(
        place, "experiment=rehearsal", f"space={home}/space.yaml", "study=s", f"trials={trials}",
        f"storage={storage}", "join=true", "pruner=median",
        "overrides=heartbeat=2 grace=6",
        MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db",
    )  # fmt: skip


def test_two_machines_share_a_study_whose_database_goes_away(home, empty_database, server, storage):
    from mlflow import MlflowClient

    shutil.copy(empty_database, home / "mlflow.db")
    written(home / "space.yaml", fixed={"seconds": 0.4}, sampler="tpe")
    places = [home / "one", home / "two"]
    for place in places:
        place.mkdir()
    trials = 20
    machines = [sweep(place, server.with_password, home, trials) for place in places]
    wait_for(
        lambda: any(
            one.study_name == "s" and PLAN in one.user_attrs for one in storage.get_all_studies()
        ),
        150,
    )
    study = load_study(server.with_password, "s")

    def ended() -> int:
        return len(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))

    wait_for(lambda: ended() >= 3, 150)
    server.stop()
    server.start()
    told = [machine.communicate(timeout=200) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], "\n".join(map("".join, told))
    assert "Traceback" not in "".join(err for _, err in told)
    assert study.standing().is_over
    assert ended() == trials
    workers = {one.user_attrs["worker"] for one in study.get_trials()}
    assert len(workers) == 2
    client = MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")
    parent = study.user_attrs["sweep:parent"]
    runs = runs_under(client, parent)
    assert client.get_run(parent).info.status == "FINISHED"
    kept = [run for run in runs if run.info.status == "FINISHED"]
    assert len(kept) == trials
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    assert not list(home.glob("*/sweeps.db"))
