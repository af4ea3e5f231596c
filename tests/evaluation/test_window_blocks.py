"""Sums by window and block of the horizon: exact, whatever is pooled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.metric_names import METRIC_NAMES
from tsfm.evaluation.metrics import per_bar, score
from tsfm.evaluation.results import result_of
from tsfm.evaluation.totals import Totals, calibration_error
from tsfm.evaluation.window_blocks import (
    SCHEMA,
    block_edges,
    block_table,
    told,
    window_scores,
)

Answered = Callable[..., Backtest]


def _full(answered: Answered, **shape: int) -> Backtest:
    result = answered(**shape)
    rng = np.random.default_rng(1)
    energy, exact = rng.random(result.actual.shape[:2]), rng.random(result.actual.shape)
    return replace(result, squared_scale=result.scale**2, energy=energy, crps_exact=exact)


def _part(result: Backtest, rows: slice) -> Backtest:
    arrays = (
        "origins", "timestamps", "actual", "quantiles", "mean", "scale", "squared_scale", "energy",
        "crps_exact",
    )  # fmt: skip
    return replace(
        result,
        item_ids=result.item_ids[rows],
        crossed=None,
        **{name: getattr(result, name)[rows] for name in arrays},
    )


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 5, 96, 97])
def test_blocks_are_quarters_as_far_as_bars_allow(horizon: int) -> None:
    sizes = np.diff(block_edges(horizon))
    assert sizes.sum() == horizon
    assert len(sizes) == min(horizon, 4)
    assert sizes.max() - sizes.min() <= 1


def test_every_row_is_the_sum_of_its_bars(answered: Answered) -> None:
    result = _full(answered, windows=6, horizon=7)
    table = block_table(result)
    assert table.schema.equals(SCHEMA)
    frame, edges = table.to_pandas(), block_edges(7)
    assert len(frame) == 6 * 4 * 2
    for metric in METRIC_NAMES:
        terms = per_bar(result, metric)
        for row in frame.iloc[::5].itertuples():
            window, rest = divmod(row.Index, 8)
            block, variate = divmod(rest, 2)
            bars = slice(edges[block], edges[block + 1])
            values = terms[window, bars, variate]
            known = np.isfinite(values)
            top, bottom = frame.loc[row.Index, [f"{metric}.numerator", f"{metric}.denominator"]]
            if metric.endswith(("_90", "_95")):
                assert np.isnan([top, bottom]).all(), "beyond the levels"
                continue
            sizes = np.abs(result.actual[window, bars, variate]) if metric == "wql" else known
            assert top == pytest.approx(values[known].sum())
            assert bottom == pytest.approx(sizes[known].sum())
            assert (row.item_id, row.origin) == (result.item_ids[window], result.origins[window])
            assert row.variate == result.task.targets[variate]
            assert (row.first_step, row.last_step) == (bars.start + 1, bars.stop)
            assert row.timestamp == result.timestamps[window, bars.start]
            assert row.until == result.timestamps[window, bars.stop - 1]
            assert row.observed == np.isfinite(result.actual[window, bars, variate]).sum()


def test_parts_add_up_to_the_whole_and_to_fevs_convention(answered: Answered) -> None:
    result = _full(answered, windows=30)
    totals = Totals(result.task)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 30)):
        totals.add(block_table(_part(result, rows)))
    whole = result_of(result).errors
    assert totals.windows == 30
    assert totals.seconds == pytest.approx(30 * 2 * 1e-3)
    assert totals.errors() == pytest.approx(whole, nan_ok=True)
    frame = score(replace(result, task=replace(result.task, metrics=("rmsse", "mape", "energy"))))
    for metric, cell in frame.groupby("metric", observed=True):
        sums = cell.groupby("variate", observed=True)[["numerator", "denominator"]].sum()
        ratios = sums["numerator"] / sums["denominator"]
        values = np.sqrt(ratios) if metric == "rmsse" else ratios
        assert whole[str(metric)] == pytest.approx(values.mean()), metric
    assert {"mse", "winkler_50", "calibration"} <= set(whole)
    assert not {"winkler_95", "coverage_50"} & set(whole)


def test_what_some_windows_cannot_tell_is_told_of_none(answered: Answered) -> None:
    result = _full(answered, windows=30)
    parts = [_part(result, rows) for rows in (slice(0, 10), slice(10, 20), slice(20, 30))]
    exact = parts[1].crps_exact.copy()
    bar = tuple(np.argwhere(parts[1].scored)[0])
    exact[bar] = np.nan
    for gone in (None, exact):
        totals = Totals(result.task)
        for part in (parts[0], replace(parts[1], crps_exact=gone), parts[2]):
            totals.add(block_table(part))
        assert set(result_of(result).errors) - set(totals.errors()) == {"crps_exact"}


def test_scores_of_windows_are_those_of_the_backtest(answered: Answered) -> None:
    result = _full(answered, windows=30, horizon=9)
    for metric in ("sql", "wql", "rmsse"):
        expected = score(replace(result, task=replace(result.task, metrics=(metric,))))
        tables = [block_table(_part(result, rows)) for rows in (slice(0, 12), slice(12, 30))]
        found = window_scores(tables, metric, model="model", task=result.task)
        assert set(found["horizon"]) == {9}
        plain = ["item_id", "origin", "timestamp", "block", "variate", "value", "numerator"]
        pd.testing.assert_frame_equal(
            found[plain].astype({"item_id": str, "variate": str}),
            expected[plain].astype({"item_id": str, "variate": str}).reset_index(drop=True),
            check_dtype=False,
        )
        for row in range(0, len(found), 7):
            assert np.nansum(found["terms"][row]) == pytest.approx(found["numerator"][row], 1e-6)
            assert np.sum(found["sizes"][row]) == pytest.approx(found["denominator"][row])


def test_transforms_are_counted_between_the_levels(answered: Answered) -> None:
    result = answered(windows=9)
    counts = np.zeros(10, int)
    for y, quantiles in zip(result.actual.reshape(-1), result.quantiles.reshape(-1, 9)):
        if np.isfinite(y):
            counts[sum(y > q for q in quantiles)] += 1
    totals = Totals(result.task)
    totals.add(block_table(result))
    np.testing.assert_array_equal(totals.pit, counts)


def test_calibrated_forecasts_have_uniform_transforms(answered: Answered) -> None:
    rng, result = np.random.default_rng(0), answered(windows=3000, horizon=4, width=1)
    levels = np.array(result.task.quantile_levels)
    sizes = np.exp(rng.standard_normal((3000, 4, 1)))
    right = replace(
        result,
        actual=sizes * rng.standard_normal(sizes.shape),
        quantiles=sizes[..., None] * norm.ppf(levels),
        mean=np.zeros(sizes.shape),
    )
    narrow = replace(right, quantiles=0.5 * right.quantiles)
    assert result_of(right).errors["calibration"] < 0.01
    shares = norm.cdf(0.5 * norm.ppf(levels))
    expected = np.abs(shares - levels).mean()
    assert result_of(narrow).errors["calibration"] == pytest.approx(expected, abs=0.01)
    assert "calibration" not in result_of(replace(right, is_degenerate=True)).errors
    assert np.isnan(calibration_error([0, 0, 0], (0.3, 0.6)))


def test_what_a_forecaster_left_out_is_told_by_kind(answered: Answered) -> None:
    result = answered(windows=12)
    mean, quantiles = result.mean.copy(), result.quantiles.copy()
    first, second, third = np.argwhere(np.isfinite(result.actual))[:3]
    mean[tuple(first)], mean[tuple(second)] = np.inf, np.nan
    quantiles[(*third, 0)] = -np.inf
    found = result_of(replace(result, mean=mean, quantiles=quantiles))
    assert found.failure.startswith("no finite forecast for 3 of ")
    assert found.failure.endswith(": 1 NaN, 2 infinite")


def test_metadata_tell_the_question(answered: Answered) -> None:
    about = told(block_table(answered(windows=6)))
    assert (about["windows"], about["horizon"], about["is_degenerate"]) == (6, 5, False)
    assert about["quantile_levels"][0] == 0.1
