"""What a study leaves in its run: its trials, what mattered, the best configuration; and prints."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from sweeps.figures import FIGURES
from sweeps.findings import Findings
from sweeps.page import page
from sweeps.servers import driven
from sweeps.study import METRICS, SweepStudy
from sweeps.subject import EXPERIMENTS
from tsfm.evaluation.leaderboard import to_markdown
from tsfm.tracking import store

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.tracking.runs import MlflowRun

SHOWN_IN_NOTE, SHOWN_OF_FRONT = 10, 20


def record_report(study: SweepStudy, record: MlflowRun) -> Findings:
    """Put tables, figures and the best configuration of a study, as it stands, into its run.

    ``tables/trials.{csv,html,md,json}`` (the last for MLflow's table view), ``plots/*.png``,
    ``plots/sweep.html`` with the same figures live, ``best.md`` and ``best_command.txt``, counts
    and best values as metrics. What was there before is replaced. A figure that cannot be drawn is
    named in ``report_problems.txt`` and costs nothing else.

    Returns
    -------
    Findings
        What was reported.
    """
    findings = Findings.of(study)
    _record_trials(findings, record)
    record.log_text(_best_text(study, findings), "best.md")
    if findings.best:
        record.log_text("\n".join(commands(study, findings)) + "\n", "best_command.txt")
    record.set_tags({"mlflow.note.content": _note(study, findings)})
    record.log_metrics(_numbers(findings), step=len(findings.trials))
    problems = _record_figures(findings, record)
    if problems:
        record.log_text("\n".join(problems) + "\n", "report_problems.txt")
        print(f"not drawn   {'; '.join(problems)}", file=sys.stderr)
    record.flush()
    return findings


def show_report(study: SweepStudy, record: MlflowRun) -> None:
    """Print what came of a study, and where to look at it."""
    findings = Findings.of(study)
    print(f"trials      {counts(findings)}")
    for trial in findings.best[:SHOWN_OF_FRONT]:
        print(f"best        trial {trial.number}: {_judged(findings, trial)}")
        if is_entry_point(study):
            print(f"train it    {command(study, trial)}")
    if len(findings.best) > SHOWN_OF_FRONT:
        print(f"            and {len(findings.best) - SHOWN_OF_FRONT} more in best.md of the run")
    if not findings.best:
        print("best        none: no trial is complete")
    print("figures     plots/ of the run; alive in plots/sweep.html")
    print(f"see it      {record.url()}")
    print(f"dashboard   {dashboard_command(study.rdb.uri)}")


def command(study: SweepStudy, trial: FrozenTrial) -> str:
    """The command that trains a trial's configuration."""
    space = study.plan.space
    point = {name: trial.params[name] for name in space.by_name if name in trial.params}
    return study.plan.subject.command({**space.fixed, **point})


def is_entry_point(study: SweepStudy) -> bool:
    """Whether what is tuned is a command of its own."""
    return EXPERIMENTS[study.plan.experiment][0].startswith("experiments.")


def dashboard_command(uri: str) -> str:
    """The command that shows a storage's studies in a browser; passwords as ``***``."""
    return f"optuna-dashboard {shlex.quote(store.masked(driven(uri)))}"


def commands(study: SweepStudy, findings: Findings) -> list[str]:
    """That of the best trial, or of each on the Pareto front."""
    return [command(study, trial) for trial in findings.best]


def counts(findings: Findings) -> str:
    """How many trials ended how, and what pruning spared, in a line."""
    standing = findings.standing
    told = f"{standing.complete} complete, {standing.pruned} pruned, {standing.failed} failed"
    if standing.infeasible:
        told += f"; {standing.infeasible} points were infeasible"
    if standing.retried:
        told += f"; {standing.retried} were tried again after their worker died"
    taken, spared = findings.steps()
    if spared:
        told += f"; pruning spared {spared / (taken + spared):.0%} of the training steps"
    return told


def _numbers(findings: Findings) -> dict[str, float]:
    """Metrics of the study's run."""
    standing = findings.standing
    taken, spared = findings.steps()
    found = {
        "trials.complete": standing.complete,
        "trials.pruned": standing.pruned,
        "trials.failed": standing.failed,
        "trials.infeasible": standing.infeasible,
        "trials.retried": standing.retried,
        "steps": taken,
        "steps_spared_by_pruning": spared,
    }
    for order, objective in enumerate(findings.objectives):
        if findings.complete:
            best = findings.sign(order) * findings.losses(order).min()
            found[f"best.{objective.metric}"] = best
    if len(findings.objectives) == 1:
        for trial in findings.best:
            finals = trial.user_attrs.get(METRICS, {})
            found |= {f"best.{name}": value for name, value in finals.items()}
    else:
        found["pareto_front"] = len(findings.best)
    return {name: float(value) for name, value in found.items()}


def _record_trials(findings: Findings, record: MlflowRun) -> None:
    table = findings.table()
    record.log_table(table, "trials")
    record.log_text(f"# Trials of {findings.name}\n\n{_markdown(table)}\n", "tables/trials.md")
    path = "tables/trials.json"
    record.log_text(table.to_json(orient="split", index=False), path)
    record.set_tags({"mlflow.loggedArtifacts": json.dumps([{"path": path, "type": "table"}])})


def _record_figures(findings: Findings, record: MlflowRun) -> list[str]:
    """Draw all; what could not be drawn is returned."""
    problems = []
    for name, draw in FIGURES.items():
        try:
            figure = draw(findings)
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {error}")
            continue
        if figure is not None:
            record.log_figure(figure, name)
    try:
        text = page(findings)
    except Exception as error:
        return [*problems, f"sweep.html: {type(error).__name__}: {error}"]
    record.log_text(text, "plots/sweep.html")
    return problems


def _note(study: SweepStudy, findings: Findings) -> str:
    """The run's description in MLflow."""
    table = findings.table().drop(columns=["run", "failure"])
    first = findings.objectives[0]
    shown = table.sort_values(first.metric, ascending=first.direction == "minimize")
    rows = shown[shown["state"] == "complete"].head(SHOWN_IN_NOTE)
    return f"{_best_text(study, findings)}\n## The best trials\n\n{_markdown(rows)}\n"[:4900]


def _best_text(study: SweepStudy, findings: Findings) -> str:
    lines = [f"# {findings.name}", "", f"{counts(findings)}.", ""]
    for trial in findings.best:
        lines += [
            f"## Trial {trial.number}: {_judged(findings, trial)}", "",
            *(["```", command(study, trial), "```", ""] if is_entry_point(study) else []),
        ]  # fmt: skip
    return "\n".join(lines if findings.best else [*lines, "No trial is complete.", ""])


def _judged(findings: Findings, trial: FrozenTrial) -> str:
    return ", ".join(
        f"{one.metric} {value:.5g}" for one, value in zip(findings.objectives, trial.values)
    )


def _markdown(table: pd.DataFrame) -> str:
    return to_markdown(table.map(_cell))


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
