"""Rows after a series' last target: what is known of a horizon that has not happened yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from tsfm.errors import DataError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

NAMED = 5


def origins(panel: Panel) -> Int[np.ndarray, " item"]:
    """Bars of every item up to its last observed target; 0 where it has none."""
    found = [np.isfinite(series.target).any(axis=0) for series in panel]
    return np.array([len(seen) - int(seen[::-1].argmax()) if seen.any() else 0 for seen in found])


def expect_known(panel: Panel, begins: Int[np.ndarray, " item"], horizon: int) -> None:
    """Check that every known covariate is given at all bars of the horizon.

    Parameters
    ----------
    begins
        Bars of every item before the horizon.

    Raises
    ------
    DataError
        Naming covariates and items, until when each is given, and how many bars are missing.
    """
    names, told = panel.info.known_covariates, []
    for item, begin in enumerate(begins.tolist()) if names else ():
        window = panel.window(item, begin - 1, 1, future=horizon)
        assert window.known_covariates is not None
        given = np.isfinite(window.known_covariates[:, 1:])
        for name, row in zip(names, given, strict=True):
            if not row.all():
                last = _date(panel, item, begin + int(row.argmin()) - 1)
                told.append(
                    f"{name} of {panel.item_ids[item]} until {last}, {int((~row).sum())} of "
                    f"{horizon} bars missing"
                )
    if told:
        ends = {_date(panel, item, int(begins[item]) - 1) for item in range(len(panel))}
        last = f"the last target is at {ends.pop()}" if len(ends) == 1 else "after the last target"
        raise DataError(
            f"known covariates are not given over the whole horizon ({last}): {_some(told)}",
            where=f"panel {panel.info.name}",
            remedy="add rows with these values and empty targets, give a shorter horizon, or name "
            "the column in past_covariates",
        )


def expect_one_past(frame: pd.DataFrame, targets: Sequence[str]) -> None:
    """Check that targets are not filled in on some of the rows that seem to be the future.

    That is the case where the rows at which an item's targets were given last are fewer than those
    just before, at which they are empty, and no earlier gap is as long.

    Parameters
    ----------
    frame
        ``item_id``, ``timestamp`` and columns, item after item, each in the order of time.

    Raises
    ------
    DataError
        Naming the items and when.
    """
    told = []
    seen = frame[list(targets)].notna().any(axis=1).to_numpy()
    stamps = frame["timestamp"].to_numpy()
    for item, rows in frame.groupby("item_id", sort=False).indices.items():
        gap, first, last = _last_gap(seen[rows])
        if gap > last - first:
            told.append(f"{item} from {_day(stamps[rows[first]])} on, after {gap} empty rows")
    if told:
        raise DataError(
            f"targets are empty and then filled in again: {_some(told)}",
            where=f"columns {', '.join(targets)}",
            remedy="empty the targets of rows that lie in the future; if they were measured, leave "
            "the empty rows before them out",
        )


def left_out(panel: Panel, begins: Int[np.ndarray, " item"], horizon: int) -> str:
    """What is not looked at of the bars after the last targets, in a sentence; empty: nothing."""
    late = np.asarray(panel.lengths) - begins
    is_told = bool(panel.info.known_covariates)
    extra = late - horizon if is_told else late
    told = [f"{panel.item_ids[item]} ({extra[item]})" for item in np.flatnonzero(extra > 0)]
    if not told:
        return ""
    if is_told:
        return f"bars after the horizon are not looked at: {_some(told)}"
    return (
        f"the forecast begins after the last target; later bars without one are left out, and "
        f"known_covariates= would look at them: {_some(told)}"
    )


def _last_gap(seen: Bool[np.ndarray, " row"]) -> tuple[int, int, int]:
    """Length of the gap before the last run of seen rows, where it is longer than all before,
    else 0; and where that run begins and ends."""
    edges = np.flatnonzero(np.diff(seen, prepend=False, append=False))
    first, stop = edges[0::2], edges[1::2]
    gaps = first[1:] - stop[:-1]
    if not len(gaps) or gaps[-1] <= gaps[:-1].max(initial=0):
        return 0, 0, 0
    return int(gaps[-1]), int(first[-1]), int(stop[-1])


def _date(panel: Panel, item: int, bar: int) -> str:
    stamps = panel.timestamps(item)
    return f"bar {bar + 1}" if stamps is None else _day(stamps[bar])


def _day(stamp: np.datetime64) -> str:
    return str(pd.Timestamp(stamp)).removesuffix(" 00:00:00")


def _some(told: Sequence[str]) -> str:
    more = f", and {len(told) - NAMED} more" if len(told) > NAMED else ""
    return "; ".join(told[:NAMED]) + more
