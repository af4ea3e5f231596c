from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from tsfm.errors import ConfigError
from tsfm.evaluation.diebold_mariano import diebold_mariano


def test_without_overlap_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 40))
    found = diebold_mariano(ours - theirs)
    expected = stats.ttest_rel(ours, theirs)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.units == 40


@pytest.mark.parametrize("lags", [1, 3, 7])
def test_with_overlap_it_is_statsmodels_uniform_kernel_corrected(lags: int) -> None:
    noise = np.random.default_rng(lags).standard_normal(120 + lags)
    values = 0.2 + np.convolve(noise, np.ones(lags + 1), "valid")[:120]
    fit = sm.OLS(values, np.ones(120)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "kernel": "uniform", "use_correction": False}
    )
    ahead = lags + 1
    corrected = fit.tvalues[0] * np.sqrt((121 - 2 * ahead + ahead * (ahead - 1) / 120) / 120)
    found = diebold_mariano(values, lags)
    assert found.statistic == pytest.approx(corrected)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(corrected), 119))


def test_a_negative_variance_falls_back_to_bartlett() -> None:
    values = np.tile([1.0, -1.0], 20) + 0.01 * np.random.default_rng(0).standard_normal(40)
    fit = sm.OLS(values, np.ones(40)).fit(
        cov_type="HAC", cov_kwds={"maxlags": 1, "kernel": "bartlett", "use_correction": False}
    )
    found = diebold_mariano(values, 1)
    assert found.statistic == pytest.approx(fit.tvalues[0] * np.sqrt((41 - 4 + 2 / 40) / 40))


def test_equal_forecasters_are_rejected_as_often_as_promised() -> None:
    rng = np.random.default_rng(7)
    rejected = naive = 0
    for _ in range(600):
        values = np.convolve(rng.standard_normal(83), np.ones(4), "valid")
        rejected += diebold_mariano(values, 3).p_value < 0.05
        naive += diebold_mariano(values).p_value < 0.05
    assert rejected / 600 < 0.11
    assert naive / 600 > 0.25


@pytest.mark.parametrize(
    ("values", "lags"), [([1.0, 2.0], 0), ([0.0] * 10, 0), ([0.5] * 10, 1), ([1.0, 2, 3, 4], 2)]
)
def test_where_nothing_can_be_told_there_is_no_p_value(values: list[float], lags: int) -> None:
    found = diebold_mariano(np.array(values), lags)
    assert np.isnan(found.statistic)
    assert np.isnan(found.p_value)


def test_bad_differences_are_told() -> None:
    with pytest.raises(ConfigError, match="1 differences are not finite"):
        diebold_mariano(np.array([1.0, np.nan, 2.0]))
    with pytest.raises(ConfigError, match="lags=-1"):
        diebold_mariano(np.ones(5), -1)
