"""The mixture against scipy: densities, distribution functions, quantiles, samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from tsfm.models.distributions import COMPONENTS, N_PARAMETERS, NORMAL_SCALE, Mixture

LEVELS = np.array([0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999])


def make_raw(n: int, spread: float, seed: int, component: int | None = None) -> torch.Tensor:
    raw = np.random.default_rng(seed).normal(0, spread, (N_PARAMETERS, n))
    raw[: len(COMPONENTS)] = np.clip(raw[: len(COMPONENTS)], -4, 4)
    if component is not None:
        raw[: len(COMPONENTS)] = -100.0
        raw[component] = 100.0
    return torch.tensor(raw, dtype=torch.float32)


def make_mixture(
    n: int = 16, spread: float = 1.0, seed: int = 0, component: int | None = None
) -> Mixture:
    location, scale = torch.linspace(-3, 5, n), torch.linspace(0.3, 4, n)
    return Mixture.from_raw(make_raw(n, spread, seed, component), location, scale)


def element(mixture: Mixture, i: int) -> dict[str, float]:
    fields = ("df", "t_location", "t_scale", "normal_location", "count", "logits")
    fields += ("log_location", "log_scale", "location", "scale")
    return {name: float(getattr(mixture, name)[i]) for name in fields}


def binomial_density(x: np.ndarray, p: dict[str, float]) -> np.ndarray:
    r, log_odds = p["count"], p["logits"]
    log_density = special.gammaln(x + r) - special.gammaln(x + 1) - special.gammaln(r)
    return np.exp(log_density - r * np.logaddexp(0, log_odds) - x * np.logaddexp(0, -log_odds))


def binomial_mass(p: dict[str, float]) -> Callable[[float], float]:
    """Integral of the real-valued density from 0, by adaptive quadrature."""
    mean = p["count"] * np.exp(p["logits"])
    top = mean + 16 * np.sqrt(mean * (1 + np.exp(p["logits"]))) + 40 / np.logaddexp(0, -p["logits"])
    around = mean + np.sqrt(mean * (1 + np.exp(p["logits"]))) * np.linspace(-12, 12, 13)
    grid = np.geomspace(min(p["count"], 1e-2, top / 10) * 1e-3, top, 30)
    edges = np.unique(np.concatenate([[0.0], grid, around[(around > 0) & (around < top)]]))

    def mass(upper: float) -> float:
        points = np.unique(np.clip(edges, 0, max(upper, 0)))
        return sum(
            integrate.quad(binomial_density, a, b, args=(p,), limit=100, epsabs=1e-10)[0]
            for a, b in pairwise(points)
        )

    return lambda x: mass(min(x, top))


def scipy_cdf(mixture: Mixture, i: int, value: float) -> float:
    """The mixture's distribution function, from scipy's components."""
    p = element(mixture, i)
    weights = mixture.log_weights[:, i].double().exp().numpy()
    x = (value - p["location"]) / p["scale"]
    total, probability = weights.sum(), 0.0
    probability += weights[0] * stats.t.cdf((x - p["t_location"]) / p["t_scale"], p["df"])
    probability += weights[1] * stats.norm.cdf((x - p["normal_location"]) / NORMAL_SCALE)
    if weights[2] > 1e-12:
        mass = binomial_mass(p)
        everything = mass(np.inf)
        probability += weights[2] * mass(x)
        total -= weights[2] * (1 - everything)
    if x > 0:
        probability += weights[3] * stats.norm.cdf((np.log(x) - p["log_location"]) / p["log_scale"])
    return probability / total


def test_log_prob_matches_torch_components() -> None:
    mixture = make_mixture(n=64, spread=2.0)
    value = mixture.location + mixture.scale * torch.linspace(-4, 6, 64)
    x = (value - mixture.location) / mixture.scale
    parts = {
        "student_t": torch.distributions.StudentT(
            mixture.df, mixture.t_location, mixture.t_scale
        ).log_prob(x),
        "normal": torch.distributions.Normal(mixture.normal_location, NORMAL_SCALE).log_prob(x),
        "binomial": torch.from_numpy(
            np.log(
                [
                    binomial_density(float(x[i]), element(mixture, i)) if x[i] >= 0 else 1e-300
                    for i in range(64)
                ]
            )
        ),
        "log_normal": torch.where(
            x > 0,
            torch.distributions.LogNormal(mixture.log_location, mixture.log_scale).log_prob(
                x.clamp_min(1e-9)
            ),
            -torch.inf,
        ),
    }
    stacked = torch.stack([part.double() for part in parts.values()])
    expected = torch.logsumexp(mixture.log_weights + stacked, 0) - mixture.scale.log()
    torch.testing.assert_close(mixture.log_prob(value).double(), expected, rtol=2e-4, atol=2e-4)


def test_gradients_are_finite_where_components_have_no_support() -> None:
    raw = make_raw(8, 1.0, 0).requires_grad_()
    mixture = Mixture.from_raw(raw, torch.zeros(8), torch.ones(8))
    mixture.log_prob(torch.tensor([-2.0, -1e-3, 0.0, 1e-8, 0.5, 3.0, 100.0, -1e5])).sum().backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


def test_mean_is_the_weighted_mean_of_the_components() -> None:
    mixture = make_mixture(n=1)
    p, weights = element(mixture, 0), mixture.log_weights[:, 0].exp().numpy()
    r, q = p["count"], special.expit(-p["logits"])
    means = [
        p["t_location"],
        p["normal_location"],
        stats.nbinom.mean(r, q),
        stats.lognorm.mean(p["log_scale"], scale=np.exp(p["log_location"])),
    ]
    expected = np.dot(weights, means) * p["scale"] + p["location"]
    assert float(mixture.mean[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spread", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("component", [None, 0, 1, 2, 3])
def test_quantiles_reach_their_levels(component: int | None, spread: float) -> None:
    mixture = make_mixture(n=6, spread=spread, seed=1, component=component)
    quantiles = mixture.quantiles(LEVELS)
    assert quantiles.shape == (6, len(LEVELS))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    reached = [[scipy_cdf(mixture, i, q) for q in quantiles[i]] for i in range(6)]
    np.testing.assert_allclose(reached, np.tile(LEVELS, (6, 1)), atol=1e-4)


def test_cdf_of_student_t_is_exact_down_to_two_degrees_of_freedom() -> None:
    df = np.array([2.0, 2.001, 2.5, 3.0, 4.0, 7.9, 8.1, 30.0, 1e3, 1e7])
    raw = make_raw(len(df), 0.0, 0, component=0)
    raw[len(COMPONENTS)] = torch.tensor(np.log(np.expm1(np.clip(df - 2, 1e-9, 80))))
    raw[len(COMPONENTS), -2:] = torch.tensor(df[-2:])
    mixture = Mixture.from_raw(raw, torch.zeros(len(df)), torch.ones(len(df)))
    x = np.concatenate([-np.geomspace(1e-6, 1e6, 60), [0.0], np.geomspace(1e-6, 1e6, 60)])
    reached = mixture.cdf(np.tile(x, (len(df), 1)))
    for row, values in enumerate(reached):
        p = element(mixture, row)
        np.testing.assert_allclose(values, stats.t.cdf(x / p["t_scale"], p["df"]), atol=1e-6)


@pytest.mark.parametrize(
    ("count", "logits"),
    [(1e-6, 0.0), (1e-3, 3.0), (0.1, -20.0), (1.0, 0.0), (30.0, 2.0), (1e3, -5.0), (1e4, 5.0)],
)
def test_negative_binomial_is_the_integral_of_its_density(count: float, logits: float) -> None:
    raw = make_raw(1, 0.0, 0, component=2).double()
    raw[8, 0], raw[9, 0] = np.log(np.expm1(count)) if count < 50 else count, logits
    mixture = Mixture.from_raw(raw, torch.zeros(1), torch.ones(1))
    quantiles = mixture.quantiles(LEVELS)[0]
    assert (quantiles >= 0).all()
    mass = binomial_mass(element(mixture, 0))
    total = mass(np.inf)
    np.testing.assert_allclose([mass(q) / total for q in quantiles], LEVELS, atol=1e-4)


def test_extreme_parameters_give_finite_ordered_quantiles() -> None:
    mixture = make_mixture(n=2000, spread=30.0, seed=3)
    quantiles = mixture.quantiles(LEVELS)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_levels_may_differ_between_elements() -> None:
    mixture = make_mixture(n=3)
    rows = np.array([[0.1, 0.9], [0.2, 0.5], [0.01, 0.02]])
    for i, levels in enumerate(rows):
        np.testing.assert_allclose(
            mixture.quantiles(rows)[i], mixture.quantiles(levels)[i], atol=1e-3
        )


def test_samples_follow_the_distribution_function() -> None:
    mixture = make_mixture(n=4, seed=5)
    draws = mixture.sample(4000, np.random.default_rng(0))
    assert draws.shape == (4, 4000)
    uniform = mixture.cdf(draws)
    for row in uniform:
        assert stats.kstest(row, "uniform").pvalue > 1e-3
    again = mixture.sample(4000, np.random.default_rng(0))
    np.testing.assert_array_equal(draws, again)
