"""The trail: what a promotion leaves in its run, on the ledger's page, and what ``show`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd

from tsfm.evaluation.leaderboard import compare, leaderboard, to_markdown
from tsfm.tracking.promotion.lease import holder_of, is_live
from tsfm.tracking.promotion.ledger import Ledger
from tsfm.tracking.promotion.moves import OUTCOME_TAG, moves, unfinished
from tsfm.tracking.promotion.standing import Standing
from tsfm.tracking.run_record import store_client

if TYPE_CHECKING:
    from pathlib import Path

    from tsfm.tracking.promotion.decision import Decision
    from tsfm.tracking.promotion.evidence import Evidence
    from tsfm.tracking.promotion.looks import Looks
    from tsfm.tracking.promotion.rules import Finding
    from tsfm.tracking.runs import MlflowRun

LAST_SHOWN = 20


def record_evidence(
    record: MlflowRun,
    evidence: Evidence,
    findings: tuple[Finding, ...],
    looks: Looks,
    policy: Path | None = None,
) -> None:
    """Findings and policy as artifacts under ``promotion/``, scores under ``tables/``."""
    if policy is not None:
        record.log_text(policy.read_text(), "promotion/policy.yaml")
    told = {
        "candidate": evidence.candidate,
        "rival": evidence.rival,
        "looks": asdict(looks),
        "findings": [asdict(finding) for finding in findings],
    }
    record.log_text(json.dumps(told, indent=1), "promotion/evidence.json")
    record.log_text(
        f"# {evidence.candidate}\n\n{findings_table(findings)}\n", "promotion/evidence.md"
    )
    record.log_table(leaderboard(evidence.scores), "leaderboard")
    models = set(evidence.scores["model"].astype(str))
    if {evidence.candidate, evidence.rival} <= models:
        record.log_table(compare(evidence.scores, evidence.candidate), "comparison")
    numbers = {
        f"{finding.rule}.{name}": value
        for finding in findings
        for name, value in finding.numbers.items()
    }
    record.log_metrics({**numbers, "looks": float(looks.count)}, step=0)


def record_decision(record: MlflowRun, decision: Decision) -> None:
    """Outcome and findings as tags and note of the run; the ledger's page brought up to date."""
    rules = {
        f"rule.{f.rule}": f"{'passed' if f.passed else 'FAILED'}: {f.told}"
        for f in decision.findings
    }
    heading = (
        f"**{decision.model}, version {decision.version}: {decision.outcome}.** {decision.why}"
    )
    record.set_tags(
        {
            OUTCOME_TAG: decision.outcome,
            "promotion.model": decision.model,
            "promotion.version": decision.version,
            "mlflow.note.content": f"{heading}\n\n{findings_table(decision.findings)}",
            **rules,
        }
    )
    ledger = Ledger.existing(record.client, decision.model)
    assert ledger is not None
    tell(ledger)


def tell(ledger: Ledger) -> None:
    """Bring the ledger's page in the MLflow UI up to date."""
    standing = Standing.read(ledger.client, ledger.model)
    lines = ledger.lines()
    ledger.tell(
        {
            "champion": standing.champion or "none",
            "previous": standing.previous or "none",
            "looks": str(len(ledger.entries("look", lines))),
        },
        to_markdown(history(ledger, lines).tail(LAST_SHOWN)),
    )


def findings_table(findings: tuple[Finding, ...]) -> str:
    """Rules, verdicts and numbers as a Markdown table."""
    rows = [(f.rule, "passed" if f.passed else "**failed**", f.told) for f in findings]
    return to_markdown(pd.DataFrame(rows, columns=["rule", "verdict", "evidence"])) if rows else ""


def history(ledger: Ledger, lines: dict[str, str] | None = None) -> pd.DataFrame:
    """Everything that was tried, oldest first: ``at, what, version, outcome, run, why``."""
    lines = ledger.lines() if lines is None else lines
    verdicts = ledger.entries("verdict", lines)
    made = moves(ledger, lines)
    won = {move["run"] for move in made.values()}
    rows = []
    for number, look in ledger.entries("look", lines).items():
        verdict = verdicts.get(number)
        if look["run"] in won:
            continue
        outcome = (
            "not finished" if verdict is None else "overtaken" if verdict["passed"] else "refused"
        )
        why = "" if verdict is None else verdict["why"]
        rows.append((look["at"], "look", look["version"], outcome, look["run"], look["by"], why))
    for number, move in made.items():
        done = f"done.{number}" in lines
        outcome = (
            json.loads(lines[f"done.{number}"])["state"] if done else "decided, not carried out"
        )
        rows.append(
            (
                move["at"],
                move["kind"],
                move["champion"],
                outcome,
                move["run"],
                move["by"],
                move["why"],
            )
        )
    columns = ["at", "what", "version", "outcome", "run", "by", "why"]
    return pd.DataFrame(rows, columns=columns).sort_values("at", kind="stable", ignore_index=True)


def shown(model: str) -> Iterator[str]:
    """The standing, the looks into every vault, and the history, line by line.

    Raises
    ------
    TrackingError
        When there is no such registered model.
    """
    client = store_client()
    standing = Standing.read(client, model)
    yield f"{model}: champion {standing.champion or '–'}, previous {standing.previous or '–'}"
    ledger = Ledger.existing(client, model)
    if ledger is None:
        yield "nothing was ever promoted by `promote`"
        return
    lines = ledger.lines()
    taken = [(look["vault"], look["version"]) for look in ledger.entries("look", lines).values()]
    looks = pd.DataFrame(taken, columns=["vault", "version"])
    for vault, some in looks.groupby("vault"):
        versions = some["version"].nunique()
        yield f"vault {vault}: {len(some)} looks at {versions} versions"
    number = unfinished(ledger, lines)
    if number is not None:
        yield f"move {number} is decided and not carried out: the next start completes it"
    yield from _apart(ledger, lines, standing)
    leases = ledger.entries("lease", lines)
    last = max(leases, default=0)
    if last and f"move.{last}" not in lines and is_live(leases[last]):
        yield f"under way: {holder_of(leases[last])}"
    for row in history(ledger, lines).tail(LAST_SHOWN).to_dict("records"):
        what = f"{row['at']}  {row['what']} version {row['version']}: {row['outcome']}"
        yield f"{what}  by {row['by']}, run {row['run']}"
        if row["why"]:
            yield f"    {row['why']}"


def _apart(ledger: Ledger, lines: dict[str, str], standing: Standing) -> Iterator[str]:
    """Whether someone has moved the aliases without ``promote``."""
    made = moves(ledger, lines)
    if not made or f"done.{max(made)}" not in lines:
        return
    last = made[max(made)]
    if last["champion"] != standing.champion and "undone" not in lines[f"done.{max(made)}"]:
        yield (
            f"the alias champion was moved by other means: the last move made version "
            f"{last['champion']} champion"
        )
