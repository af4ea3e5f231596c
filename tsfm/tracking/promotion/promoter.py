"""Promotion and rollback: evidence first, the lease next, the alias last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tsfm.errors import TrackingError
from tsfm.tracking.promotion.contestant import Contestant
from tsfm.tracking.promotion.decision import (
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    UNCHANGED,
    Decision,
    current_finding,
)
from tsfm.tracking.promotion.lease import take
from tsfm.tracking.promotion.ledger import Ledger
from tsfm.tracking.promotion.looks import Looks, take_look
from tsfm.tracking.promotion.moves import PROMOTE, ROLLBACK, move_entry, settle
from tsfm.tracking.promotion.standing import Standing
from tsfm.tracking.promotion.vault import Vault

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tsfm.tracking.promotion.evidence import Evidence
    from tsfm.tracking.promotion.policy import Policy
    from tsfm.tracking.promotion.rules import Finding

Keep = Callable[["Evidence", tuple["Finding", ...], Looks], None]


class _Overtaken(Exception):
    """Another promotion came first."""

    def __init__(self, now: Standing) -> None:
        self.now = now


def promote(
    client: MlflowClient,
    model: str,
    version: str,
    policy: Policy,
    *,
    run_id: str,
    keep: Keep = lambda *_: None,
) -> Decision:
    """Make a version champion if the policy's rules pass on the vault.

    Of several promoters at once exactly one wins: the others find that the champion is no longer
    the one that their evidence is about.

    Parameters
    ----------
    version
        A number, ``@alias``, or nothing for the latest.
    run_id
        Of the run that records this promotion.
    keep
        Stores evidence and findings; called before anything is moved.

    Raises
    ------
    TrackingError
        When model, version, artifacts or champion are not there, or another promotion takes too
        long.
    ConfigError
        When there is no vault.
    DataError
        When the vault was changed.
    """
    standing = Standing.read(client, model)
    ledger = Ledger.of(client, model)
    if settle(ledger):
        standing = Standing.read(client, model)
    candidate = Contestant.of(client, model, version)
    if candidate.version == standing.champion:
        return _decision(UNCHANGED, candidate, standing, "it is the champion already")
    rival = None
    if standing.champion is not None:
        rival = Contestant.of(client, model, standing.champion)
    vault = Vault.open(policy.vault_of(model))
    looks = take_look(
        ledger, vault, version=candidate.version, run_id=run_id,
        rival=standing.champion or policy.baseline,
    )  # fmt: skip
    from tsfm.tracking.promotion.examination import examine

    evidence = examine(candidate, rival, vault, policy, looks=looks.count)
    findings = policy.judge(evidence)
    keep(evidence, findings, looks)
    failed = [finding for finding in findings if not finding.passed]
    telling = failed or [f for f in findings if f.rule in ("skill", "looks")] or findings
    why = "; ".join(f"{finding.rule}: {finding.told}" for finding in telling)
    verdict = {"passed": not failed, "why": why[:2000], "run": run_id}
    ledger.put("verdict", looks.number, verdict)
    if failed:
        return _decision(REFUSED, candidate, standing, why, findings)
    moved, now = _move(ledger, policy, PROMOTE, standing, candidate.version, run_id, why)
    current = current_finding(standing, standing if moved else now)
    findings = (*findings, current)
    if not moved:
        return _decision(REFUSED, candidate, now, f"current: {current.told}", findings)
    return _decision(PROMOTED, candidate, now, why, findings)


def roll_back(client: MlflowClient, model: str, policy: Policy, *, run_id: str) -> Decision:
    """Make the previous champion champion again; the two change places.

    Raises
    ------
    TrackingError
        When there is no champion or no previous one, or its artifacts are gone.
    """
    Standing.read(client, model)
    ledger = Ledger.of(client, model)
    settle(ledger)
    standing = Standing.read(client, model)
    if standing.champion is None or standing.previous is None:
        missing = "champion" if standing.champion is None else "previous"
        raise TrackingError(
            f"{model} has no alias {missing}: there is nothing to go back to",
            remedy="promote a version first"
            if missing == "champion"
            else "name the version to serve: promote it",
        )
    former = Contestant.of(client, model, standing.previous)
    why = f"rolled back from version {standing.champion}"
    moved, now = _move(ledger, policy, ROLLBACK, standing, former.version, run_id, why)
    if moved:
        return _decision(ROLLED_BACK, former, now, why)
    current = current_finding(standing, now)
    return _decision(REFUSED, former, now, f"current: {current.told}", (current,))


def _move(
    ledger: Ledger,
    policy: Policy,
    kind: str,
    expected: Standing,
    version: str,
    run_id: str,
    why: str,
) -> tuple[bool, Standing]:
    """Move the aliases under the lease, unless someone else has; and how they stand then."""

    def before(lines: Mapping[str, str]) -> None:
        settle(ledger, lines)
        now = Standing.read(ledger.client, ledger.model)
        if now != expected:
            raise _Overtaken(now)

    try:
        lease = take(
            ledger, seconds=policy.lease_seconds, patience=policy.wait_seconds, before=before
        )
    except _Overtaken as overtaken:
        return False, overtaken.now
    try:
        before(ledger.lines())
    except _Overtaken as overtaken:
        lease.give_back()
        return False, overtaken.now
    except BaseException:
        lease.give_back()
        raise
    after = expected.after(version)
    move = move_entry(kind, lease.token, expected, after, run_id=run_id, why=why)
    if not lease.end(move):
        return False, Standing.read(ledger.client, ledger.model)
    settle(ledger, own=True)
    return True, after


def _decision(
    outcome: str,
    contestant: Contestant,
    standing: Standing,
    why: str,
    findings: tuple[Finding, ...] = (),
) -> Decision:
    return Decision(
        outcome=outcome, model=contestant.model, version=contestant.version,
        standing=standing, why=why, findings=findings,
    )  # fmt: skip
