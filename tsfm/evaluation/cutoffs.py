"""When validation, test and vault begin, for one panel and for panels that share items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.panel import Panel
from tsfm.errors import DataError


class Cutoffs(NamedTuple):
    """The dates of the first targets of validation, of test and, if there is one, of the vault."""

    validation: pd.Timestamp
    test: pd.Timestamp
    vault: pd.Timestamp | None = None


def cutoffs(
    panel: Panel, validation_share: float, test_share: float, vault_share: float = 0.0
) -> Cutoffs:
    """Quantiles of all the panel's bars in time, none before what its features were fitted on.

    Parameters
    ----------
    vault_share
        The end of ``test_share``; 0: no vault.

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

    def reached(bars: np.ndarray, share: float) -> pd.Timestamp:
        return pd.Timestamp(bars[int(share * len(bars))])

    validation, test = (reached(pooled, 1 - s - test_share) for s in (validation_share, 0.0))
    vault = reached(pooled, 1 - vault_share) if vault_share else None
    fitted_until = panel.info.provenance.get("fitted_until")
    fitted = pd.to_datetime(fitted_until, utc=True).tz_localize(None) if fitted_until else None
    if fitted is None or fitted <= validation:
        return Cutoffs(validation, test, vault)
    later = pooled[pooled >= frequency.moment(fitted)]
    if not len(later):
        raise DataError(
            f"no bars follow {fitted_until}, which features were fitted until",
            where=f"panel {panel.info.name}",
            remedy="build the panel with an earlier train_until",
        )
    kept = validation_share + test_share
    vault = reached(later, 1 - vault_share / kept) if vault_share else None
    middle = int(len(later) * validation_share / kept)
    return Cutoffs(pd.Timestamp(later[0]), pd.Timestamp(later[middle]), vault)


def shared_cutoffs(
    panels: Sequence[Panel],
    validation_share: float,
    test_share: float,
    vault_share: float = 0.0,
    *,
    least: int,
) -> list[Cutoffs]:
    """:func:`cutoffs` of every panel; the latest ones for all that share items.

    Else an asset's hourly bars would be trained on while its daily ones of the same days are
    judged. A panel with fewer than ``least`` bars in the validation period that this leaves keeps
    the beginning of its own; one with fewer in the test period goes without a vault, and if they
    are still fewer keeps its own dates. A panel may end before the shared vault begins.
    """
    own = [cutoffs(panel, validation_share, test_share, vault_share) for panel in panels]
    families = _families([set(panel.item_ids) for panel in panels])
    shared = []
    for panel, family, mine in zip(panels, families, own, strict=True):
        kin = [cut for cut, other in zip(own, families, strict=True) if other == family]
        validation, test = max(cut.validation for cut in kin), max(cut.test for cut in kin)
        vault = max((cut.vault for cut in kin if cut.vault is not None), default=None)
        choices = [
            Cutoffs(begin, test, end)
            for end in dict.fromkeys((vault, None))
            for begin in (validation, mine.validation)
        ]
        reached = (cut for cut in choices if _reaches(panel, cut, least))
        shared.append(next(reached, mine._replace(vault=vault)))
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
    third = panel.lengths
    if cut.vault is not None:
        third = np.array([panel.position(item, cut.vault) for item in items])
    enough = (first > 0) & (second - first >= least) & (third - second >= least)
    return int(enough.sum()) >= min(2, len(panel))
