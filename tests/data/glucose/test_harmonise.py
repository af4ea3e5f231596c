"""Repairs: each done, counted, or refused with the reason."""

import numpy as np
import pandas as pd
import pytest
from support.readings import person

from tsfm.data.glucose.cgm import glucose_panel
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.insulin import insulin_remaining
from tsfm.errors import DataError


def made(frame, **options):
    panel, report = glucose_panel(frame, CgmConfig(**options))
    return panel.series(0).target[0], report.series[0].counts, panel


def test_gaps_stay_unobserved():
    frame = person(2000).drop(index=range(300, 310)).drop(index=range(500, 1500))
    glucose, counts, _ = made(frame)
    assert len(glucose) == 2000
    assert np.isnan(glucose).sum() == 1010
    assert (counts["gap"], counts["long_gap"]) == (2, 1)


def test_duplicates_conflicts_and_order():
    frame = person(300)
    worse = frame.iloc[[10]].assign(glucose_mg_dl=lambda f: f.glucose_mg_dl + 5)
    shuffled = pd.concat([frame, frame.iloc[5:9], worse])
    glucose, counts, _ = made(shuffled, clock_hours=48)
    assert counts == {"duplicate": 4, "conflict": 1, "clock": 1}
    np.testing.assert_allclose(glucose, frame.glucose_mg_dl)
    backwards, counts, _ = made(frame[::-1])
    assert not counts
    np.testing.assert_allclose(backwards, frame.glucose_mg_dl)


def test_a_clock_that_goes_back_far_is_refused():
    frame = pd.concat([person(300, start="2024-03-01"), person(300, start="2023-01-01")])
    with pytest.raises(DataError, match="clock goes back by"):
        made(frame)


@pytest.mark.parametrize("shift", ["0s", "150s"])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_two_people_without_id_are_refused(shift, is_sorted):
    other = person(400, seed=5, mean=230)
    other["datetime"] += pd.Timedelta(shift)
    both = pd.concat([person(400), other])
    both = both.sort_values("datetime", kind="stable") if is_sorted else both
    with pytest.raises(DataError, match="two or more people"):
        made(both, clock_hours=48)


def test_saturation_is_counted_and_may_be_unobserved():
    frame = person(300).astype({"glucose_mg_dl": object})
    frame.loc[[5, 6, 7], "glucose_mg_dl"] = ["LOW", "High", 401]
    glucose, counts, _ = made(frame)
    assert glucose[5:8].tolist() == [39, 401, 401]
    assert counts == {"saturated": 3}
    glucose, _, _ = made(frame, saturated="unobserved")
    assert np.isnan(glucose[5:8]).all()


def test_text_and_impossible_values_are_repaired_up_to_a_share():
    frame = person(300).astype({"glucose_mg_dl": object})
    frame.loc[[3, 4], "glucose_mg_dl"] = ["broken", 5000]
    glucose, counts, _ = made(frame)
    assert np.isnan(glucose[3:5]).all()
    assert counts == {"text": 1, "range": 1, "gap": 1} or counts == {"text": 1, "range": 1}
    with pytest.raises(DataError, match="'broken' in row 3"):
        made(frame, bad_values="refuse")
    frame.loc[:40, "glucose_mg_dl"] = 2000
    with pytest.raises(DataError, match="outside 10–1000 mg/dL, such as 2000 mg/dL"):
        made(frame)


def test_mmol_becomes_mg():
    frame = person(300)
    mmol = pd.DataFrame({"datetime": frame.datetime, "bg_mM": frame.glucose_mg_dl / 18.016})
    np.testing.assert_allclose(made(mmol)[0], frame.glucose_mg_dl, rtol=1e-6)
    with pytest.raises(DataError, match="said to be in mmol/L"):
        made(frame.rename(columns={"glucose_mg_dl": "bg_mM"}))


@pytest.mark.parametrize("day", ["2024-10-26 20:00", "2024-03-30 20:00"])
def test_summer_time_with_a_zone_loses_and_repeats_nothing(day):
    instants = pd.date_range(day, periods=200, freq="5min", tz="Europe/London")
    wave = 140 + 40 * np.sin(np.arange(200) / 25)
    clock = pd.DataFrame({"datetime": instants.tz_localize(None), "glucose_mg_dl": wave})
    glucose, counts, panel = made(clock, timezone="Europe/London")
    assert not counts
    np.testing.assert_allclose(glucose, wave, rtol=1e-6)
    assert panel.timestamps(0)[0] == instants[0].tz_localize(None).to_datetime64()
    aware = pd.DataFrame({"datetime": instants, "glucose_mg_dl": wave})
    np.testing.assert_allclose(made(aware, timezone="Europe/London")[0], wave, rtol=1e-6)


def test_summer_time_without_a_zone_is_counted():
    instants = pd.date_range("2024-10-26 20:00", periods=200, freq="5min", tz="Europe/London")
    clock = instants.tz_localize(None)
    wave = 140 + 40 * np.sin(np.arange(200) / 25)
    _, counts, _ = made(pd.DataFrame({"datetime": clock, "glucose_mg_dl": wave}))
    assert counts["clock"] == 1
    assert counts["conflict"] == 12


def test_covariates_know_the_past_only():
    frame = person(400, dose_units=np.nan, carbs=np.nan)
    dose = pd.DataFrame(
        {"datetime": [frame.datetime[100] + pd.Timedelta("61s")], "dose_units": 4.0, "carbs": 50.0}
    )
    _, _, panel = made(pd.concat([frame, dose]))
    names, values = panel.info.past_covariates, panel.series(0).past_covariates
    rows = dict(zip(names, values, strict=True))
    assert np.flatnonzero(rows["insulin"]).tolist() == [101]
    assert rows["iob"][100] == rows["cob"][100] == 0
    ages = (np.arange(101, 180) - 100) * 5 - 61 / 60
    np.testing.assert_allclose(rows["iob"][101:180], 4 * insulin_remaining(ages), rtol=1e-5)
    later = pd.concat([frame[:250], dose])
    cut = made(later)[2].series(0).past_covariates
    np.testing.assert_array_equal(cut, values[:, :250])


@pytest.mark.parametrize("cut", [120, 250, 333])
def test_nothing_after_a_cutoff_moves_anything_before(cut):
    rng = np.random.default_rng(cut)
    frame = person(400, carbs=np.where(rng.random(400) < 0.1, 40.0, np.nan))
    frame["dose_units"] = np.where(rng.random(400) < 0.1, 3.0, np.nan)
    frame["basal_rate"] = np.where(rng.random(400) < 0.1, rng.random(400), np.nan)
    frame["datetime"] += pd.to_timedelta(rng.integers(-140, 140, 400), "s")
    changed = frame.copy()
    rows = changed.index[cut:]
    changed.loc[rows, "glucose_mg_dl"] = rng.uniform(80, 90, len(rows)).round()
    changed.loc[rows, ["carbs", "dose_units", "basal_rate"]] = 7.0
    names = ("insulin", "iob", "carbohydrates", "cob", "basal_rate")
    before, after = (made(f, covariates=names)[2].series(0) for f in (frame, changed))
    until = cut - 1
    np.testing.assert_array_equal(before.target[:, :until], after.target[:, :until])
    np.testing.assert_array_equal(
        before.past_covariates[:, :until], after.past_covariates[:, :until]
    )
