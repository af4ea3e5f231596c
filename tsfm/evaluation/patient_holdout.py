"""What is kept from training on patients: some of them altogether, the later days of the others.

Unlike markets, patients share no calendar: each has an end of its own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from tsfm.data.glucose import holdouts
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError, one_of
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.holdout import HoldOut
from tsfm.evaluation.tasks import Task

SPLITS = ("both", "time", "patient")
LATER, UNSEEN = "later days", "unseen patients"


def draw_patients(
    panel: Panel, split: str, *, patient_share: float, time_share: float, seed: int
) -> holdouts.HoldOut:
    """A hold-out of the kind that ``split`` names: of patients, of later times, or of both.

    Raises
    ------
    ConfigError
        When the split is not one of :data:`SPLITS`, or patients shall be held out of one.
    """
    one_of("split", split, SPLITS)
    if split != "time" and len(panel) < 2:
        raise ConfigError(
            f"split={split}, but there is one patient",
            where=f"panel {panel.info.name}",
            remedy="give split=time, or data of more people",
        )
    return holdouts.HoldOut.make(
        panel,
        name=file_name(panel.info.name),
        patient_share=0.0 if split == "time" else patient_share,
        time_share=0.0 if split == "patient" else time_share,
        seed=seed,
    )


def hold_out_patients(
    panel: Panel,
    held: holdouts.HoldOut,
    *,
    context: int,
    horizon: int,
    evaluation: EvaluationConfig,
    validation_share: float,
) -> HoldOut:
    """Divide a panel by a hold-out, and the end of what is left to train on for validation.

    Tasks are ``<panel>/later days`` of patients trained on and ``<panel>/unseen patients``, where
    the hold-out has such. Their panels begin a context before the first bar that is forecast.

    Parameters
    ----------
    validation_share
        Of each training patient's bars, at their end, an embargo of one horizon before it.

    Raises
    ------
    DataError
        When a patient is not in the hold-out, or nothing is left to train on or to judge.
    """
    divided = held.split(panel, embargo=horizon)
    rest = divided.train
    train, validation, begins = ends_apart(rest, validation_share, context=context, horizon=horizon)
    able = _able(rest, np.maximum(begins - context, 0), context + horizon)
    if not able:
        raise DataError(
            f"no patient's validation part holds {context} + {horizon} bars",
            where=f"panel {panel.info.name}",
            remedy="shorten context or horizon, or give longer series",
        )
    watched = _from_context(rest, begins, context)
    tasks = []
    for kind, view in ((LATER, divided.later), (UNSEEN, divided.unseen)):
        if view is None:
            continue
        first = np.zeros(len(view), int)
        if kind == LATER:
            first = np.array(
                [view.position(k, divided.first_origin[i]) for k, i in enumerate(view.item_ids)]
            )
        tasks += _task(kind, _from_context(view, first, context), context, horizon, evaluation)
    if not tasks:
        raise DataError(
            f"nothing that is held out holds a window of {context} + {horizon} bars",
            where=f"hold-out {held.title} of panel {panel.info.name}",
            remedy="shorten context or horizon, or hold out more",
        )
    (validation_task,) = _task("validation", watched, context, horizon, evaluation)
    return HoldOut(
        train=train,
        validation=validation,
        validation_task=validation_task,
        tasks=tuple(tasks),
    )


def ends_apart(
    panel: Panel, share: float, *, context: int, horizon: int
) -> tuple[Panel, Panel, Int[np.ndarray, " item"]]:
    """What to train on, the end of each series to validate on, and where that end begins.

    Where the end of no series holds a whole window, validation reaches back into training.

    Parameters
    ----------
    share
        Of each series; one horizon before it is left out of training.

    Raises
    ------
    DataError
        When no bars are left on either side.
    """
    begins = np.round((1 - share) * panel.lengths).astype(int)
    is_long = (panel.lengths - begins >= context + horizon).any()
    starts = begins if is_long else np.maximum(begins - context, 0)
    train = _cut(panel, 0, begins - horizon, "train")
    return train, _cut(panel, starts, panel.lengths, "validation"), begins


def _from_context(panel: Panel, first: np.ndarray, context: int) -> Panel:
    """From a context before the first bar that may be forecast."""
    return panel.slice(np.maximum(first - context, 0), panel.lengths)


def _able(panel: Panel, starts: np.ndarray, bars: int) -> list[str]:
    enough = panel.lengths - starts >= bars
    return [item_id for item_id, able in zip(panel.item_ids, enough, strict=True) if able]


def _task(
    kind: str, view: Panel, context: int, horizon: int, evaluation: EvaluationConfig
) -> list[tuple[Task, Panel]]:
    able = _able(view, np.zeros(len(view), int), context + horizon)
    if not able:
        return []
    chosen = view.select(able[: evaluation.items_per_task])
    return [
        (
            Task.on(
                chosen,
                name=f"{view.info.name}/{kind}",
                known=view.info.known_covariates,
                context=context,
                horizon=horizon,
                baseline_context=max(context, evaluation.baseline_context),
                stride=evaluation.stride or horizon,
                max_windows=evaluation.windows_per_item,
                cluster="item",
            ),
            chosen,
        )
    ]


def _cut(panel: Panel, starts: int | np.ndarray, stops: np.ndarray, part: str) -> Panel:
    try:
        return panel.slice(starts, stops)
    except DataError as error:
        raise DataError(
            f"no bars are left for {part}",
            where=f"panel {panel.info.name}",
            remedy="shorten the horizon, or give longer series",
        ) from error


def file_name(name: str) -> str:
    """A panel's name as that of a hold-out file."""
    plain = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)
    return plain.lstrip("-_.") or "panel"
