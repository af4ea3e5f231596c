"""MOIRAI's mixtures scored exactly: against closed forms, grids and draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scoringrules
import torch
from support.moirai import make_context, make_model

from tsfm.evaluation.exact_crps import fair_crps
from tsfm.models.distributions import COMPONENTS, N_PARAMETERS, Mixture
from tsfm.models.marginals import Marginals
from tsfm.models.mixture_marginals import MixtureMarginals


def make_mixture(
    n: int, spread: float = 1.0, seed: int = 0, component: int | None = None
) -> Mixture:
    raw = np.random.default_rng(seed).normal(0, spread, (N_PARAMETERS, n))
    if component is not None:
        raw[: len(COMPONENTS)] = -100.0
        raw[component] = 100.0
    tensor = torch.tensor(raw, dtype=torch.float32)
    return Mixture.from_raw(tensor, torch.linspace(-3, 5, n), torch.linspace(0.3, 4, n))


def values_of(mixture: Mixture, seed: int = 0) -> np.ndarray:
    """Anything from deep in the lower tail to far beyond the upper."""
    levels = np.array([1e-4, 0.05, 0.4, 0.5, 0.9, 0.9999])
    at = np.random.default_rng(seed).integers(0, len(levels), len(mixture.df))
    return mixture.quantiles(levels)[np.arange(len(at)), at]


def on_a_grid(mixture: Mixture, y: np.ndarray) -> np.ndarray:
    """The integral of the squared distance of distribution functions, by many trapezia."""
    location, scale = (x.double().numpy() for x in (mixture.location, mixture.scale))
    near = mixture.normal_location.double().numpy()
    far = np.concatenate([-np.geomspace(1e-9, 1e9, 20_000)[::-1], np.geomspace(1e-9, 1e9, 20_000)])
    found = []
    for k in range(len(y)):
        own = (y[k] - location[k]) / scale[k]
        places = [
            far,
            own + far,
            near[k] + np.linspace(-0.007, 0.007, 4001),
            np.linspace(-9, 9, 20_001),
        ]
        x = np.sort(np.concatenate(places)) * scale[k] + location[k]
        row = MixtureMarginals(table=mixture.marginals.table[k : k + 1])
        reached = row.cdf(x[None])[0]
        distance = np.where(x <= y[k], reached, np.where(1 - reached < 1e-9, 0, 1 - reached))
        below = x <= y[k]
        found.append(
            np.trapezoid(distance[below] ** 2, x[below])
            + np.trapezoid(distance[~below] ** 2, x[~below])
        )
    return np.array(found)


@pytest.mark.parametrize(("spread", "most"), [(0.5, 1e-4), (1.0, 3e-4), (2.0, 3e-3)])
def test_score_is_the_integral(spread: float, most: float) -> None:
    mixture = make_mixture(12, spread, seed=5)
    y = values_of(mixture)
    error = np.abs(mixture.marginals.crps(y) / on_a_grid(mixture, y) - 1)
    assert np.median(error) < 5e-5
    assert error.max() < most


def test_score_is_that_of_the_quantiles_at_all_levels() -> None:
    mixture = make_mixture(300, 0.7, seed=2)
    y = values_of(mixture)
    slow = Marginals.crps(mixture.marginals, y)
    error = np.abs(mixture.marginals.crps(y) / slow - 1)
    assert np.median(error) < 2e-3
    assert error.max() < 0.1


def log_normal(m: Mixture, x: np.ndarray) -> np.ndarray:
    """Below zero, where scoringrules is NaN, the distance to zero is added."""
    inside = np.maximum(x, 1e-12)
    location, scale = m.log_location.numpy(), m.log_scale.numpy()
    return inside - x + scoringrules.crps_lognormal(inside, location, scale, backend="numpy")


CLOSED: dict[int, Callable[[Mixture, np.ndarray], np.ndarray]] = {
    0: lambda m, x: scoringrules.crps_t(
        x, m.df.numpy(), m.t_location.numpy(), m.t_scale.numpy(), backend="numpy"
    ),
    1: lambda m, x: scoringrules.crps_normal(x, m.normal_location.numpy(), 1e-3, backend="numpy"),
    3: log_normal,
}


@pytest.mark.parametrize("component", CLOSED)
def test_components_alone_have_closed_forms(component: int) -> None:
    mixture = make_mixture(64, 1.0, component=component)
    location, scale = mixture.location.numpy(), mixture.scale.numpy()
    for y in (values_of(mixture), values_of(mixture, 1) + 30, values_of(mixture, 2) - 1e4):
        closed = CLOSED[component](mixture, (y - location) / scale) * scale
        np.testing.assert_allclose(mixture.marginals.crps(y), closed, rtol=2e-3)


def test_score_is_that_of_draws() -> None:
    mixture = make_mixture(40, 0.5, seed=4)
    y = values_of(mixture)
    draws = mixture.sample(20_000, np.random.default_rng(0))
    sampled = fair_crps(draws.T[None, :, None, :], y[None, None])[0, 0]
    np.testing.assert_allclose(mixture.marginals.crps(y), sampled, rtol=0.15)


def test_unknown_elements_and_values_are_nan() -> None:
    table = make_mixture(3).marginals.table.copy()
    table[1, 4] = np.nan
    marginals = MixtureMarginals(table=table)
    found = marginals.crps(np.array([0.0, 0.0, np.nan]))
    np.testing.assert_array_equal(np.isfinite(found), [True, False, False])
    reached = marginals.cdf(np.array([[0.0], [0.0], [np.nan]]))[:, 0]
    np.testing.assert_array_equal(np.isfinite(reached), [True, False, False])
    np.testing.assert_array_equal(np.isnan(marginals.quantiles(np.array([0.5])))[:, 0], [0, 1, 0])


@pytest.mark.parametrize("patch_size", [None, 16])
def test_forecasts_hold_the_distribution_of_their_quantiles(patch_size: int | None) -> None:
    """Of several series, variates, patches and patch sizes, in the data's own units."""
    model = make_model(patch_size=patch_size)
    context = make_context(batch=4, width=2)
    past = 1000 + 50 * context.past
    past[2] *= 1e-3
    forecast = model.predict(past=past, horizon=21)
    distribution = forecast.distribution
    assert distribution is not None
    levels = np.array(forecast.quantile_levels)
    np.testing.assert_allclose(distribution.quantiles(levels), forecast.quantiles, rtol=1e-5)
    assert distribution.crps(forecast.mean).shape == (4, 21, 2)


def test_a_variate_that_was_never_observed_has_none() -> None:
    context = make_context()
    past = context.past.copy()
    past[1, :, 2] = np.nan
    forecast = make_model().predict(past=past, horizon=5)
    assert forecast.distribution is not None
    unknown = np.isnan(forecast.distribution.crps(np.zeros_like(forecast.mean)))
    np.testing.assert_array_equal(unknown, np.isnan(forecast.mean))
    assert unknown[1, :, 2].all()
