"""What contenders answer to the tasks of suites: each once, kept, and failures named.

An answer is kept by the digests of model and task, some hundred windows at a time, and is never
computed twice: a run that was killed goes on with the first window it had not answered. Failures
are tried again. Whatever a contender raises is its failed cell, not the end of the leaderboard.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import UserError
from tsfm.evaluation.backtest import CHUNK_WINDOWS, stream
from tsfm.evaluation.contamination import declared, trained_on
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.kept_blocks import KeptBlocks
from tsfm.evaluation.results import Result, failed, result_of_totals
from tsfm.evaluation.suites import SuiteTask
from tsfm.evaluation.tasks import Task, task_digest
from tsfm.evaluation.totals import Totals
from tsfm.evaluation.window_blocks import block_table, score_columns, told, window_scores

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tsfm.data.panel import Panel
    from tsfm.models.base import Forecaster

Progress = Callable[[int, int, str], None]
RESULT = "result.json"
FORMAT = "blocks2"
"""Of what is kept; answers in another one are not looked at."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One cell: its result, and scores of every window by the headline metric (none if it failed).

    Attributes
    ----------
    families
        Cluster of every item, where the suite names one.
    is_kept
        Whether it was read rather than computed.
    blocks
        Scores of every window by all metrics, none if it failed.
    """

    result: Result
    scores: pd.DataFrame | None
    families: dict[str, str] | None = None
    is_kept: bool = False
    blocks: KeptBlocks | None = None


def answers(
    contenders: Sequence[Contender],
    tasks: Iterable[SuiteTask],
    *,
    metric: str,
    kept: Path | None = None,
    batch_size: int = 64,
    windows: int = CHUNK_WINDOWS,
    progress: Progress | None = None,
) -> list[Answer]:
    """Ask every contender every task.

    Parameters
    ----------
    metric
        Whose scores are returned window by window, for tests of significance.
    kept
        Where answers are kept; None: nowhere.
    windows
        Scored and kept at a time, at most.
    progress
        Called with the cells answered, their number, and the contender and windows at hand.
    """
    tasks = list(tasks)
    found: list[Answer] = []
    loaded: dict[str, Forecaster | Exception] = {}
    for entry in tasks:
        try:
            question: tuple[Task, Panel] | Exception = entry.open()
        except Exception as error:
            question = error
        for contender in contenders:
            cell = _Cell(contender, entry, metric, kept, batch_size, windows)
            if progress:
                done = (len(found), len(tasks) * len(contenders))
                progress(*done, contender.name)
                cell = replace(cell, show=partial(_show, progress, done, contender.name))
            found.append(cell.answer(question, loaded))
    return found


def _show(progress: Progress, cells: tuple[int, int], name: str, done: int, total: int) -> None:
    progress(*cells, f"{name}: {done:,} of {total:,} windows")


@dataclass(frozen=True)
class _Cell:
    contender: Contender
    entry: SuiteTask
    metric: str
    kept: Path | None
    batch_size: int
    windows: int
    show: Callable[[int, int], None] | None = None

    @property
    def described(self) -> dict[str, Any]:
        entry = self.entry
        names = {"suite": entry.suite, "dataset": entry.dataset, "domain": entry.domain}
        return names | {"freq": entry.freq}

    def answer(
        self,
        question: tuple[Task, Panel] | Exception,
        loaded: dict[str, Forecaster | Exception],
    ) -> Answer:
        if isinstance(question, Exception):
            return self._failed(self.entry.unopened(), _told(question))
        task, panel = question
        home, blocks = None, KeptBlocks()
        if self.kept:
            home = self.kept / f"{self.contender.digest}-{task_digest(task)}-{FORMAT}"
            blocks = KeptBlocks(home)
        try:
            found = home and self._read(home, blocks, task, panel)
            return found or self._computed(blocks, task, panel, loaded, home)
        except Exception as error:
            return self._failed(task, _told(error))

    def _read(self, home: Path, blocks: KeptBlocks, task: Task, panel: Panel) -> Answer | None:
        known = _read(home, self.contender.name, task.name)
        tables = list(blocks.tables(score_columns(self.metric))) if known else []
        if known is None or sum(told(table)["windows"] for table in tables) != known.windows:
            return None
        if known.trained_on is None:
            seen = declared(self.contender.name, self.entry.dataset)
            known = replace(known, trained_on=seen)
        return self._scored(known, blocks, tables, task, panel, is_kept=True)

    def _computed(
        self,
        blocks: KeptBlocks,
        task: Task,
        panel: Panel,
        loaded: dict[str, Forecaster | Exception],
        home: Path | None,
    ) -> Answer:
        contender, totals = self.contender, Totals(task)
        for table in blocks:
            totals.add(table)
        model = _loaded(contender, loaded)
        _expect_able(model, task, panel)
        model = contender.prepared(model, task, panel)
        parts = stream(
            model, task, panel, batch_size=self.batch_size,
            windows=self.windows, first=totals.windows, name=contender.name, progress=self.show,
        )  # fmt: skip
        is_kept = True
        for part in parts:
            table, first, is_kept = block_table(part), totals.windows, False
            totals.add(table)
            if not totals.missing:
                blocks.add(table, first)
        result = result_of_totals(
            totals, contender.name, **self.described, parameters=contender.parameters(model),
            trained_on=trained_on(contender, self.entry.dataset, task, panel),
        )  # fmt: skip
        if result.failure:
            return Answer(result=result, scores=None)
        if home:
            _write(home, result)
        tables = blocks.tables(score_columns(self.metric))
        return self._scored(result, blocks, tables, task, panel, is_kept=is_kept)

    def _scored(
        self,
        result: Result,
        blocks: KeptBlocks,
        tables: Iterable[pa.Table],
        task: Task,
        panel: Panel,
        *,
        is_kept: bool,
    ) -> Answer:
        scores = window_scores(tables, self.metric, model=result.model, task=task)
        families = self.entry.families_of(panel)
        return Answer(
            result=result, scores=scores, families=families, is_kept=is_kept, blocks=blocks
        )

    def _failed(self, task: Task, reason: object) -> Answer:
        result = failed(self.contender.name, task, reason, **self.described)
        return Answer(result=result, scores=None)


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


def _write(home: Path, result: Result) -> None:
    """Complete or not at all."""
    temporary = home / f".{RESULT}.{os.getpid()}"
    temporary.write_text(json.dumps(asdict(result)))
    temporary.replace(home / RESULT)


def _read(home: Path, name: str, task: str) -> Result | None:
    """A kept result, under the names that are asked for now; none where it is damaged."""
    try:
        record: dict[str, Any] = json.loads((home / RESULT).read_text())
        return Result(**record | {"model": name, "task": task})
    except (OSError, ValueError, TypeError):
        return None
