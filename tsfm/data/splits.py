"""Divide panels by time, with an embargo, and by item."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Split:
    """Three views of one panel, divided by time.

    Validation and test keep their history, so that contexts can reach back; what may be a target
    starts at ``first_validation`` and ``first_test``.

    Attributes
    ----------
    train
        Ends ``embargo`` bars before the first validation target.
    validation
        Ends ``embargo`` bars before the first test target.
    first_validation, first_test
        Targets start at or after these dates.
    embargo
        Bars of each item that neither side uses.
    """

    train: Panel
    validation: Panel
    test: Panel
    first_validation: pd.Timestamp
    first_test: pd.Timestamp
    embargo: int

    @property
    def first_origin(self) -> dict[str, pd.Timestamp]:
        """When targets may start, by the name of the view."""
        return {"validation": self.first_validation, "test": self.first_test}


def split_by_time(
    panel: Panel, *, validation: str | pd.Timestamp, test: str | pd.Timestamp, embargo: int
) -> Split:
    """Divide every item at the same two dates.

    An item appears in a view only where it has bars for it: in validation and test, at least one
    that may be a target.

    Parameters
    ----------
    validation, test
        Dates of the first targets.
    embargo
        Bars left out before each date; one horizon keeps overlapping targets apart. Counted in
        bars of each item, also where its calendar is irregular.

    Raises
    ------
    ConfigError
        When the dates are not dates in that order, or the embargo is negative.
    DataError
        When items have no dates, or a view has no bars left.
    """
    first, second = frequency.moment(validation), frequency.moment(test)
    if second <= first:
        raise ConfigError(
            f"test={test} does not come after validation={validation}",
            remedy="give the validation date first",
        )
    if int(embargo) != embargo or embargo < 0:
        raise ConfigError(
            f"embargo={embargo!r} is not a number of bars", remedy="give 0 or more, usually horizon"
        )
    items = range(len(panel))
    validation_from = np.array([panel.position(item, first) for item in items])
    test_from = np.array([panel.position(item, second) for item in items])
    validation_to = np.where(test_from - embargo > validation_from, test_from - embargo, 0)
    test_to = np.where(panel.lengths > test_from, panel.lengths, 0)
    return Split(
        train=_cut(panel, validation_from - embargo, f"train (before {validation})", embargo),
        validation=_cut(panel, validation_to, f"validation ({validation} to {test})", embargo),
        test=_cut(panel, test_to, f"test (from {test})", 0),
        first_validation=pd.Timestamp(first),
        first_test=pd.Timestamp(second),
        embargo=int(embargo),
    )


def split_by_item(
    panel: Panel,
    *,
    held_out: float | Sequence[str],
    seed: int = 0,
    never: Collection[str] = (),
) -> tuple[Panel, Panel]:
    """Divide the items: those kept, and those held out.

    Parameters
    ----------
    held_out
        Their ids, or their share: at least one item on either side, drawn by ``seed`` from the
        sorted ids, so that the order of the panel does not matter.
    never
        Ids that are not drawn, such as those that features were fitted on.

    Raises
    ------
    ConfigError
        When a share is not inside (0, 1).
    DataError
        When ids are unknown, one side would be empty, or none may be drawn.
    """
    if isinstance(held_out, str):
        held_out = [held_out]
    if isinstance(held_out, Sequence):
        chosen = set(panel.select(held_out).item_ids)
    else:
        chosen = _drawn(panel, held_out, seed, never)
    kept = [item_id for item_id in panel.item_ids if item_id not in chosen]
    if not kept:
        raise DataError(
            "every item is held out",
            where=f"panel {panel.info.name} of {len(panel)} items",
            remedy="leave at least one to train on",
        )
    return panel.select(kept), panel.select(i for i in panel.item_ids if i in chosen)


def _drawn(panel: Panel, share: float, seed: int, never: Collection[str]) -> set[str]:
    if not 0 < share < 1:
        raise ConfigError(
            f"held_out={share!r} is not a share of the items",
            remedy="give a number inside (0, 1), or item ids",
        )
    if len(panel) < 2:
        raise DataError(
            "one item cannot be divided",
            where=f"panel {panel.info.name}",
            remedy="split by time, or give more items",
        )
    free = sorted(set(panel.item_ids) - set(never))
    if not free:
        raise DataError(
            "features were fitted on every item that could be held out",
            where=f"panel {panel.info.name}",
            remedy="build it with fewer fit_assets, or without regimes and selection",
        )
    count = min(max(round(share * len(panel)), 1), len(panel) - 1)
    ids = np.array(free, dtype=object)
    return set(np.random.default_rng(seed).permutation(ids)[:count])


def _cut(panel: Panel, stops: np.ndarray, part: str, embargo: int) -> Panel:
    if (stops <= 0).all():
        raise DataError(
            f"no bars are left for {part} after an embargo of {embargo} bars",
            where=f"panel {panel.info.name}",
            remedy="move the dates, or shorten the horizon",
        )
    return panel.slice(0, stops)
