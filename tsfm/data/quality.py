"""A quality report: what is in a collection of series, what was found, how well time is covered.

It knows nothing of what the series measure: their maker gives rows a noun, findings their kinds
and each series its facts.
"""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from tsfm.data.quality_findings import Finding, Kind
from tsfm.errors import DataError

__all__ = ["Coverage", "Finding", "Kind", "QualityReport", "SeriesQuality"]

SCHEMA = "tsfm.quality"
VERSION = 1
UNREADABLE = "unreadable"
DETAILED = 100


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Observed rows of each calendar month.

    Attributes
    ----------
    first
        The first month, counted from January 1970.
    observed
        ``int [month]``: rows with values, from the first month to the last.
    """

    first: int
    observed: np.ndarray

    @classmethod
    def of(cls, stamps: np.ndarray) -> Self:
        """Of the dates ``datetime64 [row]`` of observed rows."""
        months = stamps.astype("M8[M]").astype(np.int64)
        if not len(months):
            return cls(first=0, observed=np.zeros(0, np.int64))
        first = int(months.min())
        return cls(first=first, observed=np.bincount(months - first))


@dataclass(frozen=True, kw_only=True)
class SeriesQuality:
    """What was found in one series.

    Attributes
    ----------
    name
        Of the series.
    rows
        Rows, unobserved ones included.
    observed
        Rows that have values.
    first, last
        Dates of the outermost rows in UTC.
    counts
        Findings by kind.
    findings
        Some of them, with date and words.
    coverage
        Rows by month.
    facts
        What else is known of the series, by name.
    """

    name: str
    rows: int
    observed: int
    first: datetime | None
    last: datetime | None
    counts: Mapping[str, int]
    findings: tuple[Finding, ...] = ()
    coverage: Coverage = field(default_factory=lambda: Coverage.of(np.zeros(0, "M8[M]")))
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Findings of all kinds."""
        return sum(self.counts.values())

    def _state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rows": self.rows,
            "observed": self.observed,
            "first": self.first.isoformat() if self.first else None,
            "last": self.last.isoformat() if self.last else None,
            "counts": dict(self.counts),
            "findings": [
                {"kind": one.kind, "at": one.at.isoformat() if one.at else None, "what": one.what}
                for one in self.findings
            ],
            "coverage": {
                "first_month": str(np.datetime64(self.coverage.first, "M")),
                "observed": self.coverage.observed.tolist(),
            },
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """Quality of a collection of series.

    Attributes
    ----------
    title
        Of the page.
    noun
        What a row is, in the plural: ``readings``.
    kinds
        Kinds of finding, in the order they are shown.
    series
        One entry per series.
    facts
        What else is known of the collection: its path, its fingerprint, how it was checked.
    """

    title: str
    noun: str
    kinds: Mapping[str, Kind]
    series: tuple[SeriesQuality, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = {kind for one in self.series for kind in one.counts} - set(self.kinds)
        if unknown:
            raise DataError(
                f"kinds {', '.join(sorted(unknown))} of findings are not described",
                where=f"quality report {self.title!r}",
                remedy=f"describe them beside {', '.join(self.kinds)}",
            )

    @classmethod
    def collect(
        cls,
        series: Iterable[SeriesQuality],
        *,
        title: str,
        noun: str,
        kinds: Mapping[str, Kind],
        facts: Mapping[str, str] | None = None,
        detailed: int = DETAILED,
    ) -> Self:
        """A report of series that come one by one, in bounded memory.

        Parameters
        ----------
        detailed
            Single findings are kept of so many series: those with most of them.

        Raises
        ------
        DataError
            When a series has findings of a kind that is not described.
        """
        kept: list[SeriesQuality] = []
        worst: list[tuple[int, int]] = []
        for place, one in enumerate(series):
            kept.append(one)
            heapq.heappush(worst, (one.total, -place))
            if len(worst) > detailed:
                dropped = -heapq.heappop(worst)[1]
                kept[dropped] = replace(kept[dropped], findings=())
        return cls(title=title, noun=noun, kinds=kinds, series=tuple(kept), facts=facts or {})

    @property
    def counts(self) -> dict[str, int]:
        """Findings of all series by kind, in the order of kinds."""
        total: Counter[str] = Counter()
        for one in self.series:
            total.update(one.counts)
        return {kind: total[kind] for kind in self.kinds if total[kind]}

    @property
    def rows(self) -> int:
        """Rows of all series."""
        return sum(one.rows for one in self.series)

    @property
    def observed(self) -> int:
        """Rows of all series that have values."""
        return sum(one.observed for one in self.series)

    @property
    def repairs(self) -> int:
        """Findings of all series that changed the data."""
        return sum(count for kind, count in self.counts.items() if self.kinds[kind].repaired)

    @property
    def clean_share(self) -> float:
        """Share of rows that no finding changed; 1 where there are none."""
        return max(1 - self.repairs / self.rows, 0.0) if self.rows else 1.0

    @property
    def unreadable(self) -> list[str]:
        """Names of the series that could not be read."""
        return [one.name for one in self.series if one.counts.get(UNREADABLE)]

    def worst(self, number: int) -> list[SeriesQuality]:
        """The series with most findings for their length, worst first."""
        ranked = sorted(self.series, key=lambda one: (-one.total / max(one.rows, 1), one.name))
        return ranked[:number]

    def to_json(self) -> str:
        """The whole report as JSON, with the name and the version of its schema."""
        state = {
            "schema": SCHEMA,
            "version": VERSION,
            "title": self.title,
            "noun": self.noun,
            "facts": dict(self.facts),
            "totals": {
                "series": len(self.series),
                "rows": self.rows,
                "observed": self.observed,
                "repairs": self.repairs,
                "clean_share": self.clean_share,
                "counts": self.counts,
            },
            "kinds": {
                key: {"label": kind.label, "meaning": kind.meaning, "repaired": kind.repaired}
                for key, kind in self.kinds.items()
            },
            "series": [one._state() for one in self.series],
        }
        return json.dumps(state, ensure_ascii=False, indent=1)

    def to_html(self) -> str:
        """One page that needs nothing else: text, tables and figures; the worst series in detail.

        Raises
        ------
        DataError
            When there is no series to show.
        """
        from tsfm.data.quality_page import render

        return render(self)

    def write(self, directory: str | Path) -> tuple[Path, Path]:
        """Write ``quality.html`` and ``quality.json``, each whole or not at all.

        Raises
        ------
        DataError
            When the directory cannot be written to.
        """
        directory = Path(directory).expanduser()
        pages = {"quality.html": self.to_html(), "quality.json": self.to_json()}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, text in pages.items():
                temporary = directory / f".{name}.{os.getpid()}"
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(directory / name)
        except OSError as error:
            raise DataError(
                f"the report cannot be written: {error}",
                where=str(directory),
                remedy="name a directory that you may write to",
            ) from error
        return directory / "quality.html", directory / "quality.json"
