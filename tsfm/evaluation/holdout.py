"""What is kept from training: the end of time, and some of the symbols.

Held-out symbols are judged after the cutoff only: before it they share the market's moves with the
symbols trained on. They are drawn from those that can be judged there.

The very end of time is the vault. Experiments get to see panels that end before it
(:func:`hold_out`); only what ``promote`` seals reaches into it (:func:`vault_tasks`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from tsfm.data.panel import Panel
from tsfm.data.sources import SourceConfig
from tsfm.data.splits import split_by_item, split_by_time
from tsfm.errors import DataError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.cutoffs import Cutoffs, cutoffs, shared_cutoffs
from tsfm.evaluation.tasks import Task


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """One panel, divided.

    Attributes
    ----------
    validation
        Only bars of the validation period: training windows are drawn from it, and whatever part
        of one is masked must be new to the model.
    tasks
        Frozen questions on the test period, with the panel each is asked of: ``<panel>/time`` for
        symbols trained on, ``<panel>/symbols`` for the others.
    validation_task
        The same kind of question on the validation period, for watching training.
    """

    train: Panel
    validation: Panel
    validation_task: tuple[Task, Panel]
    tasks: tuple[tuple[Task, Panel], ...]


def hold_out_each(
    panels: Iterable[Panel],
    config: SourceConfig,
    evaluation: EvaluationConfig,
    context: int,
    horizon: int,
) -> list[HoldOut]:
    """:func:`hold_out` of every panel of a source.

    Panels that share items are cut at the same dates (:func:`shared_cutoffs`), and an item that one
    holds out is held out of all.
    """
    panels = list(panels)
    cuts, drawn = _shared(panels, config, context, horizon)
    return [
        hold_out(
            panel, config, context=context, horizon=horizon, evaluation=evaluation,
            cut=cut, held_out=drawn,
        )
        for panel, cut in zip(panels, cuts, strict=True)
    ]  # fmt: skip


def vault_tasks(
    panels: Iterable[Panel],
    config: SourceConfig,
    evaluation: EvaluationConfig,
    context: int,
    horizon: int,
) -> list[tuple[Task, Panel]]:
    """Questions on the bars that :func:`hold_out_each`, told the same, lets no experiment see.

    As its tasks: ``<panel>/time`` for symbols trained on, ``<panel>/symbols`` for the others. A
    panel that ends before the vault of another that shares its items has none. Their contexts may
    reach back into the test period, and no panel holds more history than that.

    Raises
    ------
    DataError
        When a period is too short for a single window, or no panel has a vault.
    """
    panels = list(panels)
    cuts, drawn = _shared(panels, config, context, horizon)
    found: list[tuple[Task, Panel]] = []
    for panel, cut in zip(panels, cuts, strict=True):
        if cut.vault is None or not _long_enough(panel, cut.vault, context, horizon):
            continue
        chosen = drawn or _held_out(panel, config, cut, context, horizon)
        known, unknown = _divided(panel, chosen & set(panel.item_ids))
        for kind, whole in (("time", known), ("symbols", unknown)):
            if _long_enough(whole, cut.vault, context, horizon):
                question, view = _task(kind, whole, cut.vault, evaluation, context, horizon)
                found.append(_without_older(question, view, cut.vault))
    if not found:
        longest = max((int(panel.lengths.max()) for panel in panels), default=0)
        raise DataError(
            f"no window of {context} + {horizon} bars reaches into the vault, the last "
            f"{config.vault_share:.0%} of at most {longest} bars",
            where=", ".join(panel.info.name for panel in panels),
            remedy="shorten context or horizon, or give longer series or a larger "
            "data.vault_share, to the experiments as well",
        )
    return found


def _shared(
    panels: list[Panel], config: SourceConfig, context: int, horizon: int
) -> tuple[list[Cutoffs], set[str]]:
    """Cutoffs of all panels, and the items that any of several holds out."""
    shares = (config.validation_share, config.test_share, config.vault_share)
    cuts = shared_cutoffs(panels, *shares, least=2 * horizon)
    fitted = [item for panel in panels for item in _fitted_on(panel)]
    drawn: set[str] = set()
    if len(panels) > 1:
        for panel, cut in zip(panels, cuts, strict=True):
            drawn |= _held_out(panel, config, cut, context, horizon, never=fitted)
    return cuts, drawn


def _held_out(
    panel: Panel,
    config: SourceConfig,
    cut: Cutoffs,
    context: int,
    horizon: int,
    never: Collection[str] | None = None,
) -> set[str]:
    """Items that can be judged before the vault, drawn by the config's seed."""
    fitted = _fitted_on(panel) if never is None else never
    seen = before_vault(panel, cut)
    return _drawn(seen, config, cut.test, context, horizon, never=fitted)


def before_vault(panel: Panel, cut: Cutoffs) -> Panel:
    """All that experiments may see of a panel."""
    return panel if cut.vault is None else panel.between(None, cut.vault)


def hold_out(
    panel: Panel,
    config: SourceConfig,
    *,
    context: int,
    horizon: int,
    evaluation: EvaluationConfig,
    cut: Cutoffs | None = None,
    held_out: Collection[str] = (),
) -> HoldOut:
    """Divide a panel by time (with an embargo of one horizon) and by item; the vault is left out.

    Parameters
    ----------
    config
        Its shares and seed say how much is kept, and of which items.
    evaluation
        How many series and origins a task has.
    cut
        Where validation, test and vault begin; by default by the config's shares of the panel's
        bars.
    held_out
        Items of this panel and others; by default drawn by the config's seed.

    Raises
    ------
    DataError
        When a period is too short for a single window, or fewer than two items can be judged.
    """
    if cut is None:
        shares = (config.validation_share, config.test_share, config.vault_share)
        cut = cutoffs(panel, *shares)
    validation_start, test_start, _ = cut
    longest = int(panel.lengths.max())
    if longest < context + horizon:
        raise DataError(
            f"no series holds a window of {context} + {horizon} bars: the longest has {longest}",
            where=f"panel {panel.info.name}",
            remedy="shorten context or horizon, or give longer series",
        )
    panel = before_vault(panel, cut)
    chosen = set(held_out) & set(panel.item_ids) or _drawn(
        panel, config, test_start, context, horizon, never=_fitted_on(panel)
    )
    known, unknown = _divided(panel, chosen)
    try:
        split = split_by_time(known, validation=validation_start, test=test_start, embargo=horizon)
    except DataError as error:
        raise DataError(
            error.what,
            where=error.where,
            remedy="shorten the horizon, or give longer series or larger shares to the periods",
        ) from error

    def task(kind: str, whole: Panel, first_origin: pd.Timestamp) -> tuple[Task, Panel]:
        return _task(kind, whole, first_origin, evaluation, context, horizon)

    return HoldOut(
        train=split.train,
        validation=split.validation.between(validation_start),
        validation_task=task("validation", split.validation, validation_start),
        tasks=(task("time", split.test, test_start), task("symbols", unknown, test_start)),
    )


def _task(
    kind: str,
    panel: Panel,
    first_origin: pd.Timestamp,
    evaluation: EvaluationConfig,
    context: int,
    horizon: int,
) -> tuple[Task, Panel]:
    """A question, and the view that it is asked of."""
    able = _long_enough(panel, first_origin, context, horizon)
    if not able:
        raise DataError(
            f"no window of {context} + {horizon} bars fits after {first_origin}",
            where=f"panel {panel.info.name}, {kind}",
            remedy="shorten context or horizon, or give a larger share to the period; "
            "data.vault_share=0 keeps no vault",
        )
    view = panel.select(able[: evaluation.items_per_task])
    question = Task(
        name=f"{panel.info.name}/{kind}",
        panel_fingerprint=view.fingerprint,
        targets=panel.info.variates,
        known=panel.info.known_covariates,
        context=context,
        horizon=horizon,
        first_origin=first_origin,
        baseline_context=max(context, evaluation.baseline_context),
        stride=horizon,
        max_windows=evaluation.windows_per_item,
        seasonality=panel.info.seasonality,
    )
    return question, view


def _without_older(question: Task, view: Panel, first: pd.Timestamp) -> tuple[Task, Panel]:
    """Without bars that no window looks back to."""
    starts = [view.position(item, first) - question.history for item in range(len(view))]
    cut = view.slice(starts, view.lengths)
    return replace(question, panel_fingerprint=cut.fingerprint), cut


def _fitted_on(panel: Panel) -> Sequence[str]:
    """Items that the panel's features were fitted on."""
    return panel.info.provenance.get("fitted_on", ())


def _drawn(
    panel: Panel,
    config: SourceConfig,
    test_start: pd.Timestamp,
    context: int,
    horizon: int,
    *,
    never: Collection[str],
) -> set[str]:
    """The held-out share of the items that can be judged, without some."""
    able = _long_enough(panel, test_start, context, horizon)
    if len(able) < min(2, len(panel)):
        raise DataError(
            f"{len(able)} of {len(panel)} series hold a window of {context} + {horizon} bars that "
            f"is forecast after {test_start}; one to train on and one to hold out are needed",
            where=f"panel {panel.info.name}",
            remedy="shorten context or horizon, or give longer series or a larger test_share; "
            "data.vault_share=0 keeps no vault",
        )
    _, unknown = split_by_item(
        panel.select(able),
        held_out=config.held_out_share,
        seed=config.seed,
        never=never,
    )
    return set(unknown.item_ids)


def _divided(panel: Panel, held_out: Collection[str]) -> tuple[Panel, Panel]:
    """Items to train on, and the others."""
    kept = [item_id for item_id in panel.item_ids if item_id not in held_out]
    if not kept:
        raise DataError(
            "every item is held out, here or by a panel that shares it",
            where=f"panel {panel.info.name}",
            remedy="draw others by another data.seed, or hold out less by data.held_out_share",
        )
    return panel.select(kept), panel.select(i for i in panel.item_ids if i in held_out)


def _long_enough(panel: Panel, first_origin: pd.Timestamp, context: int, horizon: int) -> list[str]:
    """Items with a whole context before some origin and a whole horizon after it."""
    return [
        item_id
        for item, item_id in enumerate(panel.item_ids)
        if max(context, panel.position(item, first_origin)) + horizon <= panel.lengths[item]
    ]
