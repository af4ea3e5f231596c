"""What contenders answer to the tasks of suites: each once, kept, and failures named.

An answer is kept by the digests of model and task, and is never computed twice; failures are tried
again. Whatever a contender raises is its failed cell, not the end of the leaderboard.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsfm.errors import UserError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.contamination import declared, trained_on
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.metrics import score
from tsfm.evaluation.results import Result, failed, result_of
from tsfm.evaluation.suites import SuiteTask
from tsfm.evaluation.tasks import Task, task_digest

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.models.base import Forecaster

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One cell: its result, and scores of every window by the headline metric (none if it failed).

    Attributes
    ----------
    families
        Cluster of every item, where the suite names one.
    is_kept
        Whether it was read rather than computed.
    """

    result: Result
    scores: pd.DataFrame | None
    families: dict[str, str] | None = None
    is_kept: bool = False


def answers(
    contenders: Sequence[Contender],
    tasks: Iterable[SuiteTask],
    *,
    metric: str,
    kept: Path | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[Answer]:
    """Ask every contender every task.

    Parameters
    ----------
    metric
        Whose scores are returned window by window, for tests of significance.
    kept
        Where answers are kept; None: nowhere.
    progress
        Called with the cells answered, their number and a contender's name.
    """
    tasks = list(tasks)
    found: list[Answer] = []
    loaded: dict[str, Forecaster | Exception] = {}
    for entry in tasks:
        try:
            question: tuple[Task, Panel] | Exception = entry.open()
        except UserError as error:
            question = error
        for contender in contenders:
            if progress:
                progress(len(found), len(tasks) * len(contenders), contender.name)
            found.append(_cell(contender, entry, question, loaded, metric, kept, batch_size))
    return found


def _cell(
    contender: Contender,
    entry: SuiteTask,
    question: tuple[Task, Panel] | Exception,
    loaded: dict[str, Forecaster | Exception],
    metric: str,
    kept: Path | None,
    batch_size: int,
) -> Answer:
    described = {"suite": entry.suite, "dataset": entry.dataset, "domain": entry.domain}
    described["freq"] = entry.freq
    if isinstance(question, Exception):
        return Answer(
            result=failed(contender.name, entry.unopened(), question, **described), scores=None
        )
    task, panel = question
    families = entry.families_of(panel)
    home = kept and kept / f"{contender.digest}-{task_digest(task)}-{metric}"
    known = home and _read(home, contender.name, task.name)
    if known:
        seen = known.result.trained_on
        seen = declared(contender.name, entry.dataset) if seen is None else seen
        return replace(known, families=families, result=replace(known.result, trained_on=seen))
    try:
        model = _loaded(contender, loaded)
        _expect_able(model, task, panel)
        made = backtest(
            contender.prepared(model, task), task, panel, batch_size=batch_size, name=contender.name
        )
    except Exception as error:
        return Answer(result=failed(contender.name, task, _told(error), **described), scores=None)
    result = result_of(
        made,
        **described,
        parameters=contender.parameters(model),
        trained_on=trained_on(contender, entry.dataset, task, panel),
    )
    if result.failure:
        return Answer(result=result, scores=None)
    scores = score(replace(made, task=replace(task, metrics=(metric,))))
    if home:
        _write(home, result, scores)
    return Answer(result=result, scores=scores, families=families)


def _loaded(contender: Contender, loaded: dict[str, Forecaster | Exception]) -> Forecaster:
    """Once; one that could not be loaded is not tried again in every cell."""
    if contender.name not in loaded:
        try:
            loaded[contender.name] = contender.load()
        except Exception as error:
            loaded[contender.name] = error
    model = loaded[contender.name]
    if isinstance(model, Exception):
        raise model
    return model


def _expect_able(model: Forecaster, task: Task, panel: Panel) -> None:
    model.expect_able(
        variates=len(task.targets) + len(task.past),
        context=task.context,
        horizon=task.horizon,
        past=len(panel.info.past_covariates),
        known=len(task.known),
    )


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _write(home: Path, result: Result, scores: pd.DataFrame) -> None:
    """Complete or not at all."""
    home.parent.mkdir(parents=True, exist_ok=True)
    temporary = home.with_name(f".{home.name}.{os.getpid()}")
    temporary.mkdir(exist_ok=True)
    (temporary / "result.json").write_text(json.dumps(asdict(result)))
    scores.to_parquet(temporary / "scores.parquet", index=False)
    try:
        temporary.rename(home)
    except OSError:
        import shutil

        shutil.rmtree(temporary)


def _read(home: Path, name: str, task: str) -> Answer | None:
    """A kept answer, under the names that are asked for now; none where it is damaged."""
    try:
        record: dict[str, Any] = json.loads((home / "result.json").read_text())
        scores = pd.read_parquet(home / "scores.parquet")
        result = Result(**record | {"model": name, "task": task})
    except (OSError, ValueError, TypeError):
        return None
    names = {"model": name, "task": task}
    for column, value in names.items():
        scores[column] = pd.Categorical([value]).take([0] * len(scores))
    return Answer(result=result, scores=scores, is_kept=True)
