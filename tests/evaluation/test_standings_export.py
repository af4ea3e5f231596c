from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.leaderboard_results import made_up_results, result

from tsfm.evaluation.gift import GIFT_COLUMNS
from tsfm.evaluation.results import load_results, results_frame
from tsfm.evaluation.standings import Standings, standings
from tsfm.evaluation.standings_export import gift_table, write_standings
from tsfm.evaluation.standings_page import standings_page
from tsfm.evaluation.standings_text import leakage, readable, size, standings_markdown

RESULTS = made_up_results(8)
RESULTS.loc[(RESULTS["model"] == "poor") & (RESULTS["task"] == "task1"), "failure"] = (
    "<b>NaN</b> in window 3"
)


@pytest.fixture(scope="module")
def found() -> Standings:
    return standings(RESULTS, replicates=50)


class _Cells(HTMLParser):
    """Counts rows and cells; every tag that opens is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_all_files_are_written_and_read_back(found: Standings, tmp_path: Path) -> None:
    written = write_standings(found, RESULTS, tmp_path / "deep" / "down")
    assert {path.name for path in (tmp_path / "deep" / "down").iterdir()} == set(written)
    table = pd.read_csv(written["standings.csv"])
    np.testing.assert_allclose(table["skill"], found.table["skill"])
    assert table["model"].tolist() == found.table["model"].tolist()
    assert len(pd.read_csv(written["pairs.csv"])) == 36
    pd.testing.assert_frame_equal(load_results([written["results.parquet"]]), RESULTS)
    gift = pd.read_csv(written["gift_eval.csv"])
    assert tuple(gift.columns) == GIFT_COLUMNS
    assert len(gift) == len(RESULTS)


def test_gift_names_the_data_set_its_frequency_and_the_task() -> None:
    cells = [
        result("a", "t", 1.0, dataset="co2", freq="W", domain="Nature"),
        result("b", "t", 1.0, dataset="m4/A/short"),
        result("c", "t", 1.0, errors={"eval_metrics/MSIS": 3.0}),
    ]
    table = gift_table(results_frame(cells))
    assert table["dataset"].tolist() == ["co2/W/t", "m4/A/short", "t/h/t"]
    assert table["domain"].iloc[0] == "Nature"
    assert table["eval_metrics/MSIS"].iloc[2] == 3.0


def test_markdown_tells_everything(found: Standings) -> None:
    text = standings_markdown(found)
    for words in (found.conclusion, "| brilliant |", "805 k", "4 of 8 tasks", "unknown", "NaN"):
        assert words in text
    assert readable(found)["rank"].tolist() == [1, 2, 3, 4, 5, 6]


def test_page_is_well_formed_and_escapes_what_models_say(found: Standings) -> None:
    page = standings_page(found, RESULTS)
    cells = _Cells()
    cells.feed(page)
    assert cells.open == []
    assert cells.counts["svg"] == 6
    assert cells.counts["tr"] == 1 + 6 + 1 + 6 + 1 + 8 + 1 + 1
    assert "<b>NaN</b>" not in page
    assert "&lt;b&gt;NaN&lt;/b&gt; in window 3" in page
    assert "<script" not in page
    assert "http" not in page


def test_leakage_in_words() -> None:
    table = pd.DataFrame(
        {
            "tasks": [10, 10, 10, 10],
            "unknown": [0, 10, 4, 0],
            "trained_on": [0.0, np.nan, 0.5, 1.0],
        }
    )
    assert leakage(table) == [
        "no",
        "unknown",
        "3 of 6 tasks, 4 unknown",
        "10 of 10 tasks",
    ]


def test_sizes_in_words() -> None:
    counts = [0, 950, 805_280, 13_827_528, 7.1e9, pd.NA]
    assert [size(count) for count in counts] == ["0", "950", "805 k", "13.8 M", "7.1 G", "–"]
