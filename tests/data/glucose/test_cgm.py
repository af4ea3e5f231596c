"""Panels of readings, their report, and the preparation of serving."""

import json

import numpy as np
import pandas as pd
import pytest
from support.readings import person

from tsfm.data.glucose.cgm import glucose_panel
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.preparation import GlucosePreparation
from tsfm.data.preparation import load_preparation
from tsfm.errors import ConfigError, DataError


def doses(n=400):
    return {"dose_units": np.where(np.arange(n) % 60 == 5, 4.0, 0), "carbs": 0.0, "cob": 0.0}


def test_zero_variance_is_dropped_with_a_message(caplog):
    panel, report = glucose_panel({"a": person(**doses()), "b": person(seed=1)}, CgmConfig())
    assert panel.info.past_covariates == ("insulin", "iob")
    assert "cob" in report.facts["zero variance"]
    assert "column carbohydrates is dropped" in caplog.text
    assert np.isnan(panel.series(1).past_covariates).all()


def test_a_constant_person_is_left_out_and_named():
    flat = person().assign(glucose_mg_dl=120.0)
    panel, report = glucose_panel({"a": person(), "flat": flat, "short": person(5)}, CgmConfig())
    assert panel.item_ids == ("a",)
    assert report.counts == {"constant": 1, "unreadable": 1}
    with pytest.raises(DataError, match="nobody's readings"):
        glucose_panel({"flat": flat}, CgmConfig())


def test_an_absent_future_covariate_is_refused():
    with pytest.raises(DataError, match="known covariates exercise are not in the data"):
        glucose_panel(person(**doses()), CgmConfig(known_covariates=("exercise",)))
    config = CgmConfig(known_covariates=("insulin",))
    panel, _ = glucose_panel(person(**doses()), config)
    assert panel.info.known_covariates == ("insulin",)
    assert "insulin" not in panel.info.past_covariates


def announced(meals: dict[int, float]) -> pd.DataFrame:
    """Readings until row 300, and what is eaten later."""
    table = person(324, **doses(324)).assign(heart_rate=np.arange(324.0))
    table.loc[300:, "glucose_mg_dl"] = np.nan
    for row, grams in meals.items():
        table.loc[row, "carbs"] = grams
    return table


def test_meals_announced_after_the_last_reading_are_carried_and_change_nothing_before():
    fitted = GlucosePreparation(known_covariates=("carbohydrates", "cob")).fit(
        person(**doses()).assign(heart_rate=np.arange(400.0), carbs=np.arange(400.0) % 9, cob=0.0)
    )
    plain, fed = (fitted.panel(announced(m)).series(0) for m in ({}, {306: 45.0}))
    assert fed.target.shape == (1, 324)
    assert np.isnan(fed.target[0, 300:]).all()
    grams, board = fed.known_covariates
    assert (grams[306], grams.sum()) == (45.0, 45.0)
    assert board[305] == 0 < board[307] < board[306]
    np.testing.assert_array_equal(fed.past_covariates[:, :300], plain.past_covariates[:, :300])
    other = announced({306: 45.0})
    other.loc[300:, ["dose_units", "heart_rate"]] = 99.0
    changed = fitted.panel(other).series(0)
    np.testing.assert_array_equal(changed.past_covariates, fed.past_covariates)
    np.testing.assert_array_equal(changed.known_covariates, fed.known_covariates)


def test_rows_after_the_last_reading_are_left_out_where_nothing_is_known_ahead():
    table = announced({306: 45.0})
    fitted = GlucosePreparation().fit(table)
    assert fitted.panel(table).lengths.tolist() == [300]
    trained, _ = glucose_panel(table, CgmConfig(known_covariates=("carbohydrates",)))
    assert trained.lengths.tolist() == [300]


def test_two_units_in_one_column_are_refused():
    mmol = person(seed=1).assign(glucose_mg_dl=lambda f: f.glucose_mg_dl / 18.016)
    both = pd.concat([person().assign(p_num="a"), mmol.assign(p_num="b")])
    with pytest.raises(DataError, match="one column holds mg/dL for 'a' and mmol/L for 'b'"):
        glucose_panel(both.rename(columns={"glucose_mg_dl": "bg"}), CgmConfig())


def test_infinities_are_counted():
    panel, report = glucose_panel(person().replace({"glucose_mg_dl": {150: np.inf}}), CgmConfig())
    assert report.counts["text"] == np.isnan(panel.series(0).target).sum() > 0


def test_bad_people_may_be_left_out():
    bad = person().assign(glucose_mg_dl=30.0).rename(columns={"glucose_mg_dl": "bg"})
    source = {"a": person(), "bad": bad}
    with pytest.raises(DataError, match="unit of glucose is unclear"):
        glucose_panel(source, CgmConfig())
    panel, report = glucose_panel(source, CgmConfig(bad_people="leave_out"))
    assert panel.item_ids == ("a",)
    assert "unclear" in report.series[1].facts["left out"]


def test_the_datas_own_resolution():
    quarter = person()[::3]
    panel, _ = glucose_panel(quarter, CgmConfig(resolution_minutes=0))
    assert (panel.info.freq, panel.info.seasonality) == ("15min", 96)
    with pytest.raises(DataError, match="resolutions differ"):
        glucose_panel({"a": quarter, "b": person()}, CgmConfig(resolution_minutes=0))


def test_the_report_is_written(tmp_path):
    _, report = glucose_panel({"a": person(**doses()).drop(index=range(9, 30))}, CgmConfig())
    page, data = report.write(tmp_path)
    state = json.loads(data.read_text())
    assert state["totals"]["counts"] == {"gap": 1}
    assert state["series"][0]["facts"]["unobserved"] == "5.2%"
    assert "iob" in page.read_text()


def test_the_preparation_survives_saving(tmp_path):
    frame = person(p_num="a", **doses()).rename(columns={"glucose_mg_dl": "bg"})
    preparation = GlucosePreparation(forecast_units="mmol/L", imputation="forward_fill",
                                     imputation_steps=2).fit(frame)  # fmt: skip
    preparation.save(tmp_path)
    loaded = load_preparation(tmp_path)
    assert isinstance(loaded, GlucosePreparation)
    assert loaded.config == preparation.config
    assert loaded.is_fitted
    again = loaded.panel(frame[:100])
    assert again.info.past_covariates == ("insulin", "iob")
    with pytest.raises(DataError, match="covariates insulin, iob are not in the data"):
        loaded.panel(frame[["datetime", "bg", "p_num"]])
    np.testing.assert_array_equal(loaded.impute(np.array([1, np.nan])), [1, 1])
    forecast = pd.DataFrame({"item_id": "a", "timestamp": 0, "variate": "glucose",
                             "mean": [180.16], "q0.5": [90.08]})  # fmt: skip
    restored = loaded.restore(forecast)
    assert restored[["mean", "q0.5"]].to_numpy().ravel() == pytest.approx([10, 5])
    with pytest.raises(ConfigError, match="options glukose"):
        GlucosePreparation(glukose=1)


@pytest.mark.parametrize(
    ("name", "people", "bars"),
    [("azt1d", 25, 305_465), ("physiocgm", 9, 208_564), ("hupa_ucm", 24, 144_086)],
)
def test_harmonised_collections(shared, name, people, bars):
    folder = shared / "data" / "glucose" / name
    if not folder.is_dir():
        pytest.skip("needs the CGM collections in ../shared")
    panel, report = glucose_panel(folder, CgmConfig(name=name))
    assert (len(panel), report.rows) == (people, bars)
    assert report.observed / report.rows > 0.9
    values = np.concatenate([series.target[0] for series in panel])
    assert np.nanmin(values) >= 10
    assert np.nanmax(values) <= 500
