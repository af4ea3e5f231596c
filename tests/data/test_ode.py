"""The integrator against exact solutions, scipy, and its own promises."""

import pickle
from math import cos, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from tsfm.data.ode import (
    Status,
    Tolerance,
    compile_rhs,
    compile_source,
    couple,
    integrate,
)
from tsfm.errors import ConfigError, DataError, UserError

pytestmark = pytest.mark.usefixtures("cache")

TIGHT = Tolerance(rtol=1e-12, atol=1e-13)


def lorenz(t, state, parameters, out):
    x, y, z = state[0], state[1], state[2]
    out[0] = parameters[2] * (y - x)
    out[1] = parameters[1] * x - x * z - y
    out[2] = x * y - parameters[0] * z


def linear(t, state, parameters, out):
    count = len(state)
    for row in range(count):
        out[row] = 0.0
        for column in range(count):
            out[row] += parameters[row * count + column] * state[column]


def kepler(t, state, parameters, out):
    cube = (state[0] ** 2 + state[1] ** 2) ** 1.5
    out[0], out[1] = state[2], state[3]
    out[2], out[3] = -parameters[0] * state[0] / cube, -parameters[0] * state[1] / cube


def forced(t, state, parameters, out):
    """d state / dt = a cos(w t + phase): its own solution is known."""
    out[0] = parameters[0] * cos(parameters[1] * t + parameters[2])


def power(t, state, parameters, out):
    """Blows up at t = 1 / state for parameter 1; decays for -1."""
    out[0] = parameters[0] * state[0] ** 2


def root(t, state, parameters, out):
    """No number beyond t = 1."""
    out[0] = sqrt(1.0 - t)


def van_der_pol(t, state, parameters, out):
    out[0] = state[1]
    out[1] = parameters[0] * (1 - state[0] ** 2) * state[1] - state[0]


def test_lorenz_equals_scipy_over_three_lyapunov_times():
    times = np.linspace(0, 3 / 0.9, 200)
    parameters, start = np.array([2.667, 28.0, 10.0]), np.array([-9.8, -15.0, 20.5])
    ours = integrate(compile_rhs(lorenz), start[None], parameters, times, tolerance=TIGHT)
    reference = _scipy(lorenz, start, parameters, times, "DOP853")
    np.testing.assert_allclose(ours.states[0], reference, atol=2e-9)


def test_a_mildly_stiff_oscillator_equals_an_implicit_method():
    times = np.linspace(0, 20, 60)
    ours = integrate(compile_rhs(van_der_pol), [[2.0, 0.0]], [8.0], times, tolerance=TIGHT)
    reference = _scipy(van_der_pol, np.array([2.0, 0.0]), np.array([8.0]), times, "Radau")
    np.testing.assert_allclose(ours.states[0], reference, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 6), batch=st.integers(1, 19))
def test_linear_systems_equal_the_matrix_exponential(seed, size, batch):
    rng = np.random.default_rng(seed)
    matrices = rng.normal(size=(batch, size, size)) / np.sqrt(size)
    start = rng.normal(size=(batch, size))
    times = np.cumsum(rng.uniform(0.01, 1.0, 5))
    rhs = compile_rhs(linear)
    solution = integrate(
        rhs, start, matrices.reshape(batch, -1), times, tolerance=TIGHT, bound=None
    )
    assert solution.ok.all()
    exact = np.array(
        [
            [expm(matrix * (time - times[0])) @ state for time in times]
            for matrix, state in zip(matrices, start)
        ]
    )
    np.testing.assert_allclose(solution.states, exact, rtol=1e-9, atol=1e-10)


def test_the_energy_of_an_oscillator_and_the_invariants_of_an_orbit_are_kept():
    rotation = [[0.0, 1.0, -1.0, 0.0]]
    turns = integrate(compile_rhs(linear), [[1.0, 0.0]], rotation, np.linspace(0, 200, 500))
    np.testing.assert_allclose(np.square(turns.states[0]).sum(axis=1), 1.0, atol=1e-7)
    orbit = integrate(
        compile_rhs(kepler),
        [[0.4, 0.0, 0.0, 2.0]],
        [1.0],
        np.linspace(0, 20 * np.pi, 500),
        tolerance=Tolerance(rtol=1e-11, atol=1e-12),
    ).states[0]
    x, y, u, v = orbit.T
    np.testing.assert_allclose((u**2 + v**2) / 2 - 1 / np.hypot(x, y), -0.5, atol=1e-8)
    np.testing.assert_allclose(x * v - y * u, 0.8, atol=1e-8)
    np.testing.assert_allclose(orbit[-1], orbit[0], atol=1e-6)


def test_the_method_is_of_order_eight():
    errors, steps = [], []
    for rtol in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10):
        solution = integrate(
            compile_rhs(linear),
            [[1.0, 0.0]],
            [[0.0, 1.0, -1.0, 0.0]],
            [0.0, 100.0],
            tolerance=Tolerance(rtol=rtol, atol=rtol),
        )
        errors.append(np.hypot(*(solution.states[0, -1] - [np.cos(100.0), -np.sin(100.0)])))
        steps.append(solution.steps[0])
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert -9.5 < slope < -7.0


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.floats(0.0, 12.0), min_size=1, max_size=40, unique=True),
    frequency=st.floats(0.1, 4.0),
    phase=st.floats(-3.0, 3.0),
)
def test_output_at_any_time_is_as_exact_as_the_steps_and_moves_none_of_them(
    times, frequency, phase
):
    rhs, spread = compile_rhs(forced), np.array([-1.0, *sorted(times), 13.0])
    parameters = np.array([2.0, frequency, phase])
    spread = spread[np.append(True, np.diff(spread) > 0)]
    solution = integrate(rhs, [[0.5]], parameters, spread)
    gained = np.sin(frequency * spread + phase) - np.sin(phase - frequency)
    np.testing.assert_allclose(solution.states[0, :, 0], 0.5 + 2 / frequency * gained, atol=1e-7)
    ends = integrate(rhs, [[0.5]], parameters, spread[[0, -1]])
    assert ends.steps == solution.steps
    np.testing.assert_array_equal(ends.states[0, -1], solution.states[0, -1])


def test_results_depend_neither_on_threads_nor_on_the_rest_of_the_batch():
    rng = np.random.default_rng(0)
    start, times = rng.normal(size=(150, 3)) * 5, np.linspace(0, 10, 50)
    parameters = np.array([2.667, 28.0, 10.0]) * rng.uniform(0.9, 1.1, (150, 1))
    rhs = compile_rhs(lorenz)
    alone = integrate(rhs, start, parameters, times, workers=1)
    for workers in (2, 3):
        shared = integrate(rhs, start, parameters, times, workers=workers)
        np.testing.assert_array_equal(shared.states, alone.states)
        np.testing.assert_array_equal(shared.steps, alone.steps)
    some = rng.permutation(150)[:21]
    np.testing.assert_array_equal(
        integrate(rhs, start[some], parameters[some], times).states, alone.states[some]
    )


def test_each_trajectory_has_its_own_times():
    times = np.array([[0.0, 1.0, 2.0], [5.0, 5.5, 9.0], [-3.0, -2.0, 7.0]])
    parameters = np.array([[1.0, 1.0, 0.0]] * 3)
    states = integrate(compile_rhs(forced), np.zeros((3, 1)), parameters, times).states[..., 0]
    np.testing.assert_allclose(states, np.sin(times) - np.sin(times[:, :1]), atol=1e-8)


def test_a_trajectory_that_passes_the_bound_stops_there_and_leaves_the_others_alone():
    times = np.linspace(0, 2, 21)
    solution = integrate(
        compile_rhs(power), [[1.0], [1.0], [0.25]], [[1.0], [-1.0], [1.0]], times, bound=100.0
    )
    assert solution.status.tolist() == [Status.DIVERGED, Status.OK, Status.OK]
    exploded = solution.states[0, :, 0]
    np.testing.assert_allclose(exploded[:9], 1 / (1 - times[:9]), rtol=1e-7)
    assert np.isnan(exploded[10:]).all()
    np.testing.assert_allclose(solution.states[1, :, 0], 1 / (1 + times), atol=1e-8)
    np.testing.assert_allclose(solution.states[2, :, 0], 1 / (4 - times), atol=1e-8)


def test_a_bound_of_its_own_for_each_component():
    spiral = [[0.5, 1.0, -1.0, 0.5]]
    wide = integrate(compile_rhs(linear), [[1, 0]], spiral, [0, 8.0], bound=[np.inf, np.inf])
    narrow = integrate(compile_rhs(linear), [[1, 0]], spiral, [0, 8.0], bound=[np.inf, 3.0])
    assert (wide.status[0], narrow.status[0]) == (Status.OK, Status.DIVERGED)


def test_numbers_that_stop_being_numbers_end_a_trajectory():
    times = np.linspace(0, 2, 21)
    solution = integrate(compile_rhs(root), [[0.0]], [0.0], times)
    assert solution.status[0] == Status.NAN
    np.testing.assert_allclose(
        solution.states[0, :9, 0], 2 / 3 * (1 - (1 - times[:9]) ** 1.5), atol=1e-7
    )
    assert np.isnan(solution.states[0, 11:]).all()


def test_limits_of_steps_and_of_time_end_a_trajectory():
    stiff = (compile_rhs(linear), [[1.0]], [[-1e7]], [0.0, 1.0, 100.0])
    few = integrate(*stiff, tolerance=Tolerance(max_steps=500))
    assert (few.status[0], few.steps[0]) == (Status.STEPS, 500)
    assert np.isnan(few.states[0, 2]).all()
    late = integrate(*stiff, tolerance=Tolerance(max_steps=10**9, max_seconds=0.05))
    assert late.status[0] == Status.TIME
    assert late.steps[0] < 10**8


def test_a_singularity_cannot_stall_the_integrator():
    solution = integrate(compile_rhs(power), [[1.0]], [1.0], [0.0, 2.0], bound=None)
    assert solution.status[0] in (Status.STEPS, Status.NAN, Status.DIVERGED)
    assert solution.steps[0] < 5000


def test_one_time_and_no_trajectory():
    rhs = compile_rhs(power)
    np.testing.assert_array_equal(integrate(rhs, [[3.0]], [1.0], [7.0]).states, [[[3.0]]])
    assert integrate(rhs, np.empty((0, 1)), [1.0], [0.0, 1.0]).states.shape == (0, 2, 1)


def test_a_coupled_right_hand_side_equals_the_one_written_out():
    def push(t, state, parameters, out):
        out[3] += parameters[4] * out[1]

    def whole(t, state, parameters, out):
        lorenz_(t, state, parameters, out)
        out[3] = parameters[3] * state[3] ** 2 + parameters[4] * out[1]

    lorenz_ = compile_rhs(lorenz).flow
    coupled = couple(
        compile_rhs(lorenz),
        compile_rhs(power),
        compile_rhs(push),
        driver_states=3,
        driver_parameters=3,
        response_parameters=1,
    )
    start, parameters = [[-9.8, -15.0, 20.5, 0.1]], [2.667, 28.0, 10.0, -0.1, 0.01]
    times = np.linspace(0, 5, 20)
    ours = integrate(coupled, start, parameters, times)
    np.testing.assert_array_equal(
        ours.states, integrate(compile_rhs(whole), start, parameters, times).states
    )
    out = np.zeros(4)
    coupled.flow(0.0, np.array(start[0]), np.array(parameters), out)
    assert out[3] == pytest.approx(-0.1 * 0.1**2 + 0.01 * out[1])
    with pytest.raises(ConfigError, match="coupled already"):
        couple(
            coupled, coupled, coupled, driver_states=1, driver_parameters=1, response_parameters=1
        )


def test_compiled_code_is_kept_on_disk_and_sent_by_recipe(cache):
    source = "def rhs(t, state, parameters, out):\n    out[0] = -3.5 * state[0]"
    before = set(cache.glob("rhs/*.py"))
    rhs = compile_source("decay", source)
    assert len(set(cache.glob("rhs/*.py")) - before) == 1
    assert compile_source("decay", source) is rhs
    assert pickle.loads(pickle.dumps(rhs)) is rhs
    assert list(cache.glob("rhs/__pycache__/*.nbc"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TSFM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="TSFM_CACHE"):
        compile_source("growth", "def rhs(t, state, parameters, out):\n    out[0] = state[0]")


@pytest.mark.parametrize("bad", [None, "f", lambda t, state: None, np.sin])
def test_what_is_no_right_hand_side_is_refused(bad):
    with pytest.raises(ConfigError, match="is no right-hand side"):
        compile_rhs(bad)


def test_what_does_not_compile_is_refused():
    def broken(t, state, parameters, out):
        out[0] = state.no_such_thing()

    with pytest.raises(ConfigError, match="broken does not compile"):
        compile_rhs(broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial": [1.0]}, "initial has shape"),
        ({"initial": [[np.nan]]}, "not finite"),
        ({"parameters": [[1.0], [2.0]]}, "parameters has 2 items but initial has 1"),
        ({"times": []}, "times has shape"),
        ({"times": [[0.0, 1.0], [0.0, 1.0]]}, "times has shape"),
        ({"times": [0.0, 0.0]}, "do not increase"),
        ({"times": [1.0, 0.0]}, "do not increase"),
        ({"times": [0.0, np.inf]}, "do not increase"),
        ({"bound": -1.0}, "bound=-1.0 is not positive"),
        ({"bound": [1.0, 2.0]}, "bound has shape"),
        ({"workers": 0}, "workers=0"),
        ({"tolerance": Tolerance(atol=[1e-9, 1e-9])}, "atol has shape"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    arguments = {"initial": [[1.0]], "parameters": [1.0], "times": [0.0, 1.0]} | changes
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        integrate(compile_rhs(power), **arguments)
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    "values", [{"rtol": 0.0}, {"rtol": 1.0}, {"atol": 0.0}, {"max_steps": 0}, {"max_seconds": -1.0}]
)
def test_bad_tolerances_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Tolerance(**values)


def _scipy(rhs, start, parameters, times, method):
    def slope(t, state):
        out = np.empty_like(state)
        rhs(t, state, parameters, out)
        return out

    span = times[0], times[-1]
    return solve_ivp(slope, span, start, t_eval=times, method=method, rtol=1e-12, atol=1e-13).y.T
