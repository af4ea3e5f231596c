"""Splits: the embargo holds whatever the panel; nothing after a cutoff moves training."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.data.splits import split_by_item, split_by_time
from tsfm.errors import ConfigError, DataError

EPOCH = np.datetime64("2024-01-01", "ns")


@st.composite
def irregular_panels(draw):
    """Items that start, stop and pause anywhere; each bar's value is its own position."""
    info = PanelInfo(name="p", variates=("x",))
    series = []
    for item in range(draw(st.integers(1, 4))):
        gaps = draw(st.lists(st.integers(1, 5), min_size=3, max_size=60))
        hours = draw(st.integers(0, 40)) + np.cumsum(gaps)
        timestamps = EPOCH + hours.astype("m8[h]")
        target = np.arange(len(hours), dtype=np.float32)[None]
        series.append(Series(item_id=f"i{item}", target=target, timestamps=timestamps))
    return Panel.from_series(series, info)


@settings(max_examples=150, deadline=None)
@given(irregular_panels(), st.integers(0, 120), st.integers(1, 60), st.integers(0, 12))
def test_no_bar_comes_within_the_embargo(panel, first, gap, embargo):
    validation = pd.Timestamp(EPOCH) + pd.Timedelta(hours=first)
    test = validation + pd.Timedelta(hours=gap)
    try:
        split = split_by_time(panel, validation=validation, test=test, embargo=embargo)
    except DataError:
        return
    assert split.first_origin == {"validation": validation, "test": test}
    for view, cutoff in ((split.train, validation), (split.validation, test)):
        for one in view:
            dates = panel.timestamps(panel.item(one.item_id))
            before = int((dates < np.datetime64(cutoff)).sum())
            assert one.target[0, 0] == 0
            assert one.target[0, -1] == before - embargo - 1
    for view, cutoff in ((split.validation, validation), (split.test, test)):
        for item in range(len(view)):
            assert view.timestamps(item)[-1] >= np.datetime64(cutoff)
    for one in split.test:
        assert one.length == panel.lengths[panel.item(one.item_id)]
    present = {item_id for item_id in panel.item_ids if item_id in split.train.item_ids}
    for item_id in set(panel.item_ids) - present:
        dates = panel.timestamps(panel.item(item_id))
        assert (dates < np.datetime64(validation)).sum() <= embargo


def test_a_regular_split(make_panel):
    panel = make_panel(2, 240)
    split = split_by_time(panel, validation="2024-01-06", test="2024-01-08", embargo=24)
    assert list(split.train.lengths) == [96, 96]
    assert list(split.validation.lengths) == [144, 144]
    assert list(split.test.lengths) == [240, 240]
    assert split.train.timestamps(0)[-1] == np.datetime64("2024-01-04T23")
    assert split.validation.timestamps(0)[-1] == np.datetime64("2024-01-06T23")


def test_values_after_the_cutoff_move_nothing_before(make_panel):
    panel = make_panel(2, 240)

    def changed(one):
        target = one.target.copy()
        target[:, panel.position(0, "2024-01-06") :] = 1e6
        return replace(one, target=target)

    perturbed = Panel.from_series(map(changed, panel), panel.info)
    cut = {"validation": "2024-01-06", "test": "2024-01-08", "embargo": 24}
    original, moved = (split_by_time(p, **cut) for p in (panel, perturbed))
    assert original.train.fingerprint == moved.train.fingerprint
    assert original.validation.fingerprint != moved.validation.fingerprint


def test_the_embargo_counts_bars_of_irregular_calendars(make_panel):
    panel = make_panel(1, 140, explicit=True)
    split = split_by_time(panel, validation="2024-01-15", test="2024-01-22", embargo=7)
    assert split.train.timestamps(0)[-1] == np.datetime64("2024-01-11T15")
    assert split.validation.timestamps(0)[-1] == np.datetime64("2024-01-18T15")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"validation": "2024-01-08", "test": "2024-01-06"}, "does not come after"),
        ({"validation": "soon"}, "not a date"),
        ({"validation": pd.Timestamp("2024-01-06", tz="UTC")}, "naive"),
        ({"embargo": -1}, "embargo"),
        ({"embargo": 1.5}, "embargo"),
    ],
)
def test_bad_cutoffs_are_refused(make_panel, arguments, reason):
    cut = {"validation": "2024-01-06", "test": "2024-01-08", "embargo": 24} | arguments
    with pytest.raises(ConfigError, match=reason):
        split_by_time(make_panel(2, 240), **cut)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"validation": "2024-01-01"}, "train"),
        ({"embargo": 120}, "train"),
        ({"embargo": 48}, "validation"),
        ({"test": "2024-02-01"}, "test"),
    ],
)
def test_empty_views_are_told(make_panel, arguments, reason):
    cut = {"validation": "2024-01-06", "test": "2024-01-08", "embargo": 24} | arguments
    with pytest.raises(DataError, match=f"no bars are left for {reason}"):
        split_by_time(make_panel(2, 240), **cut)


def test_undated_panels_cannot_be_split_by_time(make_panel):
    with pytest.raises(DataError, match="no dates"):
        split_by_time(
            make_panel(2, 100, freq=None), validation="2024-01-02", test="2024-01-03", embargo=1
        )


@settings(max_examples=60, deadline=None)
@given(
    n_items=st.integers(2, 30),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_items_are_divided(n_items, share, seed, order):
    info = PanelInfo(name="p", variates=("x",))
    ids = [f"i{k}" for k in range(n_items)]
    panel = Panel.from_series((Series(item_id=i, target=np.zeros((1, 2))) for i in ids), info)
    kept, held = split_by_item(panel, held_out=share, seed=seed)
    assert set(kept.item_ids).isdisjoint(held.item_ids)
    assert set(kept.item_ids) | set(held.item_ids) == set(ids)
    assert len(held) == min(max(round(share * n_items), 1), n_items - 1)
    shuffled = order.sample(ids, n_items)
    assert set(split_by_item(panel.select(shuffled), held_out=share, seed=seed)[1].item_ids) == set(
        held.item_ids
    )


def test_items_can_be_named(make_panel):
    kept, held = split_by_item(make_panel(4, 10), held_out=["item-2", "item-0"])
    assert kept.item_ids == ("item-1", "item-3")
    assert held.item_ids == ("item-0", "item-2")
    assert split_by_item(make_panel(2, 10), held_out="item-1")[1].item_ids == ("item-1",)


def test_bad_items_are_refused(make_panel):
    panel = make_panel(2, 10)
    for share in (0, 1, 1.5, -0.1):
        with pytest.raises(ConfigError, match="share"):
            split_by_item(panel, held_out=share)
    with pytest.raises(DataError, match="'nobody'"):
        split_by_item(panel, held_out=["nobody"])
    with pytest.raises(DataError, match="every item"):
        split_by_item(panel, held_out=panel.item_ids)
    with pytest.raises(DataError, match="one item"):
        split_by_item(make_panel(1, 10), held_out=0.5)


def test_items_that_features_were_fitted_on_are_not_held_out(make_panel):
    panel = make_panel(n_items=10, length=20)
    fitted = panel.item_ids[:8]
    for seed in range(5):
        _, held_out = split_by_item(panel, held_out=0.4, seed=seed, never=fitted)
        assert set(held_out.item_ids) == set(panel.item_ids[8:])
    assert split_by_item(panel, held_out=0.4, never=["unknown"])[1].item_ids == (
        split_by_item(panel, held_out=0.4)[1].item_ids
    )
    with pytest.raises(DataError, match=r"fitted on every item.*fit_assets"):
        split_by_item(panel, held_out=0.4, never=panel.item_ids)
