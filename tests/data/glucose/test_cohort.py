"""Virtual cohorts: plausible as published, the same whenever made, and honest about time."""

import numpy as np
import pandas as pd
import pytest

from tsfm.data.glucose.cohort import (
    EXACT,
    CohortConfig,
    ControllerConfig,
    ScenarioConfig,
    cohort_series,
    simulate_cohort,
)
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError

DAYS = 10
HOUR = 12


@pytest.fixture(scope="module")
def cohort():
    """All thirty, with what no real patient knows."""
    return simulate_cohort(CohortConfig(days=DAYS, truth=True))


def glucose(panel):
    """``[patient, sample]``"""
    return np.stack([series.target[0] for series in panel])


def covariate(panel, name):
    """``[patient, sample]``"""
    row = panel.info.past_covariates.index(name)
    return np.stack([series.past_covariates[row] for series in panel])


def small(**changes):
    return CohortConfig(**({"patients": ("adult#001", "child#002"), "days": 2} | changes))


def test_the_panel_says_what_it_holds(cohort):
    info = cohort.info
    assert (info.variates, info.freq, info.seasonality) == (("glucose",), "5min", 288)
    assert info.past_covariates == (
        "insulin",
        "carbohydrates",
        "plasma_glucose",
        "carbohydrates_eaten",
    )
    assert info.known_covariates == ()
    assert info.units["glucose"] == "mg/dL"
    assert (info.units["insulin"], info.units["carbohydrates"]) == ("U", "g")
    assert "MIT" in info.licence
    assert info.provenance["seed"] == 0
    assert "simglucose" in info.provenance["parameters"]
    assert len(cohort) == 30
    assert set(cohort.lengths) == {DAYS * 288}
    series = cohort.series(cohort.item("child#002"))
    assert series.static["group"] == "child"
    assert series.static["patient"] == "child#002"
    assert series.static["weight_kg"] == pytest.approx(28.532574)
    assert series.start == pd.Timestamp("2024-01-01")
    assert simulate_cohort(small()).info.past_covariates == ("insulin", "carbohydrates")


def test_control_is_like_that_of_people_with_type_1_diabetes(cohort):
    """Range of in-silico and real basal-bolus therapy: consensus targets of Battelino et al.,
    Diabetes Care 42:1593, 2019 (in range > 70 %, below 70 < 4 %, variation ≤ 36 %), and what
    registries see (about half in range, variation near 40 %)."""
    values = glucose(cohort)
    in_range = ((values >= 70) & (values <= 180)).mean(axis=1)
    variation = values.std(axis=1) / values.mean(axis=1)
    assert 0.6 < in_range.mean() < 0.9
    assert 0.25 < variation.mean() < 0.45
    assert 120 < values.mean() < 170
    assert ((values < 70).mean(axis=1) < 0.1).all()
    assert 0.002 < (values < 70).mean() < 0.05
    assert (values < 54).mean() < 0.01
    truly = covariate(cohort, "plasma_glucose")
    assert truly.min() > 15
    assert 0.001 < (truly < 70).mean() < 0.05


def test_insulin_adds_up_to_what_each_patient_usually_takes(cohort):
    daily = covariate(cohort, "insulin").sum(axis=1) / DAYS
    usual = np.array([series.static["daily_insulin"] for series in cohort])
    assert np.abs(daily / usual - 1).max() < 0.3
    assert np.abs(daily / usual - 1).mean() < 0.1


def test_glucose_peaks_after_meals(cohort):
    eaten, truly = covariate(cohort, "carbohydrates_eaten"), covariate(cohort, "plasma_glucose")
    delays = []
    for grams, values in zip(eaten, truly, strict=True):
        soon = np.convolve(grams, np.ones(4))[3:]
        grows = np.flatnonzero((grams > 0) & (np.roll(grams, 1) == 0) & (soon > 40))
        for begin in grows[(grows > 12) & (grows < len(values) - 4 * HOUR)]:
            window = values[begin : begin + 4 * HOUR]
            if window.max() > values[begin] + 30:
                delays.append(5 * int(window.argmax()))
    assert len(delays) > 400
    assert 45 < np.median(delays) < 150


def test_nights_are_calmer_than_days(cohort):
    steps = np.abs(np.diff(covariate(cohort, "plasma_glucose"), axis=1))
    hour = np.arange(DAYS * 288 - 1) % 288 // HOUR
    assert steps[:, (hour >= 2) & (hour < 5)].mean() < 0.5 * steps[:, hour >= 7].mean()


def test_what_a_row_tells_was_known_at_its_time():
    """A meal and its bolus at 12:00 are in the row of 12:05, and act on glucose later."""
    scenario = ScenarioConfig(variability=0.0)
    panel = simulate_cohort(
        small(scenario=scenario, controller=EXACT, sensor="exact", truth=True, seed=4)
    )
    noon = 12 * HOUR
    carbohydrates, insulin = covariate(panel, "carbohydrates"), covariate(panel, "insulin")
    eaten = covariate(panel, "carbohydrates_eaten")
    assert carbohydrates[:, noon].tolist() == [0, 0]
    assert carbohydrates[:, noon + 1].tolist() == [70, 70]
    assert eaten[:, noon - 1 : noon + 4].tolist() == [[0, 0, 25, 25, 20]] * 2
    assert (insulin[:, noon + 1] > insulin[:, noon] + 2).all()
    without = simulate_cohort(
        small(scenario=ScenarioConfig(meals=scenario.meals[:2], variability=0.0))
    )
    assert covariate(without, "carbohydrates")[:, noon + 1].tolist() == [0, 0]


def test_measured_glucose_is_the_true_one_behind_time_and_noise(cohort):
    truly, shown = covariate(cohort, "plasma_glucose"), glucose(cohort)
    error = shown - truly
    assert abs(error.mean()) < 3
    assert 8 < error.std() < 25
    relative = np.abs(error / truly).mean()
    assert 0.05 < relative < 0.15
    exact = simulate_cohort(small(sensor="exact", truth=True))
    behind = glucose(exact)[:, 4:] - covariate(exact, "plasma_glucose")[:, 2:-2]
    now = glucose(exact)[:, 4:] - covariate(exact, "plasma_glucose")[:, 4:]
    assert behind.std() < 0.7 * now.std()


def test_the_same_seed_gives_the_same_cohort_whatever_the_threads():
    one = simulate_cohort(small(), workers=1)
    assert simulate_cohort(small(), workers=2).fingerprint == one.fingerprint
    assert simulate_cohort(small()).fingerprint == one.fingerprint
    assert simulate_cohort(small(seed=1)).fingerprint != one.fingerprint


def test_a_patient_depends_neither_on_company_nor_on_later_days(cohort):
    few = simulate_cohort(small(days=3, truth=True))
    for series in few:
        whole = cohort.series(cohort.item(series.item_id))
        np.testing.assert_array_equal(series.target, whole.target[:, : 3 * 288])
        np.testing.assert_array_equal(series.past_covariates, whole.past_covariates[:, : 3 * 288])


def test_long_cohorts_are_made_some_patients_at_a_time(monkeypatch):
    whole = simulate_cohort(small(patients=("adult",)))
    monkeypatch.setattr("tsfm.data.glucose.cohort._PATIENT_DAYS", 7)
    series = cohort_series(small(patients=("adult",)))
    assert Panel.from_series(series, whole.info).fingerprint == whole.fingerprint


def test_settings_change_what_they_say():
    usual = simulate_cohort(small(days=6))
    sloppy = simulate_cohort(small(days=6, controller=ControllerConfig(missed_boluses=0.5)))
    fasting = simulate_cohort(small(days=6, scenario=ScenarioConfig(skipping=1.0)))
    assert glucose(sloppy).mean() > glucose(usual).mean() + 20
    assert covariate(sloppy, "insulin").sum() < covariate(usual, "insulin").sum()
    assert covariate(fasting, "carbohydrates").sum() < 100
    assert glucose(fasting).std(axis=1).max() < 25


def test_a_panel_on_disk_equals_the_one_in_memory(tmp_path):
    written = simulate_cohort(small(), path=tmp_path / "cohort")
    assert Panel.open(tmp_path / "cohort").fingerprint == written.fingerprint
    assert written.fingerprint == simulate_cohort(small()).fingerprint
    with pytest.raises(DataError, match="cohort"):
        simulate_cohort(small(), path=tmp_path / "cohort")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"days": 0}, "days=0"),
        ({"days": 1.5}, "days=1.5"),
        ({"seed": -1}, "seed=-1"),
        ({"sensor": "Libre"}, "sensor='Libre'"),
        ({"start": "tomorrow-ish"}, "start='tomorrow-ish'"),
        ({"start": "2024-01-01 08:00"}, "is not a day"),
        ({"patients": ("adult#099",)}, "adult#099"),
    ],
)
def test_cohorts_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        simulate_cohort(small(**changes))
