"""Inputs that change at given times, against exact solutions."""

import importlib
import pickle
import sys

import numpy as np
import pytest

from tsfm.data.ode import compile_rhs, compile_sampler, compile_source, integrate
from tsfm.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("cache")


def test_segments_with_constant_inputs_equal_the_exact_solution():
    source = (
        "def rhs(t, state, parameters, out):\n    out[0] = parameters[1] - parameters[0] * state[0]"
    )
    rhs, rate = compile_source("infusion", source), np.array([[0.5], [2.0]])
    state, exact = np.array([[1.0], [0.0]]), np.array([1.0, 0.0])
    for dose, begin, end in ((3.0, 0.0, 1.0), (0.0, 1.0, 1.5), (10.0, 1.5, 4.0)):
        inputs = np.hstack([rate, np.full((2, 1), dose)])
        state = integrate(rhs, state, inputs, [begin, end]).states[:, -1]
        rest = dose / rate[:, 0]
        exact = rest + (exact - rest) * np.exp(-rate[:, 0] * (end - begin))
        np.testing.assert_allclose(state[:, 0], exact, rtol=1e-8)


def infusion(t, state, parameters, out):
    out[0] = parameters[1] - parameters[0] * state[0]


def hold(t, state, parameters, signal):
    """The dose holds until the next time; what is there now, and the doses so far, are noted."""
    parameters[1] = signal[0]
    parameters[2] += signal[0]
    signal[1], signal[2] = state[0], parameters[2]


def thermostat(t, state, parameters, signal):
    """Switch on below 1, off above 2; every tenth time the state is halved."""
    if state[0] < 1.0:
        parameters[1] = 3.0
    elif state[0] > 2.0:
        parameters[1] = 0.0
    if round(t) % 10 == 0:
        state[0] /= 2
    signal[0] = parameters[1]


def test_a_sampler_holds_inputs_between_times():
    rng = np.random.default_rng(0)
    rates, times = rng.uniform(0.2, 3, (21, 1)), np.cumsum(rng.uniform(0.1, 2, 30))
    doses, start = rng.uniform(0, 5, (21, 30)), rng.normal(size=(21, 1))
    signals = np.stack([doses, np.full_like(doses, np.nan), np.zeros_like(doses)], axis=2)
    parameters = np.hstack([rates, np.full((21, 1), 99.0), np.zeros((21, 1))])
    arguments = (compile_rhs(infusion), start, parameters, times)
    held = integrate(*arguments, sampler=compile_sampler(hold), signals=signals, workers=1)
    assert held.ok.all()
    exact = [start[:, 0]]
    for k, length in enumerate(np.diff(times)):
        rest = doses[:, k] / rates[:, 0]
        exact.append(rest + (exact[-1] - rest) * np.exp(-rates[:, 0] * length))
    np.testing.assert_allclose(held.states[..., 0], np.stack(exact, axis=1), rtol=1e-8)
    np.testing.assert_array_equal(held.signals[..., 1], held.states[..., 0])
    np.testing.assert_allclose(held.signals[..., 2], doses.cumsum(axis=1))
    assert np.isnan(signals[..., 1]).all()
    assert parameters[:, 2].sum() == 0
    shared = integrate(*arguments, sampler=compile_sampler(hold), signals=signals, workers=2)
    np.testing.assert_array_equal(shared.states, held.states)
    np.testing.assert_array_equal(shared.signals, held.signals)


def test_a_sampler_closes_a_loop_and_may_move_the_state():
    times, sampler = np.arange(40.0), compile_sampler(thermostat)
    rates = np.array([0.3, 0.5, 0.9])
    solution = integrate(
        compile_rhs(infusion),
        np.full((3, 1), 5.0),
        np.stack([rates, np.zeros(3)], axis=1),
        times,
        sampler=sampler,
        signals=np.zeros((3, 40, 1)),
    )
    for item, rate in enumerate(rates):
        state, dose = 5.0, 0.0
        for k in range(40):
            assert solution.states[item, k, 0] == pytest.approx(state, rel=1e-7)
            dose = 3.0 if state < 1 else 0.0 if state > 2 else dose
            state = state / 2 if k % 10 == 0 else state
            assert solution.signals[item, k, 0] == dose
            state = dose / rate + (state - dose / rate) * np.exp(-rate)
    assert pickle.loads(pickle.dumps(sampler)) is sampler


def test_samplers_and_signals_that_do_not_fit_are_refused():
    arguments = (compile_rhs(infusion), [[1.0]], [1.0, 0.0, 0.0], [0.0, 1.0])
    with pytest.raises(ConfigError, match="no sampler"):
        integrate(*arguments, signals=np.zeros((1, 2, 3)))
    with pytest.raises(DataError, match=r"signals have shape \(1, 3, 1\)"):
        integrate(*arguments, sampler=compile_sampler(hold), signals=np.zeros((1, 3, 1)))
    with pytest.raises(ConfigError, match="is no sampler"):
        compile_sampler(lambda t, state: None)


MODULE = """
from numba import njit

from sampled_constants import FACTOR


@njit
def scaled(value):
    return FACTOR * value


def sample(t, state, parameters, signal):
    signal[0] = scaled(1.0)
"""


def test_a_constant_of_another_module_that_changes_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "sampled_module.py").write_text(MODULE)
    found = []
    for factor in (2.0, 3.0):
        (tmp_path / "sampled_constants.py").write_text(f"FACTOR = {factor}\n")
        for name in ("sampled_constants", "sampled_module"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        sampler = compile_sampler(importlib.import_module("sampled_module").sample)
        arguments = (compile_rhs(infusion), [[1.0]], [1.0, 0.0, 0.0], [0.0, 1.0])
        solution = integrate(*arguments, sampler=sampler, signals=np.zeros((1, 2, 1)))
        found.append(solution.signals[0, :, 0].tolist())
    assert found == [[2.0, 2.0], [3.0, 3.0]]
