"""Quantile columns, and means under the exponential."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, interpolate, stats

from tsfm.data.quantiles import exp_mean, quantile_columns
from tsfm.errors import DataError

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def test_columns_are_read_in_increasing_order() -> None:
    frame = pd.DataFrame(columns=["item_id", "q0.9", "quality", "q0.05", "mean", "q0.5"])
    assert quantile_columns(frame) == {"q0.05": 0.05, "q0.5": 0.5, "q0.9": 0.9}


@pytest.mark.parametrize("columns", [["mean"], ["q0.5"]])
def test_missing_columns_are_an_error(columns: list[str]) -> None:
    with pytest.raises(DataError, match="missing"):
        quantile_columns(pd.DataFrame(columns=columns), ("mean",))


@given(mu=st.floats(-5, 5), sigma=st.floats(0, 2))
def test_exact_for_a_log_normal(mu: float, sigma: float) -> None:
    quantiles = mu + sigma * stats.norm.ppf(LEVELS)[None]
    expected = np.exp(mu + sigma**2 / 2)
    np.testing.assert_allclose(exp_mean(quantiles, LEVELS), expected, rtol=1e-9)


def test_agrees_with_integrating_the_interpolated_quantiles() -> None:
    quantiles = np.array([-1.0, -0.8, 0.1, 0.2, 1.5])
    knots = stats.norm.ppf(LEVELS)
    through = interpolate.interp1d(knots, quantiles, fill_value="extrapolate")
    expected, _ = integrate.quad(
        lambda z: np.exp(through(z)) * stats.norm.pdf(z), -12, 12, points=knots, limit=200
    )
    assert exp_mean(quantiles[None], LEVELS)[0] == pytest.approx(expected, rel=1e-6)


def test_a_single_level_gives_the_median() -> None:
    np.testing.assert_allclose(exp_mean(np.array([[2.0]]), (0.5,)), np.exp(2.0))
