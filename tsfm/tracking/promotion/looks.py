"""How often a vault was looked into: each look at held-out data spends some of their worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tsfm.tracking.environment import host_name, user_name
from tsfm.tracking.promotion.moves import moment

if TYPE_CHECKING:
    from tsfm.tracking.promotion.ledger import Ledger
    from tsfm.tracking.promotion.vault import Vault


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Looks of one registered model's promotions into one vault.

    Attributes
    ----------
    number
        Of this look in the ledger.
    count
        Looks into this vault so far, this one included.
    candidates
        Versions that were looked at.
    """

    number: int
    count: int
    candidates: int


def take_look(ledger: Ledger, vault: Vault, *, version: str, rival: str, run_id: str) -> Looks:
    """Count a look, before anything is read: one that is killed has been one."""
    entry = {
        "vault": vault.fingerprint, "version": version, "rival": rival, "run": run_id,
        "at": moment(), "by": f"{user_name()} on {host_name()}",
    }  # fmt: skip
    number = ledger.append("look", entry)
    taken = ledger.entries("look").values()
    same = [look["version"] for look in taken if look["vault"] == vault.fingerprint]
    return Looks(number=number, count=len(same), candidates=len(set(same)))
