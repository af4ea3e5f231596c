"""Whether a test has met what a model was trained on, by content and by date."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from tsfm.data import frequency
from tsfm.data.blocks import hash_rows
from tsfm.data.panel import Panel
from tsfm.data.provenance import Provenance, Source
from tsfm.data.series import Series


@dataclass(frozen=True, kw_only=True)
class Match:
    """Scored bars ``[start, stop)`` of an item that were seen in training.

    Attributes
    ----------
    kind
        ``content``: the same values; ``dates``: the same item at the same time (or, without dates,
        the same item and bars of the same panel).
    panel
        The panel that was trained on.
    inherited
        Whether the base model saw it.
    """

    item_id: str
    start: int
    stop: int
    kind: str
    panel: str
    inherited: bool


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What of a test was seen in training; true when anything was.

    Attributes
    ----------
    scored
        Bars that may be targets, over all items.
    seen
        How many of them were seen, each counted once.
    """

    matches: tuple[Match, ...]
    scored: int
    seen: int

    def __bool__(self) -> bool:
        return bool(self.matches)

    @property
    def items(self) -> tuple[str, ...]:
        return tuple(sorted({match.item_id for match in self.matches}))

    def __str__(self) -> str:
        if not self:
            return f"no overlap between training and the {self.scored} scored bars"
        sources = sorted({m.panel + " (base model)" * m.inherited for m in self.matches})
        some = ", ".join(self.items[:5]) + (" …" if len(self.items) > 5 else "")
        return (
            f"leakage: {self.seen} of {self.scored} scored bars ({len(self.items)} items: {some}) "
            f"were seen in training on {', '.join(sources)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        matches = [vars(match) for match in self.matches]
        return {"scored": self.scored, "seen": self.seen, "matches": matches}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sighting:
    """Bars of one item of a panel that one source of a provenance holds.

    Attributes
    ----------
    item
        Its place in the panel.
    kind
        As of :class:`Match`.
    bars
        Of the item's series in the view: True where it was seen.
    """

    item: int
    source: Source
    kind: str
    bars: Bool[np.ndarray, " time"]

    def runs(self) -> Iterator[tuple[int, int]]:
        """Every unbroken stretch ``[start, stop)`` of seen bars."""
        return runs(self.bars)


def sightings(
    provenance: Provenance, panel: Panel, first: Sequence[int] | None = None
) -> Iterator[Sighting]:
    """What of a panel was seen in training, item by item and source by source.

    Content is compared at every alignment, variate by variate, so renamed, re-ordered, re-cut and
    partly selected copies are found as long as one whole block of them lies in the panel;
    transformed copies are found by item and date only.

    Parameters
    ----------
    first
        Of every item, the first bar of the view that is asked about; by default all.
    """
    for item, series in enumerate(panel):
        begin = 0 if first is None else first[item]
        if begin >= series.length:
            continue
        dates = panel.timestamps(item)
        hashes: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        for source in provenance.sources:
            masks = {
                "content": _same_content(source, series, begin, hashes),
                "dates": _same_dates(source, panel.info.name, series, dates, begin),
            }
            for kind, bars in masks.items():
                if bars.any():
                    yield Sighting(item=item, source=source, kind=kind, bars=bars)


def overlap(
    provenance: Provenance,
    panel: Panel,
    first_origin: str | pd.Timestamp | int | None = None,
) -> Overlap:
    """Which scored bars of a test panel a model has been trained on; found by :func:`sightings`.

    Parameters
    ----------
    first_origin
        Targets start at or after this date, or bar of the view; by default all bars are scored.
    """
    first = [_first_scored(panel, item, first_origin) for item in range(len(panel))]
    marks = [np.zeros(int(length), bool) for length in panel.lengths]
    matches: list[Match] = []
    for sighting in sightings(provenance, panel, first):
        marks[sighting.item] |= sighting.bars
        offset = int(panel.offsets[sighting.item])
        matches += [
            Match(
                item_id=panel.item_ids[sighting.item],
                start=offset + start,
                stop=offset + stop,
                kind=sighting.kind,
                panel=sighting.source.panel,
                inherited=sighting.source.inherited,
            )
            for start, stop in sighting.runs()
        ]
    return Overlap(
        matches=tuple(matches),
        scored=int(panel.lengths.sum()) - sum(first),
        seen=int(sum(mark.sum() for mark in marks)),
    )


def _first_scored(panel: Panel, item: int, first_origin: str | pd.Timestamp | int | None) -> int:
    if first_origin is None:
        return 0
    length = int(panel.lengths[item])
    if isinstance(first_origin, int | np.integer):
        return int(np.clip(first_origin, 0, length))
    return min(panel.position(item, first_origin), length)


def _same_content(
    source: Source,
    series: Series,
    first: int,
    hashes: dict[tuple[int, int], tuple[int, np.ndarray]],
) -> np.ndarray:
    """Bars from ``first`` on in a block, at any alignment, that was trained on: ``[time]``.

    ``hashes`` keeps those of the series for further sources, by variate and block length.
    """
    mask = np.zeros(series.length, bool)
    block = source.block
    if series.length < block or not len(source.hashes):
        return mask
    for row, values in enumerate(series.target):
        if (row, block) not in hashes:
            begin = min(max(first - block + 1, 0), series.length - block)
            rows = np.lib.stride_tricks.sliding_window_view(values[begin:], block)
            hashes[row, block] = (begin, hash_rows(rows))
        begin, own = hashes[row, block]
        place = np.minimum(np.searchsorted(source.hashes, own), len(source.hashes) - 1)
        for start in begin + np.flatnonzero((source.hashes[place] == own) & (own != 0)):
            mask[start : start + block] = True
    mask[:first] = False
    return mask


def _same_dates(
    source: Source, panel: str, series: Series, dates: np.ndarray | None, first: int
) -> np.ndarray:
    """Bars of an item inside the span that was trained on: ``[time]``."""
    mask = np.zeros(series.length, bool)
    span = source.spans.get(series.item_id)
    if span is None:
        return mask
    if dates is not None and span.first is not None and span.last is not None:
        mask = (dates >= frequency.moment(span.first)) & (dates <= frequency.moment(span.last))
    elif dates is None and span.first is None and source.panel == panel:
        bars = series.offset + np.arange(series.length)
        mask = (bars >= span.start) & (bars < span.stop)
    mask[:first] = False
    return mask


def runs(mask: Bool[np.ndarray, " time"]) -> Iterator[tuple[int, int]]:
    """Every unbroken stretch ``[start, stop)`` where a mask is true."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return ((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))
