"""Contamination audit: whether models were trained on the bars that tasks ask for.

Two parts of a task are told apart. *Answers* are the bars that some window forecasts; they must be
unseen. *Context* are bars that windows only look at; a model that has seen them has no advantage on
the answers, but is no longer judged on a new series.

Three kinds of evidence, of falling strength:

- ``content``: a block of consecutive values (64 bars) of some variate, bit by bit, at whatever
  offset, name or date. Not found: rescaled, shifted, resampled, noisy or differenced copies, and
  stretches shorter than a block.
- ``dates``: the same item at the same time, whatever its values; for undated series the same item
  and bars of a panel of the same name. It finds transformed copies that kept their names, and the
  ends of a series that fill no block. Two series that share a name by chance are found, too.
- ``declared``: the publisher says that the data set was in the corpus
  (:mod:`tsfm.evaluation.declared`); of models without provenance only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from tsfm.data.overlap import overlap, runs, sightings
from tsfm.data.provenance import Provenance
from tsfm.errors import UserError
from tsfm.evaluation.declared import declaration_of

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.evaluation.contender import Contender
    from tsfm.evaluation.suites import SuiteTask
    from tsfm.evaluation.tasks import Task

ANSWERS, CONTEXT = "answers", "context"
SEEN, CONTEXT_SEEN, CLEAN, UNTRAINED = "seen", "context seen", "clean", "not trained"
UNKNOWN, NOT_AUDITED = "unknown", "not audited"
VERDICTS = (SEEN, NOT_AUDITED, UNKNOWN, CONTEXT_SEEN, CLEAN, UNTRAINED)

_OVERLAPS: dict[str, Any] = {
    "model": str, "task": str, "part": str, "evidence": str, "trained_on": str, "through": str,
    "item_id": str, "start": "Int64", "stop": "Int64", "first": str, "last": str,
    "bars": "Int64", "share": float,
}  # fmt: skip
_FOUND: dict[str, Any] = {
    "model": str, "task": str, "verdict": str, "answers": "Int64", "answers_seen": "Int64",
    "share": float, "context_seen": "Int64", "why": str,
}  # fmt: skip

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    Attributes
    ----------
    overlaps
        A row per unbroken stretch that was seen: ``model, task, part`` (answers or context),
        ``evidence, trained_on`` (panel), ``through`` (base models, the nearest first; empty: the
        model itself), ``item_id``, bars ``[start, stop)`` of the item's whole series with their
        ``first`` and ``last`` dates, ``bars`` of the part in it, and their ``share`` of all of the
        task's bars of that part. The same bars may stand in several rows: one per kind of evidence
        and source.
    verdicts
        A row per model and task: one of :data:`VERDICTS`, the ``answers`` asked for,
        ``answers_seen`` (each bar counted once) and their ``share``, ``context_seen``, and ``why``.
    """

    overlaps: pd.DataFrame
    verdicts: pd.DataFrame

    @property
    def is_clean(self) -> bool:
        """Whether of every model and task it is known that no answer was seen."""
        return bool(self.verdicts["verdict"].isin((CLEAN, CONTEXT_SEEN, UNTRAINED)).all())

    @property
    def conclusion(self) -> str:
        """In words, model by model."""
        said = []
        for model, rows in self.verdicts.groupby("model", sort=False):
            counts = rows["verdict"].value_counts()
            told = [
                f"{_WORDS[verdict]} {counts[verdict]} of {len(rows)} tasks"
                for verdict in VERDICTS
                if verdict in counts
            ]
            said.append(f"{model}: {', '.join(told)}.")
        return "\n".join(said)


_WORDS = {
    SEEN: "has seen answers of",
    CONTEXT_SEEN: "has seen context alone of",
    CLEAN: "has seen nothing of",
    UNTRAINED: "was not trained:",
    UNKNOWN: "nobody can tell of",
    NOT_AUDITED: "could not be compared with",
}


def audit(
    contenders: Sequence[Contender], tasks: Iterable[SuiteTask], *, progress: Progress | None = None
) -> Audit:
    """Compare what models were trained on with what tasks ask.

    A task whose data are missing and a model whose provenance is damaged are verdicts, not errors.

    Parameters
    ----------
    progress
        Called with the cells compared, their number and a model's name.
    """
    tasks = list(tasks)
    overlaps: list[dict[str, Any]] = []
    verdicts: list[dict[str, Any]] = []
    for entry in tasks:
        try:
            question: tuple[Task, Panel] | UserError = entry.open()
        except UserError as error:
            question = error
        for contender in contenders:
            if progress:
                progress(len(verdicts), len(tasks) * len(contenders), contender.name)
            cell = {"model": contender.name, "task": entry.name}
            found, verdict = _cell(contender, entry, question)
            overlaps += [cell | row for row in found]
            verdicts.append(cell | verdict)
    return Audit(overlaps=_frame(overlaps, _OVERLAPS), verdicts=_frame(verdicts, _FOUND))


def trained_on(contender: Contender, dataset: str, task: Task, panel: Panel) -> bool | None:
    """Whether a model has seen answers of a task; None where nobody can tell."""
    if not contender.is_trained:
        return False
    if dataset in contender.declared_data:
        return True
    provenance = contender.provenance()
    if provenance is None:
        return declared(contender.name, dataset)
    if overlap(provenance, panel, task.first_origin or task.context):
        return True
    if provenance.is_complete:
        return False
    return True if any(declared(base, dataset) for base in provenance.unknown) else None


def answers_seen(provenance: Provenance, task: Task, panel: Panel) -> int:
    """Bars that some window of a task forecasts and that were seen, each counted once."""
    answers, _ = asked_bars(task, panel)
    seen = [np.zeros_like(mask) for mask in answers]
    for sighting in sightings(provenance, panel):
        seen[sighting.item] |= sighting.bars & answers[sighting.item]
    return int(sum(mask.sum() for mask in seen))


def declared(model: str, dataset: str) -> bool | None:
    """True where a publisher says that the data set was trained on; else nobody can tell."""
    found = declaration_of(model)
    return True if found is not None and found.has_seen(dataset) else None


def asked_bars(
    task: Task, panel: Panel
) -> tuple[list[Bool[np.ndarray, " time"]], list[Bool[np.ndarray, " time"]]]:
    """Of every item: the bars that some window forecasts, and those that windows only look at."""
    answers = [np.zeros(int(length), bool) for length in panel.lengths]
    context = [np.zeros(int(length), bool) for length in panel.lengths]
    for item, origin in task.windows(panel):
        answers[item][origin : origin + task.horizon] = True
        context[item][origin - task.context : origin] = True
    return answers, [seen & ~asked for seen, asked in zip(context, answers, strict=True)]


def _cell(
    contender: Contender, entry: SuiteTask, question: tuple[Task, Panel] | UserError
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    if isinstance(question, UserError):
        return [], {"verdict": NOT_AUDITED, "why": str(question)}
    task, panel = question
    if not contender.is_trained:
        return [], {"verdict": UNTRAINED}
    if entry.dataset in contender.declared_data:
        row = {
            "part": ANSWERS,
            "evidence": "declared",
            "trained_on": f"{entry.dataset} (its author)",
        }
        return [row], _unproven(contender.name, entry.dataset, True)
    try:
        provenance = contender.provenance()
        told = _declared_rows(contender.name, provenance, entry.dataset)
        if provenance is None:
            return told, _unproven(contender.name, entry.dataset, bool(told))
        return _compared(provenance, task, panel, told, entry.dataset)
    except UserError as error:
        return [], {"verdict": NOT_AUDITED, "why": str(error)}


def _compared(
    provenance: Provenance,
    task: Task,
    panel: Panel,
    told: list[dict[str, Any]],
    dataset: str,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    answers, context = asked_bars(task, panel)
    parts = {ANSWERS: answers, CONTEXT: context}
    totals = {part: int(sum(mask.sum() for mask in masks)) for part, masks in parts.items()}
    seen = {part: [np.zeros_like(mask) for mask in masks] for part, masks in parts.items()}
    rows = list(told)
    same: dict[tuple[int, int], np.ndarray] = {}
    for sighting in sightings(provenance, panel):
        key = (id(sighting.source), sighting.item)
        bars = sighting.bars
        if sighting.kind == "content":
            same[key] = bars
        elif key in same:
            bars = bars & ~same[key]
        for part, masks in parts.items():
            hit = bars & masks[sighting.item]
            seen[part][sighting.item] |= hit
            for start, stop in runs(hit):
                rows.append(
                    {
                        "part": part,
                        "evidence": sighting.kind,
                        "trained_on": sighting.source.panel,
                        "through": _path(sighting.source.inherited, sighting.source.through),
                        **_stretch(panel, sighting.item, start, stop),
                        "share": (stop - start) / totals[part],
                    }
                )
    counts = {part: int(sum(mask.sum() for mask in masks)) for part, masks in seen.items()}
    found = {
        "answers": totals[ANSWERS],
        "answers_seen": counts[ANSWERS],
        "share": counts[ANSWERS] / totals[ANSWERS] if totals[ANSWERS] else 0.0,
        "context_seen": counts[CONTEXT],
    }
    return rows, found | _judged(provenance, counts, bool(told), dataset)


def _judged(
    provenance: Provenance, counts: dict[str, int], is_declared: bool, dataset: str
) -> dict[str, str]:
    if counts[ANSWERS]:
        return {"verdict": SEEN}
    unknown = ", ".join(provenance.unknown)
    if is_declared:
        return {"verdict": SEEN, "why": f"{unknown} is declared to be trained on {dataset}"}
    if not provenance.is_complete:
        return {"verdict": UNKNOWN, "why": f"the base model {unknown} has no provenance"}
    return {"verdict": CONTEXT_SEEN if counts[CONTEXT] else CLEAN}


def _unproven(model: str, dataset: str, is_declared: bool) -> dict[str, str]:
    """Of a model without provenance."""
    if is_declared:
        return {"verdict": SEEN, "why": f"declared to be trained on {dataset}"}
    found = declaration_of(model)
    if found is not None and found.has_seen(dataset) is False:
        return {
            "verdict": UNKNOWN,
            "why": f"no provenance; declared not to be trained on {dataset}",
        }
    return {"verdict": UNKNOWN, "why": "no provenance"}


def _declared_rows(model: str, provenance: Provenance | None, dataset: str) -> list[dict[str, Any]]:
    """Declarations about a model without provenance, or about its base models without one."""
    rows = []
    for name in (model,) if provenance is None else provenance.unknown:
        found = declaration_of(name)
        if found is not None and found.has_seen(dataset):
            rows.append(
                {
                    "part": ANSWERS,
                    "evidence": "declared",
                    "trained_on": f"{found.seen[dataset]} ({found.source})",
                    "through": "" if provenance is None else name,
                }
            )
    return rows


def _path(inherited: bool, through: tuple[str, ...]) -> str:
    return " > ".join(through) or ("a base model" if inherited else "")


def _stretch(panel: Panel, item: int, start: int, stop: int) -> dict[str, Any]:
    dates, offset = panel.timestamps(item), int(panel.offsets[item])
    dated = {} if dates is None else {"first": str(dates[start]), "last": str(dates[stop - 1])}
    return {
        "item_id": panel.item_ids[item],
        "start": offset + start,
        "stop": offset + stop,
        "bars": stop - start,
        **dated,
    }


def _frame(rows: Iterable[dict[str, Any]], columns: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(columns))
    text = [name for name, kind in columns.items() if kind is str]
    return frame.fillna(dict.fromkeys(text, "")).astype(columns)
