"""Moves of the aliases: decided by one line of the ledger, carried out by whoever is left to.

The line ``move.N`` decides. Then tags and description of the version and the aliases follow, the
champion last, and ``done.N`` says that they have. A promoter that is killed before its ``move.N``
has changed nothing; one that is killed after it has its move completed by the next start. Aliases
that someone moved by hand, with no move of ours unfinished, are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tsfm.errors import TrackingError
from tsfm.tracking.environment import host_name, user_name
from tsfm.tracking.promotion.lease import is_live
from tsfm.tracking.promotion.ledger import Entry, Ledger, patient
from tsfm.tracking.promotion.standing import Standing

if TYPE_CHECKING:
    from mlflow import MlflowClient

PROMOTE, ROLLBACK = "promote", "rollback"
OUTCOME_TAG = "promotion.outcome"
NOTE_MARK = "**Promotion.**"


def move_entry(
    kind: str, token: str, before: Standing, after: Standing, *, run_id: str, why: str
) -> dict[str, Any]:
    """A line that decides a move.

    Parameters
    ----------
    kind
        ``promote`` or ``rollback``.
    token
        Of the lease it is made under.
    why
        The evidence in a sentence.
    """
    return {
        "kind": kind, "token": token, "run": run_id, "why": why[:2000], "at": moment(),
        "by": f"{user_name()} on {host_name()}",
        "champion": after.champion, "previous": after.previous,
        "from": {"champion": before.champion, "previous": before.previous},
    }  # fmt: skip


def moment() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def moves(ledger: Ledger, lines: Mapping[str, str] | None = None) -> dict[int, Entry]:
    """The moves that were decided, by number; leases that ended without one are left out."""
    return {n: m for n, m in ledger.entries("move", lines).items() if m["kind"] != "none"}


def unfinished(ledger: Ledger, lines: Mapping[str, str] | None = None) -> int | None:
    """The number of the last move, if it is decided and not carried out."""
    found = ledger.lines() if lines is None else lines
    last = max(moves(ledger, found), default=None)
    return None if last is None or f"done.{last}" in found else last


def settle(
    ledger: Ledger, lines: Mapping[str, str] | None = None, *, own: bool = False
) -> Entry | None:
    """Complete the last move if nobody has, and return it then.

    The move of a process that is still at it is left to that process, unless it is our ``own``.
    A process that slept over a later move carries that one out after its own, so that the last
    decision is what remains.
    """
    lines = ledger.lines() if lines is None else lines
    number = unfinished(ledger, lines)
    if number is None or (is_live(ledger.entries("lease", lines)[number]) and not own):
        return None
    while True:
        move = moves(ledger)[number]
        done = _carry_out(ledger, move)
        last = max(moves(ledger))
        ledger.put("done", number, {"state": done})
        if last == number:
            return move
        number = last


def _carry_out(ledger: Ledger, move: Entry) -> str:
    standing = Standing.of(dict(move))
    try:
        if move["kind"] == PROMOTE:
            _describe(ledger.client, ledger.model, move)
        standing.set(ledger.client, ledger.model)
    except TrackingError as error:
        gone = getattr(error.__cause__, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
        if not gone:
            raise
        return "undone: a version is deleted"
    return "carried out"


@patient
def _describe(client: MlflowClient, model: str, move: Entry) -> None:
    """What a person sees on the pages of version and run; the same however often it is written."""
    from mlflow.exceptions import MlflowException

    version = client.get_model_version(model, move["champion"])
    tags = {
        "promotion": f"champion since {move['at']}",
        "promotion.evidence": move["why"],
        "promotion.run": move["run"],
    }
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(model, version.version, key, value)
    own = (version.description or "").partition(NOTE_MARK)[0].rstrip()
    told = f"{NOTE_MARK} Champion since {move['at']}: {move['why']} Evidence: run `{move['run']}`."
    text = f"{own}\n\n{told}" if own else told
    if version.description != text:
        client.update_model_version(model, version.version, text)
    with suppress(MlflowException):
        client.set_tag(move["run"], OUTCOME_TAG, "promoted")
