"""The right to move a model's aliases, held by one process at a time.

A lease is the line ``lease.N`` of the ledger and ends with the line ``move.N``, each of which is
written once, by one process only. A lease whose holder is gone or out of time is ended by the next
one that wants it: it writes ``move.N`` as void, and if the old holder wakes up, its own ``move.N``
comes too late. So N fences: clocks decide how long to wait, never who wins.
"""

from __future__ import annotations

import json
import os
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tsfm.errors import TrackingError
from tsfm.tracking.environment import Process, host_name, user_name
from tsfm.tracking.promotion.ledger import Entry, Ledger

VOID: Entry = {"kind": "none"}


@dataclass(frozen=True, kw_only=True)
class Lease:
    """What one promoter holds.

    Attributes
    ----------
    number
        Of the lease; grows by one with each.
    token
        Of this holder alone.
    """

    ledger: Ledger
    number: int
    token: str

    def end(self, move: Entry) -> bool:
        """Commit a move and give the lease back; False when another has ended it as void."""
        return self.ledger.put("move", self.number, move) == move

    def give_back(self) -> None:
        """End without a move."""
        self.ledger.put("move", self.number, VOID)


def take(
    ledger: Ledger,
    *,
    seconds: float,
    patience: float,
    before: Callable[[Mapping[str, str]], None],
) -> Lease:
    """Wait for the lease and take it.

    Parameters
    ----------
    seconds
        After which others may end it, should its holder still have it.
    patience
        Seconds to wait for others.
    before
        Called with the ledger's lines before each attempt: settles what is unfinished, and may
        raise to give up.

    Raises
    ------
    TrackingError
        When another holds it for longer than ``patience``.
    """
    give_up, token = time.monotonic() + patience, uuid.uuid4().hex
    while True:
        lines = ledger.lines()
        before(lines)
        leases = ledger.entries("lease", lines)
        last = max(leases, default=0)
        if last and is_open(last, lines):
            if not is_live(leases[last]):
                ledger.put("move", last, VOID)
                continue
            if time.monotonic() > give_up:
                raise TrackingError(
                    f"another promotion of {ledger.model} is under way: {holder_of(leases[last])}",
                    remedy="wait for it, then promote again",
                )
            time.sleep(random.uniform(0.2, 0.5))
            continue
        mine = _entry(token, seconds)
        if ledger.put("lease", last + 1, mine) == mine:
            return Lease(ledger=ledger, number=last + 1, token=token)


def is_open(number: int, lines: Mapping[str, str]) -> bool:
    """Whether a lease was not ended, or its move is not carried out."""
    move = lines.get(f"move.{number}")
    return move is None or (f"done.{number}" not in lines and json.loads(move) != VOID)


def is_live(lease: Entry) -> bool:
    """Whether a lease may still be in use: in time, and its process not known to be gone."""
    if time.time() > lease["expires"]:
        return False
    return lease["host"] != host_name() or _process(lease).is_alive()


def holder_of(lease: Entry) -> str:
    """Who holds a lease, as a person reads it."""
    left = max(0.0, lease["expires"] - time.time())
    return f"process {lease['pid']} of {lease['user']} on {lease['host']}, for at most {left:.0f} s"


def _entry(token: str, seconds: float) -> dict[str, Any]:
    process = asdict(Process.current())
    taken = time.time()
    times = {"taken": taken, "expires": taken + seconds}
    return {"token": token, "user": user_name(), "pid": os.getpid(), **process, **times}


def _process(lease: Entry) -> Process:
    return Process(host=lease["host"], pid=lease["pid"], started=lease["started"])
