"""When validation and test begin, for one panel and for panels that share items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.panel import Panel
from tsfm.errors import DataError


class Cutoffs(NamedTuple):
    """The dates of the first targets of validation and of test."""

    validation: pd.Timestamp
    test: pd.Timestamp


def cutoffs(panel: Panel, validation_share: float, test_share: float) -> Cutoffs:
    """Quantiles of all the panel's bars in time, none before what its features were fitted on.

    Raises
    ------
    DataError
        When a series has no timestamps, or no bars follow the fitted ones.
    """
    stamps = [panel.timestamps(item) for item in range(len(panel))]
    if any(stamp is None for stamp in stamps):
        raise DataError(
            "the series have no timestamps", where=f"panel {panel.info.name}",
            remedy="build the panel with start and freq, or with explicit timestamps",
        )  # fmt: skip
    pooled = np.sort(np.concatenate([stamp for stamp in stamps if stamp is not None]))
    shares = (1 - validation_share - test_share, 1 - test_share)
    validation, test = (pd.Timestamp(pooled[int(share * len(pooled))]) for share in shares)
    fitted_until = panel.info.provenance.get("fitted_until")
    fitted = pd.to_datetime(fitted_until, utc=True).tz_localize(None) if fitted_until else None
    if fitted is None or fitted <= validation:
        return Cutoffs(validation, test)
    later = pooled[pooled >= frequency.moment(fitted)]
    if not len(later):
        raise DataError(
            f"no bars follow {fitted_until}, which features were fitted until",
            where=f"panel {panel.info.name}",
            remedy="build the panel with an earlier train_until",
        )
    middle = int(len(later) * validation_share / (validation_share + test_share))
    return Cutoffs(pd.Timestamp(later[0]), pd.Timestamp(later[middle]))


def shared_cutoffs(
    panels: Sequence[Panel], validation_share: float, test_share: float, *, least: int
) -> list[Cutoffs]:
    """:func:`cutoffs` of every panel; the latest ones for all that share items.

    Else an asset's hourly bars would be trained on while its daily ones of the same days are
    judged. A panel with fewer than ``least`` bars in the validation period that this leaves keeps
    the beginning of its own, and one with fewer in the test period keeps both dates.
    """
    own = [cutoffs(panel, validation_share, test_share) for panel in panels]
    families = _families([set(panel.item_ids) for panel in panels])
    shared = []
    for panel, family, mine in zip(panels, families, own, strict=True):
        kin = [cut for cut, other in zip(own, families, strict=True) if other == family]
        validation, test = (max(dates) for dates in zip(*kin, strict=True))
        choices = (Cutoffs(validation, test), Cutoffs(mine.validation, test))
        shared.append(next((cut for cut in choices if _reaches(panel, cut, least)), mine))
    return shared


def _families(ids: Sequence[set[str]]) -> list[int]:
    """The same number for panels that share an item, also by way of a third."""
    family = list(range(len(ids)))
    for k, mine in enumerate(ids):
        for j in range(k):
            if mine & ids[j]:
                family = [family[j] if other == family[k] else other for other in family]
    return family


def _reaches(panel: Panel, cut: Cutoffs, least: int) -> bool:
    """At least two series (all, of fewer) have ``least`` bars in both periods."""
    items = range(len(panel))
    first = np.array([panel.position(item, cut.validation) for item in items])
    second = np.array([panel.position(item, cut.test) for item in items])
    enough = (first > 0) & (second - first >= least) & (panel.lengths - second >= least)
    return int(enough.sum()) >= min(2, len(panel))
