"""Provenance: leakage is found by content and by date, and absence of it is not invented."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsfm.data.overlap import overlap
from tsfm.data.panel import Panel
from tsfm.data.provenance import FILE_NAME, Provenance
from tsfm.data.splits import split_by_item, split_by_time
from tsfm.errors import CheckpointError

CUT = {"validation": "2024-01-11", "test": "2024-01-14", "embargo": 24}


@pytest.fixture
def panel(make_panel):
    return make_panel(3, 480)


def renamed(panel, prefix="other-"):
    copies = (
        replace(one, item_id=prefix + one.item_id, start=one.start.replace(year=2034), offset=0)
        for one in panel
    )
    return Panel.from_series(copies, replace(panel.info, name="copy"))


def test_a_clean_split_has_no_overlap(panel):
    split = split_by_time(panel, **CUT)
    provenance = Provenance.of(split.train, split.validation)
    found = overlap(provenance, split.test, split.first_test)
    assert not found
    assert (found.scored, found.seen) == (3 * (480 - 13 * 24), 0)
    assert "no overlap" in str(found)
    kept, held = split_by_item(panel, held_out=0.4, seed=1)
    assert not overlap(Provenance.of(kept), held)


def test_context_may_have_been_seen(panel):
    provenance = Provenance.of(panel.between(None, "2024-01-14"))
    assert not overlap(provenance, panel, "2024-01-14")
    assert overlap(provenance, panel, "2024-01-13")


def test_seen_bars_are_counted_once(panel):
    provenance = Provenance.of(panel, panel.select(["item-1"]))
    found = overlap(provenance, panel.select(["item-1"]), "2024-01-11")
    assert found.seen == found.scored == 240
    assert found.items == ("item-1",)
    assert {match.kind for match in found.matches} == {"content", "dates"}
    assert "leakage: 240 of 240" in str(found)
    assert found.to_dict()["seen"] == 240


def test_renamed_and_redated_copies_are_found_by_content(panel):
    provenance = Provenance.of(panel.select(["item-1"]))
    found = overlap(provenance, renamed(panel))
    assert found.items == ("other-item-1",)
    assert {match.kind for match in found.matches} == {"content"}
    assert found.seen == 480 // 64 * 64


@pytest.mark.parametrize("cut", [1, 13, 63, 100])
def test_copies_cut_at_another_bar_are_found(panel, cut):
    provenance = Provenance.of(panel)
    found = overlap(provenance, renamed(panel.slice(cut, 480)))
    blocks = 480 // 64 - -(-cut // 64)
    assert found.seen == 3 * blocks * 64


def test_one_common_variate_is_enough(panel):
    base = Provenance.of(panel.variates(["b"]))
    assert overlap(base, renamed(panel))
    assert not overlap(Provenance.of(panel.variates(["a"])), renamed(panel.variates(["b"])))


def test_transformed_copies_are_found_by_date_only(panel):
    scaled = (replace(one, target=one.target * 2 + 1) for one in panel)
    found = overlap(Provenance.of(panel), Panel.from_series(scaled, panel.info), "2024-01-11")
    assert {match.kind for match in found.matches} == {"dates"}
    assert found.seen == found.scored


def test_undated_items_are_compared_by_bar_within_one_panel(make_panel):
    panel = make_panel(2, 300, freq=None)
    scaled = Panel.from_series((replace(o, target=o.target * 2) for o in panel), panel.info)
    provenance = Provenance.of(panel.slice(0, 200))
    found = overlap(provenance, scaled, 150)
    assert found.seen == 2 * 50
    assert {(m.start, m.stop) for m in found.matches} == {(150, 200)}
    assert not overlap(provenance, scaled, 200)
    other = Panel.from_series(scaled, replace(panel.info, name="other"))
    assert not overlap(provenance, other, 150)


def test_constant_and_missing_stretches_are_no_evidence(panel):
    def silent(one, start):
        target = np.array(one.target)
        target[:, :200], target[:, 200:] = 0.0, np.nan
        return replace(one, target=target, start=pd.Timestamp(start), item_id=f"{start}")

    trained = Panel.from_series([silent(panel.series(0), "2020-01-01")], panel.info)
    tested = Panel.from_series([silent(panel.series(0), "2021-01-01")], panel.info)
    assert not overlap(Provenance.of(trained), tested)


def test_what_the_base_saw_is_inherited(panel):
    base = Provenance.of(panel.select(["item-0"]))
    mine = Provenance.of(panel.select(["item-1"])).inherit(base)
    grandchild = Provenance.of(panel.select(["item-2"])).inherit(mine)
    assert [source.inherited for source in grandchild.sources] == [False, True, True]
    found = overlap(grandchild, panel.select(["item-0"]))
    assert all(match.inherited for match in found.matches)
    assert "base model" in str(found)


def test_a_file_holds_everything(panel, tmp_path):
    provenance = Provenance.of(panel).inherit(Provenance.of(panel.slice(0, 100)))
    path = provenance.save(tmp_path)
    assert path.name == FILE_NAME
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    loaded = Provenance.load(tmp_path)
    assert loaded.to_json() == provenance.to_json()
    for mine, theirs in zip(provenance.sources, loaded.sources):
        np.testing.assert_array_equal(mine.hashes, theirs.hashes)
        assert mine.spans == theirs.spans
    span = loaded.sources[0].spans["item-0"]
    assert (span.start, span.stop, span.first[:10]) == (0, 480, "2024-01-01")
    assert (
        overlap(loaded, panel, "2024-01-11").seen == overlap(provenance, panel, "2024-01-11").seen
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"sources": [{}]}', '{"sources": 3}'])
def test_a_damaged_file_is_told(tmp_path, content):
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(CheckpointError, match=r"provenance\.json"):
        Provenance.load(tmp_path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"no provenance\.json"):
        Provenance.load(tmp_path)
