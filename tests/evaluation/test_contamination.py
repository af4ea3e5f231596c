"""The audit finds what was planted, says where and through which model, and invents nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfm.data.panel import Panel
from tsfm.data.provenance import FILE_NAME, Provenance
from tsfm.errors import DataError
from tsfm.evaluation.answers import answers
from tsfm.evaluation.contamination import Audit, asked_bars, audit
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.suites import SuiteTask
from tsfm.models.statistical import SeasonalNaive

FIELDS = {"context": 96, "horizon": 24, "first_origin": "2024-01-14", "stride": 24}
FIRST = 13 * 24
"""Bar of the first answer."""


@pytest.fixture
def panel(make_panel) -> Panel:
    return make_panel(2, 480)


def entry(panel: Panel, dataset: str = "made", **fields) -> SuiteTask:
    return SuiteTask(
        suite="s", name=f"s/{dataset}", dataset=dataset, domain="", freq="h",
        fields=FIELDS | fields, source=lambda: panel,
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path):
    """A contender with this provenance."""

    def make(provenance: Provenance | None, name: str = "mine") -> Contender:
        directory = SeasonalNaive().save(tmp_path / name.replace("/", "--"))
        if provenance is not None:
            provenance.save(directory)
        return Contender(name=name, directory=directory)

    return make


def renamed(panel: Panel, change=lambda values: values) -> Panel:
    """Other names and dates; the values changed."""
    copies = (
        replace(
            one,
            item_id=f"other {one.item_id}",
            start=one.start.replace(year=2034),
            offset=0,
            target=change(np.asarray(one.target)).astype(np.float32),
        )
        for one in panel
    )
    return Panel.from_series(copies, replace(panel.info, name="copy"))


def found(contender: Contender, *tasks: SuiteTask) -> Audit:
    return audit([contender], tasks)


def test_nothing_is_found_where_nothing_was_seen(panel, model):
    provenance = Provenance.of(panel.between(None, "2024-01-10"))
    result = found(model(provenance), entry(panel))
    assert result.is_clean
    assert list(result.verdicts["verdict"]) == ["clean"]
    assert result.overlaps.empty
    assert result.verdicts["answers"][0] == 2 * (480 - FIRST)


def test_a_planted_stretch_is_found_exactly(panel, model):
    """Two whole blocks of item-1 under another name, laid over answers and context."""
    cut = renamed(panel.select(["item-1"]).slice(256, 384))
    result = found(model(Provenance.of(cut)), entry(panel))
    rows = result.overlaps.set_index("part")
    assert list(rows.index) == ["answers", "context"]
    assert set(rows["evidence"]) == {"content"}
    assert set(rows["item_id"]) == {"item-1"}
    assert tuple(rows.loc["answers", ["start", "stop"]]) == (FIRST, 384)
    assert tuple(rows.loc["context", ["start", "stop"]]) == (256, FIRST)
    assert rows.loc["answers", "first"] == str(panel.timestamps(1)[FIRST])
    assert rows.loc["answers", "last"] == str(panel.timestamps(1)[383])
    assert rows.loc["answers", "share"] == pytest.approx((384 - FIRST) / (2 * (480 - FIRST)))
    (verdict,) = result.verdicts.to_dict("records")
    assert verdict["verdict"] == "seen"
    assert (verdict["answers_seen"], verdict["context_seen"]) == (384 - FIRST, FIRST - 256)
    assert not result.is_clean


def test_context_alone_is_told_apart(panel, model):
    result = found(model(Provenance.of(panel.between(None, "2024-01-14"))), entry(panel))
    assert list(result.verdicts["verdict"]) == ["context seen"]
    assert set(result.overlaps["part"]) == {"context"}
    assert result.is_clean


@pytest.mark.parametrize("cut", [1, 17, 63])
def test_copies_at_another_offset_are_found(panel, model, cut):
    """Blocks count from the beginning of what was trained on, wherever that was cut."""
    result = found(model(Provenance.of(renamed(panel.slice(cut, 480)))), entry(panel))
    assert set(result.overlaps["evidence"]) == {"content"}
    last = cut + (480 - cut) // 64 * 64
    assert result.verdicts["answers_seen"][0] == 2 * (last - FIRST)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values * 2 + 1,
        lambda values: values + 1e-3,
        lambda values: np.diff(values, prepend=0),
        lambda values: values[:, ::-1],
    ],
)
def test_transformed_copies_under_other_names_are_not_found(panel, model, change):
    """What block hashes cannot do, as the documentation says."""
    assert found(model(Provenance.of(renamed(panel, change))), entry(panel)).overlaps.empty


def test_transformed_copies_of_the_same_name_are_found_by_date(panel, model):
    scaled = Panel.from_series((replace(one, target=one.target * 2) for one in panel), panel.info)
    result = found(model(Provenance.of(scaled)), entry(panel))
    assert set(result.overlaps["evidence"]) == {"dates"}
    assert result.verdicts["share"][0] == 1


def test_dates_are_told_only_where_values_are_not_the_same(panel, model):
    result = found(model(Provenance.of(panel)), entry(panel))
    answers = result.overlaps[result.overlaps["part"] == "answers"]
    by_kind = answers.groupby("evidence")[["start", "stop"]].agg(set)
    assert by_kind.loc["content"].to_dict() == {"start": {FIRST}, "stop": {448}}
    assert by_kind.loc["dates"].to_dict() == {"start": {448}, "stop": {480}}
    assert result.verdicts["answers_seen"][0] == result.verdicts["answers"][0]


def test_inherited_through_two_bases(panel, model):
    base = Provenance.of(panel.select(["item-0"]))
    middle = Provenance.of(renamed(panel).slice(0, 64)).inherit(
        replace(base, name="models:/base/1")
    )
    child = Provenance.of(renamed(panel).slice(0, 64)).inherit(
        replace(middle, name="models:/mid/2")
    )
    result = found(model(Provenance.from_json(child.to_json())), entry(panel))
    answers = result.overlaps[result.overlaps["part"] == "answers"]
    assert set(answers["through"]) == {"models:/mid/2 > models:/base/1"}
    assert set(answers["item_id"]) == {"item-0"}


def test_unknown_provenance_is_told(panel, model):
    result = found(model(None), entry(panel))
    assert list(result.verdicts["verdict"]) == ["unknown"]
    assert result.verdicts["why"][0] == "no provenance"
    assert not result.is_clean
    assert "nobody can tell" in result.conclusion


def test_a_base_that_nobody_knows_makes_the_child_unknown(panel, model, tmp_path):
    base = Provenance.of_base(tmp_path / "nothing there", "someone/their-model")
    child = Provenance.from_json(Provenance.of(renamed(panel)).inherit(base).to_json())
    assert child.unknown == ("someone/their-model",)
    fine = Provenance.of(panel.between(None, "2024-01-05")).inherit(base)
    (verdict,) = found(model(fine), entry(panel)).verdicts.to_dict("records")
    assert verdict["verdict"] == "unknown"
    assert "someone/their-model" in verdict["why"]
    grandchild = Provenance().inherit(replace(fine, name="models:/mid/2"))
    assert list(found(model(grandchild, "third"), entry(panel)).verdicts["verdict"]) == ["unknown"]


def test_declared_leakage_of_a_checkpoint_and_of_its_children(panel, model):
    chronos = "amazon/chronos-bolt-tiny"
    tasks = [entry(panel, "electricity"), entry(panel, "ETTh1"), entry(panel, "weather")]
    result = found(model(None, chronos), *tasks)
    assert list(result.verdicts["verdict"]) == ["seen", "unknown", "unknown"]
    (row,) = result.overlaps.to_dict("records")
    assert (row["evidence"], row["part"], row["through"]) == ("declared", "answers", "")
    assert "arXiv 2403.07815" in row["trained_on"]
    assert "declared not to be trained on ETTh1" in result.verdicts["why"][1]
    child = Provenance.of(renamed(panel).slice(0, 128)).inherit(Provenance(unknown=(chronos,)))
    result = found(model(child), *tasks)
    assert list(result.verdicts["verdict"]) == ["seen", "unknown", "unknown"]
    assert list(result.overlaps["through"]) == [chronos]


def test_the_leaderboard_tells_the_same(panel, model, tmp_path):
    task = entry(panel, "electricity", max_windows=2)
    cells = {
        "clean": model(Provenance.of(panel.between(None, "2024-01-10")), "clean"),
        "seen": model(Provenance.of(panel), "seen"),
        "unknown": model(None, "unknown"),
        "base": model(Provenance(unknown=("someone/their-model",)), "base"),
        "declared": model(None, "amazon/chronos-bolt-tiny"),
    }
    told = {"clean": False, "seen": True, "unknown": None, "base": None, "declared": True}
    for _ in ("computed", "kept"):
        given = answers(list(cells.values()), [task], metric="mase", kept=tmp_path / "kept")
        got = [answer.result.trained_on for answer in given]
        assert dict(zip(cells, got, strict=True)) == told
    untrained = answers([Contender(name="mean")], [task], metric="mase")
    assert untrained[0].result.trained_on is False


def test_what_cannot_be_compared_is_a_verdict(panel, model):
    def missing() -> Panel:
        raise DataError("the file is gone", where="panel x")

    gone = replace(entry(panel, "gone"), source=missing)
    damaged = model(Provenance.of(panel))
    assert damaged.directory is not None
    (damaged.directory / FILE_NAME).write_text("{")
    result = audit([damaged, Contender(name="mean")], [gone, entry(panel)])
    told = result.verdicts.set_index(["task", "model"])
    assert "the file is gone" in told.loc[("s/gone", "mean"), "why"]
    assert told.loc[("s/made", "mine"), "verdict"] == "not audited"
    assert FILE_NAME in told.loc[("s/made", "mine"), "why"]
    assert told.loc[("s/made", "mean"), "verdict"] == "not trained"
    assert not result.is_clean


def test_asked_bars_by_counting_windows(panel):
    task, _ = entry(panel, max_windows=3).open()
    answers_, context = asked_bars(task, panel)
    asked = [set() for _ in range(len(panel))]
    looked = [set() for _ in range(len(panel))]
    for item, origin in task.windows(panel):
        asked[item] |= set(range(origin, origin + 24))
        looked[item] |= set(range(origin - 96, origin))
    for item in range(len(panel)):
        assert set(np.flatnonzero(answers_[item])) == asked[item]
        assert set(np.flatnonzero(context[item])) == looked[item] - asked[item]


def test_undated_series_by_bars(make_panel, model):
    panel = make_panel(1, 400, freq=None)
    fields = {"first_origin": None, "context": 96, "horizon": 24, "stride": 24}
    scaled = Panel.from_series((replace(one, target=one.target * 2) for one in panel), panel.info)
    result = found(model(Provenance.of(scaled.slice(0, 120))), entry(panel, **fields))
    answers_ = result.overlaps[result.overlaps["part"] == "answers"]
    assert answers_[["start", "stop"]].to_numpy().tolist() == [[96, 120]]
    assert pd.isna(answers_["first"]).all() or set(answers_["first"]) == {""}
