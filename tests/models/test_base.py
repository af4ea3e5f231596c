"""Contexts and forecasts: padding, cutting, interpolating, long frames, and predict's door."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tsfm.data.quantiles import quantile_column
from tsfm.data.windows import Window
from tsfm.errors import ConfigError, DataError
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.statistical import RandomWalk

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2024-01-01", "ns")


def window(
    length: int, width: int, *, horizon: int = 0, known: int = 0, dated: bool = True, seed: int = 0
) -> Window:
    rng = np.random.default_rng([seed, length, width])
    dates = START + np.arange(length + horizon) * HOUR
    return Window(
        item_id=f"{length}x{width}",
        target=rng.standard_normal((width, length)).astype(np.float32),
        start=0,
        variate_names=tuple(f"v{k}" for k in range(width)),
        freq="h",
        seasonality=24,
        timestamps=dates[:length] if dated else None,
        future_timestamps=dates[length:] if dated and horizon else None,
        known_covariates=rng.standard_normal((known, length + horizon)).astype(np.float32)
        if known
        else None,
        static={"length": float(length)},
    )


# --- Context --------------------------------------------------------------------------------------


def test_ragged_windows_are_padded_left_and_right_and_padding_is_never_observed():
    windows = [window(5, 3), window(2, 1), window(4, 7)]
    context = Context.from_windows(windows, horizon=2)
    assert context.past.shape == (3, 5, 7)
    for row, made in enumerate(windows):
        width, length = made.target.shape
        np.testing.assert_array_equal(context.past[row, 5 - length :, :width], made.target.T)
        assert context.variates[row].tolist() == [True] * width + [False] * (7 - width)
        assert context.observed[row].sum() == width * length
        assert np.isnat(context.timestamps[row, : 5 - length]).all()
        np.testing.assert_array_equal(context.timestamps[row, 5 - length :], made.timestamps)
    assert context.item_ids == ("5x3", "2x1", "4x7")
    assert context.variate_names == windows[2].variate_names
    assert [static["length"] for static in context.static] == [5, 2, 4]


def test_known_covariates_are_aligned_at_the_origin():
    windows = [window(4, 1, horizon=3, known=2), window(6, 1, horizon=3, known=2)]
    context = Context.from_windows(windows, horizon=3)
    assert context.known_covariates.shape == (2, 9, 2)
    assert np.isnan(context.known_covariates[0, :2]).all()
    for row, made in enumerate(windows):
        np.testing.assert_array_equal(
            context.known_covariates[row, 6 - made.length :], made.known_covariates.T
        )
    np.testing.assert_array_equal(context.future_timestamps[0], windows[0].future_timestamps)


def test_dates_known_for_part_of_the_horizon_only_are_left_to_the_frequency():
    context = Context.from_windows([window(4, 1, horizon=2)], horizon=3)
    assert context.future_timestamps is None
    forecast = RandomWalk().predict(context, 3)
    np.testing.assert_array_equal(forecast.timestamps[0], START + np.arange(4, 7) * HOUR)


def test_missing_values_are_not_observed_whatever_the_mask_says():
    past = np.array([[[1.0, np.nan], [np.inf, 2.0]]])
    context = Context(past=past, observed=np.ones((1, 2, 2), bool), variates=[[True, True]] * 1)
    assert context.observed.tolist() == [[[True, False], [False, True]]]
    masked = Context(past=np.ones((1, 2, 2)), variates=np.array([[True, False]]))
    assert masked.observed.tolist() == [[[True, False], [True, False]]]


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.floats(-9, 9, width=32),
    ),
    st.integers(1, 8),
)
@settings(deadline=None, max_examples=50)
def test_the_latest_bars_end_at_the_origin(past: np.ndarray, length: int):
    horizon, (batch, time, _) = 2, past.shape
    dates = np.broadcast_to(START + np.arange(time) * HOUR, (batch, time))
    known = np.broadcast_to(
        np.arange(time + horizon, dtype=np.float32)[:, None], (batch, time + horizon, 1)
    )
    context = Context(past=past, timestamps=dates, known_covariates=known, past_covariates=past)
    cut = context.last(length)
    kept = min(length, time)
    np.testing.assert_array_equal(cut.past, past[:, time - kept :])
    np.testing.assert_array_equal(cut.past_covariates, cut.past)
    assert cut.observed.shape == cut.past.shape
    assert cut.known_covariates.shape[1] == kept + horizon
    assert (cut.timestamps[:, -1] == dates[:, -1]).all()
    assert (cut.known_covariates[:, -1] == time + horizon - 1).all()


@pytest.mark.parametrize("chosen", [slice(1, None), [2, 0], np.array([1])])
def test_rows_take_every_attribute_along(chosen):
    windows = [window(length, 2, horizon=3, known=1) for length in (3, 4, 5)]
    context = Context.from_windows(windows, horizon=3)
    expected = np.arange(3)[chosen]
    rows = context.rows(chosen)
    assert rows.item_ids == tuple(windows[k].item_id for k in expected)
    assert [s["length"] for s in rows.static] == [windows[k].length for k in expected]
    for name in ("past", "observed", "variates", "known_covariates", "timestamps"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(context, name)[expected])
    assert (rows.freq, rows.seasonality) == ("h", 24)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"past": np.ones((2, 3))}, "2 dimensions"),
        ({"past": np.ones((1, 0, 1))}, "no time steps"),
        ({"past": np.ones((1, 2, 1)), "observed": np.ones((1, 3, 1), bool)}, "observed has shape"),
        ({"past": np.ones((1, 2, 1)), "variates": np.ones((1, 2), bool)}, "variates has shape"),
        ({"past": np.ones((1, 2, 1)), "variate_names": ("a", "b")}, "2 variate names"),
        ({"past": np.ones((1, 2, 1)), "item_ids": ("a", "b")}, "2 item ids"),
    ],
)
def test_a_context_that_does_not_fit_is_refused(fields, told):
    with pytest.raises(DataError, match=told):
        Context(**fields)


def test_no_windows_are_no_context():
    with pytest.raises(DataError, match="no windows"):
        Context.from_windows([], horizon=1)


# --- Forecast -------------------------------------------------------------------------------------


def forecast(levels=(0.1, 0.5, 0.9), shape=(2, 3, 2), **fields) -> Forecast:
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.standard_normal((*shape, len(levels))), axis=-1)
    return Forecast(quantiles=quantiles, quantile_levels=levels, mean=quantiles.mean(-1), **fields)


@given(st.floats(0.1, 0.9))
@settings(deadline=None, max_examples=50)
def test_quantiles_between_levels_are_interpolated_as_numpy_does(level: float):
    levels = (0.1, 0.25, 0.5, 0.9)
    made = forecast(levels)
    expected = np.apply_along_axis(lambda q: np.interp(level, levels, q), -1, made.quantiles)
    np.testing.assert_allclose(made.quantile(level), expected, atol=1e-12)


def test_median_without_the_level_is_interpolated():
    made = forecast((0.4, 0.6))
    np.testing.assert_allclose(made.median, made.quantiles.mean(-1))


@pytest.mark.parametrize("level", [0.05, 0.95])
def test_quantiles_are_never_extrapolated(level: float):
    with pytest.raises(ConfigError, match="Ask predict for that level"):
        forecast().quantile(level)


def test_shapes_that_disagree_are_refused():
    with pytest.raises(DataError, match="mean has shape"):
        Forecast(quantiles=np.zeros((1, 2, 1, 1)), quantile_levels=(0.5,), mean=np.zeros((1, 2)))
    with pytest.raises(DataError, match="one value per level"):
        Forecast(quantiles=np.zeros((1, 1, 1, 2)), quantile_levels=(0.5,), mean=np.zeros((1, 1, 1)))


def test_long_frame_has_one_row_for_each_value():
    dates = np.stack([START + np.arange(k, k + 3) * HOUR for k in (0, 10)])
    made = forecast(item_ids=("x", "y"), variate_names=("a", "b"), timestamps=dates)
    frame = made.to_frame()
    assert list(frame) == [
        "item_id",
        "step",
        "timestamp",
        "variate",
        "mean",
        "q0.1",
        "q0.5",
        "q0.9",
    ]
    assert len(frame) == 2 * 3 * 2
    for (row, item), step, (column, variate) in (
        (r, s, c) for r in enumerate("xy") for s in range(3) for c in enumerate("ab")
    ):
        found = frame[
            (frame.item_id == item) & (frame.step == step + 1) & (frame.variate == variate)
        ]
        (record,) = found.to_dict("records")
        assert record["timestamp"] == pd.Timestamp(dates[row, step])
        assert record["mean"] == made.mean[row, step, column]
        for k, level in enumerate(made.quantile_levels):
            assert record[quantile_column(level)] == made.quantiles[row, step, column, k]


def test_long_frame_leaves_out_what_a_series_does_not_have():
    context = Context.from_windows([window(4, 1), window(4, 3)], horizon=2)
    frame = RandomWalk().predict(context, 2).to_frame()
    assert frame.groupby("item_id").variate.unique().map(list).to_dict() == {
        "4x1": ["v0"],
        "4x3": ["v0", "v1", "v2"],
    }


# --- predict --------------------------------------------------------------------------------------


class Echo(Forecaster):
    """Repeats the last value and remembers what it was asked."""

    name = "echo"

    def forecast(self, context, horizon, quantile_levels):
        self.asked = (context, horizon, quantile_levels)
        mean = np.repeat(context.past[:, -1:], horizon, axis=1)
        quantiles = np.repeat(mean[..., None], len(quantile_levels), axis=-1)
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)

    def save(self, directory):
        raise NotImplementedError

    @classmethod
    def load(cls, directory, **config_overrides):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("past", "shape"),
    [(np.arange(5.0), (1, 5, 1)), (np.ones((5, 2)), (1, 5, 2)), (np.ones((3, 5, 2)), (3, 5, 2))],
)
def test_short_form_takes_one_series_or_a_batch(past, shape):
    echo = Echo()
    made = echo.predict(past=past, horizon=4, quantile_levels=[0.5])
    assert echo.asked[0].past.shape == shape
    assert made.mean.shape == (shape[0], 4, shape[2])
    assert made.timestamps is None


@pytest.mark.parametrize("past", [[], 3.0, "x", np.zeros((1, 0, 1)), np.zeros((1, 2, 3, 4))])
def test_a_past_without_numbers_or_bars_is_told(past):
    with pytest.raises(DataError, match="past"):
        Echo().predict(past=past, horizon=2)


def test_what_the_context_names_comes_back_in_the_forecast():
    context = Context.from_windows([window(4, 2, horizon=3)], horizon=3)
    made = Echo().predict(context, 2)
    assert (made.item_ids, made.variate_names) == (("4x2",), ("v0", "v1"))
    np.testing.assert_array_equal(made.timestamps[0], START + np.arange(4, 6) * HOUR)


def test_beyond_the_known_dates_they_follow_the_frequency():
    context = Context.from_windows([window(4, 1, horizon=1), window(2, 1, horizon=1)], horizon=1)
    made = Echo().predict(context, 3)
    for row, length in enumerate((4, 2)):
        np.testing.assert_array_equal(
            made.timestamps[row], START + np.arange(length, length + 3) * HOUR
        )


def test_series_without_dates_beside_dated_ones():
    context = Context.from_windows([window(4, 1), window(3, 1, dated=False)], horizon=2)
    made = Echo().predict(context, 2)
    assert np.isnat(made.timestamps[1]).all()
    np.testing.assert_array_equal(made.timestamps[0], START + np.arange(4, 6) * HOUR)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"horizon": 1}, "exactly one"),
        (
            {"past": np.ones(3), "context": Context(past=np.ones((1, 3, 1))), "horizon": 1},
            "exactly",
        ),
        ({"past": np.ones(3)}, "horizon=None"),
        ({"past": np.ones(3), "horizon": 0}, "horizon=0"),
        ({"past": np.ones(3), "horizon": 1.5}, "horizon=1.5"),
        ({"past": np.ones(3), "horizon": 1, "quantile_levels": ()}, "not increasing"),
        ({"past": np.ones(3), "horizon": 1, "quantile_levels": (0.5, 0.5)}, "not increasing"),
        ({"past": np.ones(3), "horizon": 1, "quantile_levels": (0.5, 0.1)}, "not increasing"),
        ({"past": np.ones(3), "horizon": 1, "quantile_levels": (0.0, 0.5)}, "not increasing"),
        ({"past": np.ones(3), "horizon": 1, "quantile_levels": (0.5, 1.0)}, "not increasing"),
    ],
)
def test_predict_refuses_what_makes_no_sense(arguments, told):
    with pytest.raises(ConfigError, match=told):
        Echo().predict(**arguments)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(-99, 99, width=32),
    ),
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5, unique=True).map(sorted),
)
@settings(deadline=None, max_examples=30)
def test_quantiles_of_a_baseline_never_cross(past: np.ndarray, levels: list[float]):
    if any(b - a < 1e-6 for a, b in pairwise(levels)):
        return
    made = RandomWalk().predict(past=past, horizon=3, quantile_levels=levels)
    assert made.quantiles.shape == (past.shape[0], 3, past.shape[2], len(levels))
    assert (np.diff(made.quantiles, axis=-1) >= 0).all()
