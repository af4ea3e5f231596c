"""Gate a registered model's version by evidence, and make it champion.

mlflow run . -e promote -P model=ohlcv -P version=3
mlflow run . -e promote -P model=ohlcv -P rollback=true
mlflow run . -e promote -P model=ohlcv -P show=true
mlflow run . -e promote -P model=ohlcv -P seal=true -P data=/lake -P context=336 -P horizon=48

Exit codes: 0 promoted or rolled back, 2 error, 3 refused (nothing changed), 4 nothing to do.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from experiments.cli import Parameter, run
from experiments.promote_config import PromoteConfig

if TYPE_CHECKING:
    from tsfm.tracking.promotion.decision import Decision
    from tsfm.tracking.promotion.vault import Vault
    from tsfm.tracking.runs import MlflowRun

PARAMETERS = {
    "model": Parameter("model", "name in the registry"),
    "version": Parameter("version", "number or @alias; empty: the latest"),
    "policy": Parameter("policy", "YAML file of rules, or the name of one in experiments/conf"),
    "rollback": Parameter("rollback", "make the previous champion champion again"),
    "show": Parameter("show", "print aliases, looks into the vault and the history"),
    "seal": Parameter("seal", "freeze what experiments leave unseen of data as the model's vault"),
    "data": Parameter(
        "@data", "for seal: sample, simulated, mixed, or a lake, panel or file of bars"
    ),
    "context": Parameter("context", "for seal: bars seen"),
    "horizon": Parameter("horizon", "for seal: bars forecast"),
}


def main(config: PromoteConfig) -> None:
    if config.seal:
        return seal(config)
    if config.show:
        return show(config)
    sys.exit(promote(config).exit_code)


def promote(config: PromoteConfig) -> Decision:
    """Promote or roll back, in a run of its own."""
    from tsfm.tracking.promotion.attempt import attempt

    with attempt(config.model, config) as record:
        decision = _decide(config, record)
    print(f"{decision.model}, version {decision.version}: {decision.outcome}")
    for finding in decision.findings:
        print(f"  {'passed' if finding.passed else 'FAILED'}  {finding.rule}: {finding.told}")
    standing = decision.standing
    print(f"champion    {standing.champion or '–'}   previous {standing.previous or '–'}")
    print(f"see it      {record.url()}")
    return decision


def _decide(config: PromoteConfig, record: MlflowRun) -> Decision:
    from tsfm.tracking.promotion.audit import record_decision, record_evidence
    from tsfm.tracking.promotion.promoter import promote, roll_back

    policy = config.rules()
    if config.rollback:
        decision = roll_back(record.client, config.model, policy, run_id=record.run_id)
    else:
        decision = promote(
            record.client, config.model, config.version, policy, run_id=record.run_id,
            keep=partial(record_evidence, record, policy=config.policy_file),
        )  # fmt: skip
    record_decision(record, decision)
    return decision


def show(config: PromoteConfig) -> None:
    """Print the trail."""
    from tsfm.tracking.promotion.audit import shown

    for line in shown(config.model):
        print(line)


def seal(config: PromoteConfig) -> None:
    """Freeze what experiments on the same data leave unseen."""
    from tsfm.data.sources import load_source
    from tsfm.evaluation.holdout import vault_tasks
    from tsfm.tracking.promotion.vault import Vault

    path = config.rules().vault_of(config.model)
    Vault.expect_none(path)
    source = load_source(config.data)
    vault = Vault.seal(
        path,
        vault_tasks(source.panels, config.data, config.evaluation, config.context, config.horizon),
    )
    for task, panel in vault.tasks:
        print(f"{task.name}: {len(task.windows(panel))} windows from {task.first_origin} on")
    for name, bars in asked_elsewhere(vault).items():
        print(f"mind        {name} asks for {bars} bars of it: results there are no longer unseen")
    print(f"sealed      {vault.path}  {vault.fingerprint}")


def asked_elsewhere(vault: Vault) -> dict[str, int]:
    """Tasks of the bundled suites that ask for bars of a vault, and how many."""
    from tsfm.data.provenance import Provenance
    from tsfm.evaluation.contamination import answers_seen
    from tsfm.evaluation.suites import load_suite

    sealed = Provenance.of(*(panel.between(task.first_origin) for task, panel in vault.tasks))
    bundled = [entry for entry in load_suite("all") if entry.panel]
    counts = {entry.name: answers_seen(sealed, *entry.open()) for entry in bundled}
    return {name: bars for name, bars in counts.items() if bars}


if __name__ == "__main__":
    run("promote", PromoteConfig, PARAMETERS, main, title="Gate a version and make it champion.")
