"""What a model was trained on, its base models included."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import UInt64

from tsfm.data.blocks import BLOCK
from tsfm.data.panel import Panel
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
        Whether a base model saw it, rather than this one.
    through
        Names of the base models between, the nearest first, where they are known.
    """

    panel: str
    fingerprint: str
    variates: tuple[str, ...]
    licence: str
    block: int
    spans: Mapping[str, Span]
    hashes: UInt64[np.ndarray, " block"]
    inherited: bool = False
    through: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that a model has seen in training, its base models included.

    Attributes
    ----------
    unknown
        Base models of which nobody can tell what they were trained on.
    name
        Of the model, under which those made from it remember what they inherit; not stored.
    """

    sources: tuple[Source, ...] = ()
    unknown: tuple[str, ...] = ()
    name: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all that the model and its base models were trained on is told."""
        return not self.unknown

    @classmethod
    def of(cls, *panels: Panel, block: int = BLOCK) -> Self:
        """The provenance of training on these views."""
        return cls(sources=tuple(_source(panel, block) for panel in panels))

    @classmethod
    def of_base(cls, directory: str | Path, name: str) -> Self:
        """That of a base model, to be inherited; one without ``provenance.json`` is unknown.

        Raises
        ------
        CheckpointError
            When its provenance is damaged.
        """
        if not (Path(directory) / FILE_NAME).exists():
            return cls(name=name, unknown=(name,))
        return replace(cls.load(directory), name=name)

    def inherit(self, base: Provenance) -> Provenance:
        """Add what the base model had seen, and that nobody can tell it where that is so."""
        passed = (base.name,) if base.name else ()
        inherited = tuple(
            replace(source, inherited=True, through=(*passed, *source.through))
            for source in base.sources
        )
        return replace(
            self,
            sources=(*self.sources, *inherited),
            unknown=tuple(dict.fromkeys((*self.unknown, *base.unknown))),
        )

    def to_json(self) -> str:
        sources = [_to_record(source) for source in self.sources]
        return json.dumps({"unknown": self.unknown, "sources": sources}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        record = json.loads(text)
        return cls(
            sources=tuple(_from_record(source) for source in record["sources"]),
            unknown=tuple(record.get("unknown", ())),
        )

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
    names = {key: tuple(record.get(key, ())) for key in ("variates", "through")}
    fields = dict(record) | names | {"spans": spans}
    return Source(**(fields | {"hashes": hashes.astype(np.uint64)}))
