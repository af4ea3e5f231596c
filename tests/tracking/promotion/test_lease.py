from __future__ import annotations

import time

import pytest

from tsfm.errors import TrackingError
from tsfm.tracking.promotion import lease as module
from tsfm.tracking.promotion.lease import Lease, is_live, is_open, take
from tsfm.tracking.promotion.ledger import Ledger

MOVE = {"kind": "promote", "champion": "2"}


def taken(ledger: Ledger, seconds: float = 60, patience: float = 0) -> Lease:
    return take(ledger, seconds=seconds, patience=patience, before=lambda _: None)


def test_leases_are_numbered_and_end_once(ledger: Ledger):
    first = taken(ledger)
    assert first.number == 1
    assert is_open(1, ledger.lines())
    first.give_back()
    assert not is_open(1, ledger.lines())
    second = taken(ledger)
    assert second.number == 2
    assert second.end(MOVE)
    assert not second.end(MOVE | {"champion": "3"})
    assert is_open(2, ledger.lines())
    ledger.put("done", 2, {"state": "carried out"})
    assert not is_open(2, ledger.lines())


def test_a_living_holder_is_waited_for_and_named(ledger: Ledger):
    taken(ledger)
    with pytest.raises(TrackingError, match=r"under way: process \d+ of .* for at most \d+ s"):
        taken(ledger)


def test_a_waiting_one_gets_it_once_it_is_given_back(ledger: Ledger, monkeypatch):
    first = taken(ledger)
    monkeypatch.setattr(module.time, "sleep", lambda _: first.give_back())
    assert taken(ledger, patience=60).number == 2


def test_a_lease_that_ran_out_is_ended_and_its_holder_fenced(ledger: Ledger):
    slow = taken(ledger, seconds=-1)
    second = taken(ledger)
    assert second.number == 2
    assert not slow.end(MOVE)
    assert second.end(MOVE)


def test_the_lease_of_a_dead_process_does_not_wait_for_its_end(ledger: Ledger, life):
    life.end()
    dead = taken(ledger, seconds=3600)
    life.begin()
    assert not is_live(ledger.entries("lease")[1])
    assert taken(ledger).number == 2
    assert not dead.end(MOVE)


def test_processes_of_other_hosts_are_trusted_until_their_time_is_over(ledger: Ledger):
    entry = {"host": "elsewhere", "pid": 1, "started": 0.0, "expires": time.time() + 60}
    assert is_live(entry)
    assert not is_live(entry | {"expires": time.time() - 1})


def test_giving_up_takes_no_lease(ledger: Ledger):
    def never(_lines):
        raise RuntimeError("overtaken")

    with pytest.raises(RuntimeError):
        take(ledger, seconds=60, patience=0, before=never)
    assert ledger.entries("lease") == {}
