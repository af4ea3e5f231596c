"""Questions and answers: what is sent, what is accepted, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tsfm.errors import DataError
from tsfm.models.base import Context, Forecast
from tsfm.models.foreign.question import answered, one_by_one, placed, question
from tsfm.models.foreign.standalone.worker_side import HEAD, unpack

LEVELS = (0.1, 0.5, 0.9)


def make_context(batch: int = 2, width: int = 2) -> Context:
    past = np.random.default_rng(0).standard_normal((batch, 6, width)).astype(np.float32)
    return Context(past=past)


def answer(context: Context, levels: tuple[float, ...] = LEVELS, **columns: Any) -> Forecast:
    native = columns.pop("native", levels)
    return answered({"quantile_levels": list(native)}, columns, context, 4, levels)


def test_a_question_holds_the_context() -> None:
    dates = np.arange(6).astype("datetime64[h]").astype("datetime64[ns]")
    past = np.random.default_rng(1).standard_normal((1, 6, 2))
    past[0, 2, 1] = np.nan
    known = np.ones((1, 10, 1), np.float32)
    context = Context(
        past=past, known_covariates=known, timestamps=dates[None], freq="h", seasonality=24,
        item_ids=("a",), static=({"kind": "x", "size": 1.5},), seed=7,
    )  # fmt: skip
    header, columns = unpack(question(context, 4, LEVELS, covariates=True)[HEAD.size :])
    assert (header["horizon"], header["seed"], header["freq"]) == (4, 7, "h")
    assert header["quantile_levels"] == list(LEVELS)
    np.testing.assert_array_equal(columns["past"], context.past)
    np.testing.assert_array_equal(columns["observed"], context.observed)
    np.testing.assert_array_equal(columns["timestamps"], dates[None])
    np.testing.assert_array_equal(columns["known_covariates"], known)
    assert columns["static"] == ['{"kind": "x", "size": 1.5}']
    assert "past_covariates" not in columns
    _, without = unpack(question(context, 4, LEVELS, covariates=False)[HEAD.size :])
    assert "known_covariates" not in without


def test_quantiles_at_other_levels_are_interpolated_and_the_mean_is_their_median() -> None:
    context = make_context(1, 1)
    native = (0.25, 0.5, 0.75)
    quantiles = np.broadcast_to(np.array([1, 2, 4], np.float32), (1, 4, 1, 3))
    found = answer(context, (0.25, 0.375, 0.5), native=native, quantiles=quantiles)
    np.testing.assert_allclose(found.quantiles[0, 0, 0], [1, 1.5, 2])
    np.testing.assert_allclose(found.mean, 2)
    assert not found.is_degenerate


def test_samples_give_their_quantiles_and_mean() -> None:
    samples = np.random.default_rng(0).standard_normal((2, 50, 4, 2)).astype(np.float32)
    found = answer(make_context(), samples=samples)
    for k, level in enumerate(LEVELS):
        expected = np.quantile(samples, level, axis=1)
        np.testing.assert_allclose(found.quantiles[..., k], expected, rtol=1e-5)
    np.testing.assert_allclose(found.mean, samples.mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.samples, samples)


def test_a_mean_alone_stands_at_every_level() -> None:
    mean = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    found = answer(make_context(), mean=mean)
    assert found.is_degenerate
    np.testing.assert_array_equal(found.quantiles, np.repeat(mean[..., None], 3, axis=-1))


def test_the_axis_of_one_variate_may_be_left_out() -> None:
    context = make_context(2, 1)
    quantiles = np.sort(np.random.default_rng(0).standard_normal((2, 4, 3)), axis=-1)
    found = answer(context, mean=np.ones((2, 4)), quantiles=quantiles)
    np.testing.assert_allclose(found.quantiles[:, :, 0], quantiles, rtol=1e-6)
    found = answer(context, samples=np.ones((2, 9, 4)))
    assert found.samples is not None
    assert found.samples.shape == (2, 9, 4, 1)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, "neither quantiles nor mean"),
        ({"mean": np.ones((2, 5, 2))}, r"mean has shape \(2, 5, 2\) instead of \(2, 4, 2\)"),
        ({"mean": np.ones((2, 4))}, "mean has shape"),
        ({"quantiles": np.ones((2, 4, 2, 4))}, "quantiles has shape"),
        ({"samples": np.ones((2, 4, 2))}, "instead of .2, 'any', 4, 2"),
        ({"mean": np.full((2, 4, 2), np.nan)}, "16 of 16 values of mean are not finite"),
        ({"quantiles": np.full((2, 4, 2, 3), np.inf)}, "48 of 48 values of quantiles"),
        ({"mean": np.ones((2, 4, 2)), "native": (0.5, 0.1)}, "do not increase"),
        ({"mean": np.ones((2, 4, 2)), "native": ()}, "do not increase"),
    ],
)
def test_what_was_not_asked_for_is_refused(columns: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        answer(make_context(), **columns)


def test_a_variate_that_was_never_observed_needs_no_answer() -> None:
    past = np.ones((2, 6, 2), np.float32)
    past[1, :, 1] = np.nan
    mean = np.ones((2, 4, 2), np.float32)
    mean[1, :, 1] = np.inf
    found = answer(Context(past=past), mean=mean)
    assert np.isnan(found.mean[1, :, 1]).all()
    assert np.isfinite(found.mean).sum() == 12


def test_variates_one_by_one_and_back() -> None:
    past = np.random.default_rng(0).standard_normal((3, 6, 2)).astype(np.float32)
    past[1, :, 0] = np.nan
    context = Context(past=past, item_ids=("a", "b", "c"), variate_names=("u", "v"))
    alone, place = one_by_one(context)
    assert alone.item_ids == ("a/u", "a/v", "b/v", "c/u", "c/v")
    for series, (row, variate) in zip(alone.past[..., 0], place, strict=True):
        np.testing.assert_array_equal(series, past[row, :, variate])
    mean = np.repeat(alone.past[:, -1:], 4, axis=1)
    forecast = answered({"quantile_levels": [0.5]}, {"mean": mean}, alone, 4, (0.5,))
    back = placed(forecast, place, 3, 2)
    expected = np.repeat(past[:, -1:], 4, axis=1)
    np.testing.assert_array_equal(back.mean, expected)
    np.testing.assert_array_equal(back.quantiles[..., 0], expected)
