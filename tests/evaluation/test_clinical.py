"""Errors of glucose beside plain computations of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.glucose_backtests import forecast_with, glucose_panel, glucose_task

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.clinical import (
    AGGREGATIONS,
    COLUMNS,
    MEAN,
    MEDIAN,
    POOLED,
    clinical_gains,
    clinical_table,
    concat_clinical,
    error_by_minute,
    glucose_of,
    patient_aggregates,
    patient_table,
    reported_steps,
    score_clinical,
)
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.leaderboard import leaderboard

CONFIG = ClinicalConfig(replicates=100)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return glucose_panel()


@pytest.fixture(scope="module")
def results(panel: Panel) -> list[Backtest]:
    task = glucose_task(panel)
    good, bad = (
        forecast_with(panel, task, size, name=name) for size, name in ((6, "a"), (18, "bb"))
    )
    return [good, bad]


@pytest.fixture(scope="module")
def scores(results: list[Backtest]) -> pd.DataFrame:
    return concat_clinical([score_clinical(result, CONFIG) for result in results])


def _own(result: Backtest, minutes: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Errors and whether they count, bar by bar, by patient."""
    steps = [minutes // 5 - 1] if minutes else list(range(12))
    errors = {}
    for patient in sorted(set(result.item_ids)):
        rows = [k for k, name in enumerate(result.item_ids) if name == patient]
        gap = (result.mean - result.actual)[rows][:, steps, 0].ravel()
        errors[patient] = gap[np.isfinite(gap)]
    return errors


@pytest.mark.parametrize("minutes", [15, 30, 45, 60, 0])
def test_errors_pooled_and_by_patient(
    results: list[Backtest], scores: pd.DataFrame, minutes: int
) -> None:
    table = clinical_table(scores, CONFIG).set_index(["minutes", "metric", "model", "aggregation"])
    errors = _own(results[0], minutes)
    of_patients = [np.sqrt((gap**2).mean()) for gap in errors.values()]
    everything = np.concatenate(list(errors.values()))
    expected = {
        POOLED: np.sqrt((everything**2).mean()),
        MEAN: np.mean(of_patients),
        MEDIAN: np.median(of_patients),
    }
    for aggregation in AGGREGATIONS:
        row = table.loc[(minutes, "rmse", "a", aggregation)]
        assert row["value"] == pytest.approx(expected[aggregation], rel=1e-6)
        assert row["low"] < row["value"] < row["high"]
        assert row["patients"] == 8
    mae = table.loc[(minutes, "mae", "a", POOLED), "value"]
    assert mae == pytest.approx(np.abs(everything).mean(), rel=1e-5)
    patients = patient_table(scores)
    own = patients[(patients["model"] == "a") & (patients["metric"] == "rmse")]
    own = own[own["minutes"] == minutes].set_index("patient")["value"]
    np.testing.assert_allclose(own[list(errors)], of_patients)


def test_scores_are_those_of_the_common_leaderboard(scores: pd.DataFrame) -> None:
    assert tuple(scores.columns) == COLUMNS
    ours = clinical_table(scores, CONFIG)
    ours = ours[ours["aggregation"] == POOLED].set_index(["minutes", "metric", "model"])["value"]
    common = leaderboard(scores, replicates=10)
    assert set(common["task"]) == {
        "cgm/unseen patients",
        *(f"cgm/unseen patients@{m}min" for m in (15, 30, 45, 60)),
    }
    for row in common.to_dict("records"):
        minutes = int(row["task"].partition("@")[2].removesuffix("min") or 0)
        assert ours[minutes, row["metric"], row["model"]] == pytest.approx(row["value"])


def test_only_observed_glucose_counts(panel: Panel, results: list[Backtest]) -> None:
    holed = results[0].actual.copy()
    holed[:, 5] = np.nan
    table = clinical_table(score_clinical(replace(results[0], actual=holed), CONFIG), CONFIG)
    assert set(table[table["metric"] == "rmse"]["minutes"]) == {15, 45, 60, 0}
    scored = score_clinical(results[0], CONFIG)
    at = scored[(scored["metric"] == "mae") & (scored["minutes"] == 30)]
    assert at["denominator"].sum() == np.isfinite(results[0].actual[:, 5]).sum() < len(holed)


def test_mmol_are_reported_in_mg(results: list[Backtest]) -> None:
    one = results[0]
    small = replace(
        one, actual=one.actual / 18.016, quantiles=one.quantiles / 18.016, mean=one.mean / 18.016
    )
    converted = score_clinical(small, replace(CONFIG, units="mmol/L"))
    expected = score_clinical(one, CONFIG)
    np.testing.assert_allclose(converted["value"], expected["value"], rtol=1e-6, atol=1e-6)


def test_glucose_is_found_among_other_targets(results: list[Backtest]) -> None:
    one = results[0]
    both = replace(
        one,
        task=replace(one.task, targets=("heart_rate", "glucose")),
        **{
            name: np.concatenate([getattr(one, name) + 7, getattr(one, name)], axis=2)
            for name in ("actual", "quantiles", "mean")
        },
        scale=np.repeat(one.scale, 2, axis=1),
    )
    np.testing.assert_array_equal(glucose_of(both).mean, one.mean)
    with pytest.raises(ConfigError, match="variate"):
        score_clinical(both, replace(CONFIG, variate="insulin"))


def test_times_come_from_dates_or_from_the_config(results: list[Backtest]) -> None:
    one = results[0]
    assert reported_steps(one, CONFIG) == {15: [2], 30: [5], 45: [8], 60: [11], 0: list(range(12))}
    undated = replace(one, timestamps=np.full_like(one.timestamps, np.datetime64("NaT")))
    with pytest.raises(ConfigError, match="resolution_minutes"):
        score_clinical(undated, CONFIG)
    quarter = replace(CONFIG, resolution_minutes=15)
    assert list(reported_steps(undated, quarter)) == [15, 30, 45, 60, 0]
    assert reported_steps(undated, replace(quarter, minutes=(20, 400))) == {0: list(range(12))}


def test_gains_are_paired_and_count_patients(scores: pd.DataFrame) -> None:
    gains = clinical_gains(scores, "a", CONFIG)
    assert len(gains) == 3 * 5
    row = gains[(gains["metric"] == "rmse") & (gains["minutes"] == 30)].iloc[0]
    assert (row["model"], row["baseline"], row["task"]) == ("a", "bb", "cgm/unseen patients")
    assert row["skill"] == pytest.approx(1 - row["value"] / row["baseline_value"])
    assert row["verdict"] == "win"
    assert (row["patients_better"], row["patients"]) == (8, 8)
    worse = clinical_gains(scores, "bb", CONFIG, metrics=("crps",))
    assert set(worse["verdict"]) == {"loss"}
    assert (worse["patients_better"] == 0).all()


def test_ranges_and_coverage(panel: Panel) -> None:
    task = glucose_task(panel, horizon=24)
    perfect = forecast_with(panel, task, 0.0, width=0.0)
    found = score_clinical(perfect, CONFIG)
    assert "coverage_80" not in set(found["metric"])
    assert (found["value"] < 1e-3).all()
    off = replace(perfect, mean=perfect.mean + 500, quantiles=perfect.quantiles + 500)
    table = clinical_table(score_clinical(off, CONFIG), CONFIG)
    inside = (perfect.actual >= 70) & (perfect.actual <= 180)
    known = np.isfinite(perfect.actual)
    shares = 100 * inside.sum(axis=(1, 2)) / known.sum(axis=(1, 2))
    found = table[(table["metric"] == "time_in_range_error") & (table["aggregation"] == POOLED)]
    assert found["value"].item() == pytest.approx(shares.mean())
    calibrated = forecast_with(panel, task, 10.0, width=10.0)
    table = clinical_table(score_clinical(calibrated, CONFIG), CONFIG)
    covered = table[(table["metric"] == "coverage_80") & (table["minutes"] == 0)]["value"]
    np.testing.assert_allclose(covered, 0.8, atol=0.02)


def test_error_by_minute_is_the_error_of_each_bar(results: list[Backtest]) -> None:
    table = error_by_minute(results[0], CONFIG, metric="mae")
    assert table["minutes"].tolist() == list(range(5, 65, 5))
    gaps = np.abs(results[0].actual - results[0].median)[:, :, 0]
    np.testing.assert_allclose(table["value"], np.nanmean(gaps, axis=0))
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()


def test_intervals_grow_with_differences_between_patients() -> None:
    """Many windows of few patients are few patients: intervals are those of patients' means."""
    rng = np.random.default_rng(0)
    own = rng.normal(100, 20, 12)
    patients = np.repeat([f"P{k}" for k in range(12)], 500)
    values = np.repeat(own, 500) + rng.normal(0, 1, 6000)
    rows = patient_aggregates(values, np.ones(6000), patients, ClinicalConfig(replicates=2000))
    found = {row["aggregation"]: row for row in rows}
    width = 2 * 2.2 * own.std(ddof=1) / np.sqrt(12)
    for name in (POOLED, MEAN):
        assert found[name]["high"] - found[name]["low"] == pytest.approx(width, rel=0.15)
    few = patient_aggregates(values[:1000], np.ones(1000), patients[:1000], CONFIG)
    assert all(np.isnan(row["low"]) and np.isnan(row["high"]) for row in few)
    assert patient_aggregates(values[:3], np.zeros(3), patients[:3], CONFIG) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"minutes": ()}, {"minutes": (30, 15)}, {"minutes": (0, 15)}, {"units": "mg/L"},
        {"low": 54.0}, {"high": 60.0}, {"night_start": 24.0}, {"night_end": 25.0},
        {"event_minutes": 0}, {"replicates": 0}, {"least_observed": 0.0}, {"confidence": 1.5},
        {"resolution_minutes": -5},
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(fields)))):
        ClinicalConfig(**fields)
