from __future__ import annotations

import numpy as np
import pytest

from tsfm.models.base import Context
from tsfm.models.garch import Garch, fit_garch

LEVELS = (0.1, 0.5, 0.9, 0.99)
NAMES = ("log_close", "log_return", "log_range")


def _simulated(length: int = 800, seed: int = 0) -> np.ndarray:
    """``[time, 3]``: close, GARCH(1,1) returns of t(6) shocks, and the log range of a diffusion."""
    rng = np.random.default_rng(seed)
    variance, rows = 1.0, []
    for shock, error in zip(
        rng.standard_t(6, length) * np.sqrt(4 / 6), rng.standard_normal(length)
    ):
        value = np.sqrt(variance) * shock
        rows.append((value, np.log(variance) / 2 + 0.43 + 0.29 * error))
        variance = 0.05 + 0.12 * value**2 + 0.83 * variance
    returns, log_range = np.array(rows).T
    returns = 0.01 * returns
    return np.stack([returns.cumsum(), returns, log_range + np.log(0.01)], axis=1)


def _context(past: np.ndarray, names: tuple[str, ...] = NAMES) -> Context:
    return Context(past=past[None], variate_names=names)


def test_returns_may_be_a_past_covariate() -> None:
    past = _simulated(300)
    past[50, 1] = np.nan
    whole = Garch(max_history=200).predict(_context(past), 5, LEVELS)
    alone = Context(
        past=past[None, :, 2:],
        variate_names=("log_range",),
        past_covariates=past[None, :, :2].astype(np.float32),
        past_covariate_names=("log_close", "log_return"),
    )
    forecast = Garch(max_history=200).predict(alone, 5, LEVELS)
    assert forecast.mean.shape == (1, 5, 1)
    np.testing.assert_array_equal(forecast.quantiles[..., 0, :], whole.quantiles[..., 2, :])
    np.testing.assert_array_equal(forecast.mean[..., 0], whole.mean[..., 2])


def test_without_returns_anywhere_nothing_is_covered() -> None:
    context = Context(past=_simulated(300)[None, :, 2:], variate_names=("log_range",))
    assert np.isnan(Garch().predict(context, 5, LEVELS).mean).all()


def test_volatility_and_quantiles_equal_arch() -> None:
    from arch.univariate import GARCH, StudentsT, ZeroMean

    past = _simulated()
    context = _context(past)
    returns = context.past[0, :, 1].astype(np.float64)
    size = np.sqrt((returns**2).mean())
    distribution = StudentsT()
    model = ZeroMean(returns / size, volatility=GARCH(), distribution=distribution, rescale=False)
    fitted = model.fit(disp="off")
    variance = fitted.forecast(horizon=24).variance.iloc[-1].to_numpy() * size**2
    quantiles = distribution.ppf(np.array(LEVELS), fitted.params[["nu"]].to_numpy())

    forecast = Garch().predict(context, 24, LEVELS)
    expected = np.sqrt(variance)[:, None] * quantiles
    np.testing.assert_allclose(forecast.quantiles[0, :, 1], expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(forecast.mean[0, :, 1], 0.0)


def test_variances_foreseen_in_sample_equal_arch() -> None:
    """The recursion behind the range's calibration, beside arch's own forecasts from each bar."""
    from arch.univariate import GARCH, StudentsT, ZeroMean

    returns = _simulated(300)[:, 1]
    volatility = fit_garch(returns, 5)
    size = np.sqrt((returns**2).mean())
    model = ZeroMean(returns / size, volatility=GARCH(), distribution=StudentsT(), rescale=False)
    foreseen = model.fit(disp="off").forecast(horizon=5, start=100).variance.to_numpy() * size**2
    variance = volatility.in_sample
    for step in range(5):
        np.testing.assert_allclose(variance[101:], foreseen[: 199 - step, step], rtol=1e-6)
        variance = (volatility.omega + volatility.persistence * variance)[:-1]
    np.testing.assert_allclose(volatility.ahead, foreseen[-1], rtol=1e-6)


def test_the_range_is_calibrated_on_the_context() -> None:
    """One step ahead the log range is N(ln σ + 0.43, 0.29²), as the simulation makes it."""
    errors, widths = [], []
    for seed in range(8):
        past = _simulated(1000, seed)
        forecast = Garch().predict(_context(past), 1, (0.16, 0.5, 0.84))
        low, middle, high = forecast.quantiles[0, 0, 2]
        sigma = np.sqrt(fit_garch(past[:, 1], 1).ahead[0])
        errors.append(middle - np.log(sigma) - 0.43)
        widths.append((high - low) / 2)
    assert abs(np.mean(errors)) < 0.03
    assert np.mean(widths) == pytest.approx(0.29, rel=0.15)


def test_the_range_widens_with_the_horizon() -> None:
    forecast = Garch().predict(_context(_simulated(1000)), 48, (0.1, 0.9))
    width = forecast.quantiles[0, :, 2, 1] - forecast.quantiles[0, :, 2, 0]
    assert width[-1] > 1.1 * width[0]


def test_variates_it_does_not_cover_are_nan() -> None:
    forecast = Garch().predict(_context(_simulated(200)), 5, LEVELS)
    assert np.isnan(forecast.quantiles[0, :, 0]).all()
    other = Garch().predict(_context(_simulated(200), ("a", "b", "c")), 5, LEVELS)
    assert np.isnan(other.mean).all()
    returns_only = Garch().predict(_context(_simulated(200)[:, 1:2], ("log_return",)), 5, LEVELS)
    assert np.isfinite(returns_only.quantiles).all()


def test_gaps_are_dropped() -> None:
    past = _simulated(300)
    gappy = np.insert(past, [50, 50, 200], np.nan, axis=0)
    plain, holed = (Garch().predict(_context(values), 5, LEVELS) for values in (past, gappy))
    np.testing.assert_array_equal(plain.quantiles, holed.quantiles)


@pytest.mark.parametrize("length", [1, 2, 20, 59])
def test_short_series_have_constant_variance(length: int) -> None:
    past = _simulated(length)
    forecast = Garch().predict(_context(past), 5, LEVELS)
    if length == 1:
        assert np.isnan(forecast.quantiles).all()
        return
    deviation = np.sqrt((past[:, 1].astype(np.float32) ** 2).mean())
    np.testing.assert_allclose(forecast.quantiles[0, :, 1, 2], 1.2815516 * deviation, rtol=1e-4)
    assert np.isfinite(forecast.quantiles[0, :, 2]).all()


def test_constant_prices_give_no_spread_and_no_crash() -> None:
    past = np.zeros((200, 3))
    forecast = Garch().predict(_context(past), 5, LEVELS)
    np.testing.assert_array_equal(forecast.quantiles[0, :, 1], 0.0)
    assert np.isnan(forecast.quantiles[0, :, 2]).all()


def test_an_unobserved_range_is_nan() -> None:
    past = _simulated(200)
    past[:, 2] = np.nan
    forecast = Garch().predict(_context(past), 5, LEVELS)
    assert np.isnan(forecast.quantiles[0, :, 2]).all()
    assert np.isfinite(forecast.quantiles[0, :, 1]).all()


def test_it_survives_its_directory(tmp_path) -> None:
    forecaster = Garch(returns="r", log_range="s")
    forecaster.save(tmp_path)
    assert Garch.load(tmp_path) == forecaster
