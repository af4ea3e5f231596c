"""What a model was trained on, and whether a test has met any of it before."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from jaxtyping import UInt64

from tsfm.data import frequency
from tsfm.data.blocks import BLOCK, hash_rows
from tsfm.data.panel import Panel
from tsfm.data.series import Series
from tsfm.errors import CheckpointError

FILE_NAME = "provenance.json"


@dataclass(frozen=True, kw_only=True)
class Span:
    """The bars ``[start, stop)`` of one item, and their first and last dates where it has them."""

    start: int
    stop: int
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One panel that was trained on.

    Attributes
    ----------
    spans
        What was seen of every item.
    hashes
        Sorted content hashes of all its blocks of ``block`` bars.
    inherited
        Whether the base model saw it, rather than this one.
    """

    panel: str
    fingerprint: str
    variates: tuple[str, ...]
    licence: str
    block: int
    spans: Mapping[str, Span]
    hashes: UInt64[np.ndarray, " block"]
    inherited: bool = False


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that a model has seen in training, its base models included."""

    sources: tuple[Source, ...] = ()

    @classmethod
    def of(cls, *panels: Panel, block: int = BLOCK) -> Self:
        """The provenance of training on these views."""
        return cls(sources=tuple(_source(panel, block) for panel in panels))

    def inherit(self, base: Provenance) -> Provenance:
        """Add what the base model had seen."""
        inherited = tuple(replace(source, inherited=True) for source in base.sources)
        return Provenance(sources=(*self.sources, *inherited))

    def to_json(self) -> str:
        return json.dumps({"sources": [_to_record(source) for source in self.sources]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(sources=tuple(_from_record(record) for record in json.loads(text)["sources"]))

    def save(self, directory: str | Path) -> Path:
        """Write ``provenance.json`` into a model's directory, all of it or nothing."""
        path = Path(directory) / FILE_NAME
        temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}")
        temporary.write_text(self.to_json())
        temporary.replace(path)
        return path

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``provenance.json`` of a model's directory.

        Raises
        ------
        CheckpointError
            When it is missing or damaged.
        """
        path = Path(directory) / FILE_NAME
        try:
            return cls.from_json(path.read_text())
        except FileNotFoundError as error:
            raise CheckpointError(
                f"no {FILE_NAME}",
                where=str(directory),
                remedy="without it nobody can tell what the model was trained on: save it again",
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{FILE_NAME} cannot be read: {error!r}",
                where=str(path),
                remedy="save the model again",
            ) from error


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


def overlap(
    provenance: Provenance,
    panel: Panel,
    first_origin: str | pd.Timestamp | int | None = None,
) -> Overlap:
    """Which scored bars of a test panel a model has been trained on.

    Content is compared at every alignment, variate by variate, so renamed, re-ordered, re-cut and
    partly selected copies are found as long as one whole block of them lies in the scored part;
    transformed copies are found by item and date only.

    Parameters
    ----------
    first_origin
        Targets start at or after this date, or bar of the view; by default all bars are scored.
    """
    matches: list[Match] = []
    scored = seen = 0
    for item, series in enumerate(panel):
        first = _first_scored(panel, item, first_origin)
        scored += series.length - first
        if first == series.length:
            continue
        dates = panel.timestamps(item)
        marks = np.zeros(series.length, bool)
        for source in provenance.sources:
            found = {
                "content": _same_content(source, series, first),
                "dates": _same_dates(source, panel.info.name, series, dates, first),
            }
            for kind, mask in found.items():
                marks |= mask
                matches += [
                    Match(
                        item_id=series.item_id,
                        start=series.offset + start,
                        stop=series.offset + stop,
                        kind=kind,
                        panel=source.panel,
                        inherited=source.inherited,
                    )
                    for start, stop in _runs(mask)
                ]
        seen += int(marks.sum())
    return Overlap(matches=tuple(matches), scored=scored, seen=seen)


def _first_scored(panel: Panel, item: int, first_origin: str | pd.Timestamp | int | None) -> int:
    if first_origin is None:
        return 0
    length = int(panel.lengths[item])
    if isinstance(first_origin, int | np.integer):
        return int(np.clip(first_origin, 0, length))
    return min(panel.position(item, first_origin), length)


def _same_content(source: Source, series: Series, first: int) -> np.ndarray:
    """Bars covered by a block, at any alignment, that was trained on: ``[time]``."""
    mask = np.zeros(series.length, bool)
    if series.length - first < source.block or not len(source.hashes):
        return mask
    for values in series.target[:, first:]:
        hashes = hash_rows(np.lib.stride_tricks.sliding_window_view(values, source.block))
        place = np.minimum(np.searchsorted(source.hashes, hashes), len(source.hashes) - 1)
        for start in np.flatnonzero((source.hashes[place] == hashes) & (hashes != 0)):
            mask[first + start : first + start + source.block] = True
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


def _runs(mask: np.ndarray) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    return ((int(start), int(stop)) for start, stop in edges.reshape(-1, 2))


def _source(panel: Panel, block: int) -> Source:
    tables = panel.block_hashes(block)
    hashes = np.unique(np.concatenate([table.ravel() for table in tables.values()]))
    spans = {}
    for item, item_id in enumerate(panel.item_ids):
        dates = panel.timestamps(item)
        start = int(panel.offsets[item])
        spans[item_id] = Span(
            start=start,
            stop=start + int(panel.lengths[item]),
            first=None if dates is None else str(dates[0]),
            last=None if dates is None else str(dates[-1]),
        )
    return Source(
        panel=panel.info.name,
        fingerprint=panel.fingerprint,
        variates=panel.info.variates,
        licence=panel.info.licence,
        block=block,
        spans=spans,
        hashes=hashes[hashes != 0],
    )


def _to_record(source: Source) -> dict[str, Any]:
    return vars(source) | {
        "spans": {item_id: vars(span) for item_id, span in source.spans.items()},
        "hashes": base64.b64encode(source.hashes.astype("<u8").tobytes()).decode(),
    }


def _from_record(record: Mapping[str, Any]) -> Source:
    spans = {item_id: Span(**span) for item_id, span in record["spans"].items()}
    hashes = np.frombuffer(base64.b64decode(record["hashes"], validate=True), "<u8")
    fields = dict(record) | {"variates": tuple(record["variates"]), "spans": spans}
    return Source(**(fields | {"hashes": hashes.astype(np.uint64)}))
