"""Panels that share items are cut at the same dates and hold out the same items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tsfm.data.overlap import overlap
from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.data.provenance import Provenance
from tsfm.data.sources import SourceConfig
from tsfm.errors import DataError
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.cutoffs import cutoffs, shared_cutoffs
from tsfm.evaluation.holdout import HoldOut, hold_out_each

CONFIG = SourceConfig(name="simulated")
FEW = EvaluationConfig(windows_per_item=3, items_per_task=20, baseline_context=48)
CONTEXT, HORIZON = 24, 6


def made(name: str, items: str, start: str, bars: int, freq: str, **provenance) -> Panel:
    rng = np.random.default_rng(len(name))
    info = PanelInfo(name=name, variates=("value",), freq=freq, provenance=provenance)
    series = [
        Series(item_id=item, target=rng.normal(size=(1, bars)), start=pd.Timestamp(start))
        for item in items
    ]
    return Panel.from_series(series, info)


HOURLY = made("hourly", "ABCDEFGH", "2020-01-01", 2000, "h")
DAILY = made("daily", "ABCDXYZ", "2019-01-01", 470, "D")


def divided(*panels: Panel) -> list[HoldOut]:
    return hold_out_each(panels, CONFIG, FEW, CONTEXT, HORIZON)


def test_one_panel_is_cut_by_its_own_shares() -> None:
    stamps = HOURLY.timestamps(0)
    assert cutoffs(HOURLY, 0.15, 0.15) == (stamps[1400], stamps[1700], None)
    assert shared_cutoffs([HOURLY], 0.15, 0.15, least=12) == [cutoffs(HOURLY, 0.15, 0.15)]


def test_kin_are_cut_at_the_latest_dates() -> None:
    own = [cutoffs(panel, 0.15, 0.15) for panel in (DAILY, HOURLY)]
    assert own[0].test < own[1].validation
    assert shared_cutoffs([DAILY, HOURLY], 0.15, 0.15, least=5) == [own[1], own[1]]
    stranger = made("other", "PQR", "2018-01-01", 300, "D")
    cuts = shared_cutoffs([DAILY, stranger, HOURLY], 0.15, 0.15, least=5)
    assert cuts == [own[1], cutoffs(stranger, 0.15, 0.15), own[1]]


def test_a_panel_of_few_bars_begins_its_own_validation_earlier() -> None:
    own = [cutoffs(panel, 0.15, 0.15) for panel in (DAILY, HOURLY)]
    cuts = shared_cutoffs([DAILY, HOURLY], 0.15, 0.15, least=20)
    assert cuts == [(own[0].validation, own[1].test, None), own[1]]
    assert shared_cutoffs([DAILY, HOURLY], 0.15, 0.15, least=40) == own


def test_the_vault_is_the_end_of_the_test_share_and_moves_nothing_else() -> None:
    stamps = HOURLY.timestamps(0)
    with_vault = cutoffs(HOURLY, 0.15, 0.15, 0.05)
    assert with_vault == (stamps[1400], stamps[1700], stamps[1900])
    fitted = replace(HOURLY.info, provenance={"fitted_until": f"{stamps[1600]}+00:00"})
    late = cutoffs(Panel.from_series(HOURLY, fitted), 0.15, 0.15, 0.05)
    assert late[:2] == (stamps[1600], stamps[1800])
    assert stamps[1800] < late.vault < stamps[-1]


def test_kin_have_one_vault_unless_too_few_bars_are_left_to_test() -> None:
    own = [cutoffs(panel, 0.15, 0.15, 0.05) for panel in (DAILY, HOURLY)]
    both = own[1]._replace(vault=max(cut.vault for cut in own))
    assert shared_cutoffs([DAILY, HOURLY], 0.15, 0.15, 0.05, least=5) == [both, both]
    few = shared_cutoffs([DAILY, HOURLY], 0.15, 0.15, 0.05, least=12)
    assert few == [both._replace(vault=None), both]


def test_kinship_goes_by_way_of_a_third() -> None:
    chain = [
        made("first", "AB", "2020-01-01", 900, "h"),
        made("second", "CD", "2020-01-01", 1000, "h"),
        made("third", "BC", "2020-01-01", 950, "h"),
    ]
    assert len(set(shared_cutoffs(chain, 0.15, 0.15, least=5))) == 1


def test_a_panel_that_ends_before_keeps_its_own_dates() -> None:
    old = made("old", "ABC", "2010-01-01", 400, "D")
    cuts = shared_cutoffs([old, HOURLY], 0.15, 0.15, least=5)
    assert cuts == [cutoffs(old, 0.15, 0.15), cutoffs(HOURLY, 0.15, 0.15)]


def test_nothing_that_one_is_judged_on_was_trained_on_by_the_other() -> None:
    divisions = divided(DAILY, HOURLY)
    provenance = Provenance.of(*(division.train for division in divisions))
    for division in divisions:
        for task, panel in division.tasks:
            assert not overlap(provenance, panel, task.first_origin)


def test_an_item_held_out_by_one_is_held_out_of_all() -> None:
    divisions = divided(DAILY, HOURLY)
    trained = {item for division in divisions for item in division.train.item_ids}
    judged = {item for division in divisions for item in division.tasks[1][1].item_ids}
    assert judged
    assert not trained & judged
    assert trained | judged == set("ABCDEFGHXYZ")


def test_an_item_that_one_was_fitted_on_is_held_out_of_none() -> None:
    fitted = divided(DAILY, HOURLY)[0].tasks[1][1].item_ids
    info = replace(HOURLY.info, provenance={"fitted_on": list(fitted)})
    divisions = divided(DAILY, Panel.from_series(HOURLY, info))
    for division in divisions:
        assert not set(fitted) & set(division.tasks[1][1].item_ids)


def test_a_panel_of_nothing_but_held_out_items_is_told() -> None:
    drawn = divided(HOURLY)[0].tasks[1][1].item_ids
    few = made("few", "".join(drawn), "2020-01-01", 2000, "h")
    with pytest.raises(DataError, match=r"every item is held out.*panel few.*data\.seed"):
        divided(HOURLY, few)


def test_validation_begins_after_what_features_were_fitted_on() -> None:
    stamps = HOURLY.timestamps(0)
    for bar, (validation, test) in ((1000, (1400, 1700)), (1600, (1600, 1800))):
        info = replace(HOURLY.info, provenance={"fitted_until": f"{stamps[bar]}+00:00"})
        panel = Panel.from_series(HOURLY, info)
        assert cutoffs(panel, 0.15, 0.15) == (stamps[validation], stamps[test], None)
    info = replace(HOURLY.info, provenance={"fitted_until": "2030-01-01"})
    with pytest.raises(DataError, match="no bars follow 2030-01-01"):
        cutoffs(Panel.from_series(HOURLY, info), 0.15, 0.15)
