"""The systems against dysts' own equations and trajectories."""

import pickle
import re

import numpy as np
import pytest

from tsfm.data.dynamics import equations
from tsfm.data.dynamics.systems import (
    catalogue_version,
    load_system,
    refused_systems,
    system_names,
)
from tsfm.data.ode import Tolerance, integrate
from tsfm.errors import ConfigError, DataError

COMPILED = ("Lorenz", "ForcedBrusselator", "SprottA", "Coullet", "MacArthur", "BlinkingVortex")


@pytest.fixture(scope="module")
def flows():
    return pytest.importorskip("dysts.flows")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSFM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_equations_are_those_of_dysts(name, flows):
    _assert_equal_flow(name, flows)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(system_names()) - set(COMPILED)))
def test_all_compiled_equations_are_those_of_dysts(name, flows):
    _assert_equal_flow(name, flows)


@pytest.mark.parametrize("name", sorted({**equations.NUMBERS, **equations.ARRAYS}))
def test_equations_written_anew_are_those_of_dysts(name, flows):
    system, theirs = load_system(name), getattr(flows, name)()
    for time, state in _samples(system):
        if name in equations.ARRAYS:
            ours = np.empty(system.dimension)
            equations.ARRAYS[name](time, state, system.vector, ours)
        else:
            ours = np.array(equations.NUMBERS[name](*state, time, *system.vector))
        expected = np.array(theirs.rhs(state, time), dtype=float)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12 * abs(expected).max())


def test_a_trajectory_equals_that_of_dysts(flows):
    system = load_system("Lorenz")
    times, theirs = flows.Lorenz().make_trajectory(
        200, method="DOP853", rtol=1e-12, atol=1e-12, return_times=True
    )
    ours = integrate(
        system.rhs,
        system.initial[None],
        system.vector,
        times,
        tolerance=Tolerance(rtol=1e-12, atol=1e-12),
    )
    np.testing.assert_allclose(ours.states[0], theirs, atol=1e-8)


def test_parameters_can_differ_between_trajectories():
    system = load_system("Lorenz")
    changed = np.tile(system.vector, (2, 1))
    changed[1, system.parameter_names.index("rho")] = 0.5
    solution = integrate(
        system.rhs, np.tile(system.initial, (2, 1)), changed, np.linspace(0, 50, 20)
    )
    assert np.abs(solution.states[0, -1]).max() > 1
    np.testing.assert_allclose(solution.states[1, -1], 0, atol=1e-6)


def test_the_catalogue_has_all_flows_without_delay(flows):
    from dysts.systems import get_attractor_list

    assert system_names() == tuple(get_attractor_list("continuous_no_delay"))
    assert sorted(refused_systems()) == get_attractor_list("delay")
    assert re.fullmatch(r"dysts \d+\.\d+.*", catalogue_version())


@pytest.mark.parametrize("name", system_names())
def test_metadata_are_whole(name):
    system = load_system(name)
    assert system.initial.shape == (system.dimension,)
    assert system.period > 0
    assert np.isfinite(system.lyapunov)
    assert len(system.parameter_names) == system.vector.size == len(set(system.parameter_names))
    assert all(0 <= index < system.dimension for index in system.unbounded)
    assert np.isinf(system.bounds(5.0)).sum() == len(system.unbounded)


def test_array_parameters_are_named_by_index():
    system = load_system("BeerRNN")
    index = system.parameter_names.index("w[0,2]")
    assert system.vector[index] == system.parameters["w"][0, 2] == 2.75


@pytest.mark.parametrize(
    "name", [name for name in system_names() if load_system(name).unbounded or name == "Lorenz"]
)
def test_observables_are_those_of_dysts(name, flows):
    system, theirs = load_system(name), getattr(flows, name)()
    states = system.initial + np.random.default_rng(0).normal(size=(4, 5, system.dimension))
    expected = states
    if hasattr(theirs, "_postprocessing"):
        expected = np.stack(theirs._postprocessing(*np.moveaxis(states, -1, 0)), axis=-1)
    np.testing.assert_allclose(system.observe(states), expected)


def test_states_of_another_dimension_are_refused():
    with pytest.raises(DataError, match="3 states along the last axis"):
        load_system("Lorenz").observe(np.zeros((10, 4)))


def test_systems_travel_between_processes_by_name():
    system = load_system("Duffing")
    copy = pickle.loads(pickle.dumps(system))
    assert copy.name == "Duffing"
    np.testing.assert_array_equal(copy.vector, system.vector)


def test_values_of_a_system_cannot_be_changed():
    system = load_system("Lorenz")
    with pytest.raises(ValueError, match="read-only"):
        system.initial[0] = 1.0
    with pytest.raises(TypeError):
        system.parameters["rho"] = 1.0


def test_an_unknown_name_is_told_its_neighbours():
    with pytest.raises(ConfigError, match=r"no system 'lorens'.*Lorenz"):
        load_system("lorens")
    with pytest.raises(ConfigError, match="system_names"):
        load_system("xxxxxxxxxxxxxxxx")


def test_a_delay_equation_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match="MackeyGlass is not integrated: a delay"):
        load_system("MackeyGlass")


def _samples(system):
    rng = np.random.default_rng(0)
    for _ in range(5):
        state = system.initial * (1 + 0.1 * rng.normal(size=system.dimension))
        yield rng.uniform(0, system.period), state


def _assert_equal_flow(name, flows):
    system, theirs = load_system(name), getattr(flows, name)()
    for time, state in _samples(system):
        ours = np.empty(system.dimension)
        system.rhs.flow(time, state, system.vector, ours)
        expected = np.array(theirs.rhs(state, time), dtype=float)
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12 * abs(expected).max())
