"""Hold-outs: drawn, kept, honoured."""

import numpy as np
import pytest
from support.readings import person

from tsfm.data.glucose.cgm import glucose_panel
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.holdouts import HoldOut
from tsfm.data.provenance import Provenance
from tsfm.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def panel():
    people = {f"p{k}": person(300 + k, seed=k) for k in range(10)}
    return glucose_panel(people, CgmConfig(name="ward"))[0]


def test_nothing_held_out_is_trained_on(panel):
    held = HoldOut.make(panel, name="ward", patient_share=0.3, time_share=0.25)
    parts = held.split(panel, embargo=12)
    assert len(held.patients) == len(parts.unseen) == 3
    assert not set(parts.unseen.item_ids) & set(parts.train.item_ids)
    for item, item_id in enumerate(parts.train.item_ids):
        first = parts.first_origin[item_id].to_datetime64()
        gap = (first - parts.train.timestamps(item)[-1]) / np.timedelta64(5, "m")
        assert gap == 13
    held.expect_untouched(Provenance.of(parts.train))
    for touched in (parts.unseen, parts.later):
        with pytest.raises(DataError, match="seen held-out readings"):
            held.expect_untouched(Provenance.of(touched))


def test_a_draw_depends_on_the_ids_alone(panel):
    turned = panel.select(panel.item_ids[::-1])
    assert HoldOut.make(panel, name="x") == HoldOut.make(turned, name="x")
    assert HoldOut.make(panel, name="x") != HoldOut.make(panel, name="x", seed=1)


def test_a_version_never_changes(panel, home):
    held = HoldOut.make(panel, name="ward")
    path = held.save()
    assert HoldOut.load("ward-v1") == HoldOut.load(path) == held
    assert held.save() == path
    other = HoldOut.make(panel, name="ward", seed=3)
    with pytest.raises(DataError, match="exists and holds out something else"):
        other.save()
    assert HoldOut.load("ward-v1") == held
    assert [one.name for one in (home / "holdouts").iterdir()] == ["ward-v1.yaml"]


def test_new_patients_need_a_new_version(panel):
    held = HoldOut.make(panel.select(panel.item_ids[:5]), name="ward")
    with pytest.raises(DataError, match=r"p5.*are not in the hold-out"):
        held.split(panel)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        HoldOut.load("absent-v1")
    (tmp_path / "x.yaml").write_text("name: x\nversion: 0\npanel: y\n")
    with pytest.raises(DataError, match="cannot be read"):
        HoldOut.load(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="held out and have times"):
        HoldOut(name="x", version=1, panel="y", patients=("a",), times={"a": None})
