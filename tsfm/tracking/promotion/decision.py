"""What came of a promotion or a rollback."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.tracking.promotion.rules import Finding
from tsfm.tracking.promotion.standing import Standing

PROMOTED, ROLLED_BACK, REFUSED, UNCHANGED = "promoted", "rolled back", "refused", "unchanged"
EXIT_CODES = {PROMOTED: 0, ROLLED_BACK: 0, REFUSED: 3, UNCHANGED: 4}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The outcome, and what it rests on.

    Attributes
    ----------
    outcome
        A key of :data:`EXIT_CODES`.
    version
        That was to become champion.
    standing
        The aliases afterwards.
    findings
        Of every rule; of a rollback none.
    why
        In a sentence.
    """

    outcome: str
    model: str
    version: str
    standing: Standing
    why: str
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.passed)


def current_finding(before: Standing, now: Standing) -> Finding:
    """Whether the evidence is still about the champion."""
    same = before == now
    return Finding(
        rule="current",
        passed=same,
        told="the champion is the one it was measured against"
        if same
        else f"the champion became version {now.champion} meanwhile; it was measured against "
        f"{'version ' + before.champion if before.champion else 'the baseline'}: promote again",
        numbers={},
    )
