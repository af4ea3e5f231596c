"""The quality report, of glucose readings for once."""

from __future__ import annotations

import json
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tsfm.data.quality import Coverage, Finding, Kind, QualityReport, SeriesQuality
from tsfm.errors import DataError

KINDS = {
    "gap": Kind("Gap", "no reading for an hour; unobserved"),
    "saturated": Kind("Saturated", "at the sensor's limit", repaired=False),
    "unreadable": Kind("Unreadable", "left out", repaired=False),
}


def one(name: str, gaps: int = 0, rows: int = 1000, **fields: Any) -> SeriesQuality:
    counts = {"gap": gaps} if gaps else {}
    defaults: dict[str, Any] = {
        "rows": rows,
        "observed": rows - gaps,
        "first": datetime(2020, 1, 5),
        "last": datetime(2020, 4, 1),
        "counts": counts,
        "findings": tuple(
            Finding(kind="gap", at=datetime(2020, 2, 1, 3), what=f"gap {k}")
            for k in range(min(gaps, 20))
        ),
        "coverage": Coverage(first=600, observed=np.array([500, 100, 0, 400])),
        "facts": {"sensor": "G6"},
    }
    return SeriesQuality(name=name, **{**defaults, **fields})


def report(*series: SeriesQuality, **options: Any) -> QualityReport:
    return QualityReport.collect(series, title="A trial", noun="readings", kinds=KINDS, **options)


class Page(HTMLParser):
    """Balanced elements, their ids and what they would fetch."""

    EMPTY = frozenset({"meta", "br", "link", "img", "input", "path", "use", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href") and not (value or "").startswith(
                ("#", "data:")
            ):
                self.fetched.append(value or "")
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag


def checked(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    assert page.fetched == []
    assert len(page.ids) == len(set(page.ids))
    assert "url(http" not in text
    assert "<script" not in text
    return page


def test_totals() -> None:
    made = report(one("a", 10), one("b"), one("c", 90, counts={"gap": 90, "saturated": 7}))
    assert made.counts == {"gap": 100, "saturated": 7}
    assert (made.rows, made.observed, made.repairs) == (3000, 2900, 100)
    assert made.clean_share == pytest.approx(1 - 100 / 3000)
    assert [found.name for found in made.worst(2)] == ["c", "a"]


def test_coverage_counts_months() -> None:
    stamps = np.array(["2020-01-31", "2020-03-01", "2020-03-31T23:59"], "M8[s]")
    coverage = Coverage.of(stamps)
    assert coverage.first == 50 * 12
    assert coverage.observed.tolist() == [1, 0, 2]
    assert Coverage.of(stamps[:0]).observed.tolist() == []


def test_json_says_everything_and_its_version() -> None:
    made = report(one("a", 2), one("b"), facts={"source": "a trial"})
    state = json.loads(made.to_json())
    assert (state["schema"], state["version"]) == ("tsfm.quality", 1)
    assert state["totals"]["counts"] == {"gap": 2}
    assert state["kinds"]["saturated"]["repaired"] is False
    first = state["series"][0]
    assert first["coverage"] == {"first_month": "2020-01", "observed": [500, 100, 0, 400]}
    assert first["findings"][1] == {"kind": "gap", "at": "2020-02-01T03:00:00", "what": "gap 1"}
    assert first["facts"] == {"sensor": "G6"}


def test_single_findings_are_kept_of_the_worst_only() -> None:
    made = report(*(one(str(k), gaps=(k * 7) % 50) for k in range(50)), detailed=5)
    detailed = {found.name for found in made.series if found.findings}
    worst = sorted(made.series, key=lambda found: -found.total)[:5]
    assert detailed == {found.name for found in worst}
    assert made.counts["gap"] == sum(range(50))


def test_the_page_shows_it_and_needs_nothing_else() -> None:
    text = report(one("patient 7", 12), one("patient 8"), facts={"source": "a trial"}).to_html()
    checked(text)
    assert text.count("<svg") == 2
    for words in ("A trial", "patient 7", "readings observed", "Gap", "gap 3", "sensor", "99.40 %"):
        assert words in text
    assert not re.search(r"\b(bar|price|ohlc)s?\b", re.sub(r"<style.*?</style>", "", text), re.I)


def test_names_are_escaped() -> None:
    text = report(one("<script>alert(1)</script>", 3, facts={"<b>": "&"})).to_html()
    checked(text)
    assert "<b>:" not in text


def test_nothing_found_and_nothing_at_all() -> None:
    clean = report(one("a")).to_html()
    checked(clean)
    assert "Nothing: every one of the readings" in clean
    checked(report().to_html())
    broken = SeriesQuality(
        name="z", rows=0, observed=0, first=None, last=None, counts={"unreadable": 1}
    )
    text = report(broken).to_html()
    checked(text)
    assert "Could not be read" in text


def test_many_series_stay_one_page() -> None:
    made = report(*(one(f"patient with a long name {k}", gaps=k % 40 + 1) for k in range(400)))
    text = made.to_html()
    checked(text)
    assert "the first 200 of 400" in text
    assert len(text) < 1_000_000


def test_an_undescribed_kind_is_refused() -> None:
    with pytest.raises(DataError, match=r"kinds glitch of findings are not described"):
        report(one("a", counts={"glitch": 1}))


def test_write(tmp_path: Path) -> None:
    made = report(one("a", 1))
    page, state = made.write(tmp_path / "deep" / "report")
    assert page.read_text(encoding="utf-8") == made.to_html()
    assert state.read_text(encoding="utf-8") == made.to_json()
    assert sorted(path.name for path in page.parent.iterdir()) == ["quality.html", "quality.json"]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="the report cannot be written"):
        made.write(tmp_path / "file" / "report")
