"""Skew products against their formulas, their members by themselves, and SciPy."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from support.attractors import roessler

from tsfm.data.dynamics.couplings import MAPS, Amplitudes, parameters_of
from tsfm.data.dynamics.families import held_out_families, is_held_out
from tsfm.data.dynamics.skew import amplitudes, can_be_coupled, draw_pairs, skew_product
from tsfm.data.dynamics.systems import load_system, system_names
from tsfm.data.ode import Tolerance, integrate
from tsfm.errors import ConfigError

pytestmark = pytest.mark.usefixtures("cache")


def sizes_of(n: int, rng: np.random.Generator) -> Amplitudes:
    return Amplitudes(
        period=rng.uniform(0.5, 2),
        mean=rng.normal(size=n),
        deviation=rng.uniform(0.5, 2, n),
        flow=rng.uniform(0.5, 2, n),
    )


def by_formula(coupling, state, flows, driver, response, sources, strength) -> np.ndarray:
    """The module's table, read literally."""
    n = len(driver.mean)
    x, y, f, g = state[:n], state[n:], flows[:n], flows[n:]
    u, v = (x - driver.mean) / driver.deviation, (y - response.mean) / response.deviation

    def chosen(values: np.ndarray) -> np.ndarray:
        return np.array([values[k] if k >= 0 else 0.0 for k in sources])

    there = np.array([k >= 0 for k in sources])
    if coupling == "flow":
        g = g + strength * response.flow * chosen(f / driver.flow)
    elif coupling == "state":
        g = g + strength * response.flow * chosen(u)
    elif coupling == "diffusive":
        g = g + strength * response.flow * (chosen(u) - v) * there
    else:
        g = g * exp(strength * u[max(0, *sources)])
    return np.concatenate([driver.period * f, response.period * g])


@pytest.mark.parametrize("coupling", MAPS)
@pytest.mark.parametrize(("n", "m"), [(3, 3), (2, 4), (5, 3)])
def test_maps_are_their_formulas(coupling: str, n: int, m: int):
    rng = np.random.default_rng([n, m])
    driver, response = sizes_of(n, rng), sizes_of(m, rng)
    order = rng.permutation(max(n, m))[:m]
    sources = np.where(order < n, order, -1)
    fixed = parameters_of(driver, response, sources, 0.7)
    parameters = np.concatenate([rng.normal(size=4), fixed])
    for _ in range(5):
        state, flows = rng.normal(size=(2, n + m))
        out = flows.copy()
        MAPS[coupling](0.0, state, parameters, out)
        expected = by_formula(coupling, state, flows, driver, response, sources, 0.7)
        np.testing.assert_allclose(out, expected, rtol=1e-12)


def run(subject, periods: float = 5.0, points: int = 101) -> np.ndarray:
    solution = integrate(
        subject.rhs,
        subject.initial[None],
        subject.vector,
        np.linspace(0, periods, points) * subject.period,
        tolerance=Tolerance(rtol=1e-11, atol=1e-12),
        workers=1,
    )
    assert solution.ok.all()
    return solution.states[0]


@pytest.mark.parametrize("coupling", MAPS)
def test_members_without_coupling_are_the_systems_in_units_of_their_periods(coupling: str):
    driver, response = load_system("Lorenz"), load_system("Rossler")
    product = skew_product(driver, response, coupling, strength=0.0)
    states = run(product)
    for system, part in ((driver, states[:, :3]), (response, states[:, 3:])):
        alone = integrate(
            system.rhs,
            system.initial[None],
            system.vector,
            np.linspace(0, 5, 101) * system.period,
            tolerance=Tolerance(rtol=1e-11, atol=1e-12),
            workers=1,
        ).states[0]
        np.testing.assert_allclose(part, alone, atol=1e-5)


@pytest.mark.parametrize("coupling", MAPS)
def test_drivers_do_not_feel_the_response_but_responses_feel_them(coupling: str):
    driver, response = load_system("Rossler"), load_system("Lorenz")
    weak = run(skew_product(driver, response, coupling, strength=0.0))
    strong = run(skew_product(driver, response, coupling, strength=0.5))
    np.testing.assert_allclose(strong[:, :3], weak[:, :3], atol=1e-5)
    assert np.abs(strong[:, 3:] - weak[:, 3:]).max() > 0.1


def test_a_coupled_trajectory_equals_scipy():
    product = skew_product(load_system("Rossler"), load_system("Lorenz"), "flow", seed=3)
    sizes = amplitudes("Rossler"), amplitudes("Lorenz")
    own = product.free
    sources = product.vector[own + 9 + 9 : own + 9 + 12].astype(int)
    a, b, c = load_system("Rossler").vector
    beta, rho, sigma = load_system("Lorenz").vector

    def rhs(_t: float, state: np.ndarray) -> np.ndarray:
        x, y, z = state[:3]
        u, v, w = state[3:]
        driver = [-y - z, x + a * y, b + z * x - c * z]
        response = [sigma * (v - u), u * (rho - w) - v, u * v - beta * w]
        flows = np.array([*driver, *response])
        return by_formula("flow", state, flows, *sizes, sources, 0.5)

    expected = solve_ivp(
        rhs, (0, 3), product.initial, "DOP853", np.linspace(0, 3, 61), rtol=1e-11, atol=1e-12
    ).y.T
    np.testing.assert_allclose(run(product, 3, 61), expected, atol=1e-6)


def test_amplitudes_are_those_of_the_attractor():
    found = amplitudes("Rossler")
    parameters = dict(load_system("Rossler").parameters)
    assert parameters == pytest.approx({"a": 0.2, "b": 0.2, "c": 5.7})
    times = np.linspace(200, 1200, 20001)
    states = solve_ivp(roessler, (0, 1200), [1, 1, 1], "DOP853", times, rtol=1e-8).y.T
    flows = np.array([roessler(0, state) for state in states])
    np.testing.assert_allclose(found.deviation, states.std(axis=0), rtol=0.15)
    np.testing.assert_allclose(found.flow, np.sqrt((flows**2).mean(axis=0)), rtol=0.15)
    np.testing.assert_allclose(found.mean, states.mean(axis=0), atol=0.15)


# --- pairs ----------------------------------------------------------------------------------------


def test_pairs_are_different_small_and_held_out_at_their_share():
    held_out = held_out_families(0.3, 0)
    names = system_names()
    pairs = draw_pairs(names, 100, seed=0, held_out=held_out, max_dimension=7)
    assert len(set(pairs)) == len(pairs) == 100
    assert all(driver != response for driver, response in pairs)
    for names_of_pair in pairs:
        members = [load_system(name) for name in names_of_pair]
        assert sum(member.dimension for member in members) <= 7
        assert all(map(can_be_coupled, members))
    assert sum(is_held_out(pair, held_out) for pair in pairs) == 30
    assert pairs == draw_pairs(names, 100, seed=0, held_out=held_out, max_dimension=7)
    assert pairs != draw_pairs(names, 100, seed=1, held_out=held_out, max_dimension=7)


def test_fewer_pairs_when_there_are_no_more():
    pairs = draw_pairs(["Lorenz", "Rossler"], 9, seed=0, held_out=frozenset(), max_dimension=10)
    assert sorted(pairs) == [("Lorenz", "Rossler"), ("Rossler", "Lorenz")]


@pytest.mark.parametrize("name", ["Duffing", "DoubleGyre", "Torus", "DoublePendulum"])
def test_systems_that_depend_on_time_or_have_no_bound_are_not_coupled(name: str):
    with pytest.raises(ConfigError, match=f"{name} cannot be coupled"):
        skew_product(load_system(name), load_system("Lorenz"), "flow")
    assert draw_pairs([name], 1, seed=0, held_out=frozenset(), max_dimension=10) == []


def test_an_unknown_coupling_is_told():
    with pytest.raises(ConfigError, match="diffusive"):
        skew_product(load_system("Lorenz"), load_system("Chen"), "magnetic")
