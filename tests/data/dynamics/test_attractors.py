from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from support.attractors import CHAOTIC, flow, lorenz, roessler, spiral, torus, van_der_pol

from tsfm.data.dynamics.attractor_config import AttractorConfig
from tsfm.data.dynamics.attractors import (
    TESTS,
    Verdict,
    count_failures,
    judge_attractor,
    judge_attractors,
    thresholds,
)
from tsfm.errors import ConfigError, DataError

TIME = 2 * np.pi * np.arange(1024) / 32


@pytest.mark.parametrize("name", CHAOTIC)
@pytest.mark.parametrize(("periods", "points"), [(32, 1024), (40, 2048)])
def test_known_chaotic_systems_pass_every_test(name: str, periods: int, points: int) -> None:
    rhs, period = CHAOTIC[name]
    states = flow(rhs, period, periods=periods, points=points)
    verdict = judge_attractor(states, dt=periods * period / points, period=period)
    assert verdict.passed, verdict.failures
    assert tuple(verdict.tests) == TESTS[:-1]
    assert all(
        outcome.threshold == pytest.approx(limit)
        for outcome, limit in zip(verdict.tests.values(), thresholds(AttractorConfig()).values())
    )


def _planted() -> dict[str, tuple[np.ndarray, str]]:
    """Degenerate trajectories and the test that must catch each."""
    chaos = flow(lorenz, 0.75)
    drift = np.linspace(0, 80, 1024)[:, None]
    spiked = chaos.copy()
    spiked[500] += 500
    walk = np.random.default_rng(0).standard_normal((1024, 3)).cumsum(axis=0)
    two = np.stack([np.sin(TIME) + 0.5 * np.sin(np.sqrt(2) * TIME), np.cos(np.sqrt(3) * TIME)])
    return {
        "large": (chaos * 1e4, "bounded"),
        "growing": (np.exp(np.outer(np.linspace(0, 12, 1024), [1, 0.9])), "bounded"),
        "spiked": (spiked, "zscore"),
        "fixed": (flow(spiral, 6.28, transient=0, argument=0.3), "not_fixed"),
        "at rest": (np.ones((1024, 3)), "not_fixed"),
        "stable focus": (flow(lorenz, 0.75, argument=10.0, transient=0), "not_fixed"),
        "decaying": (flow(spiral, 6.28, transient=0, argument=0.02), "not_decaying"),
        "slowly decaying": (flow(spiral, 6.28, transient=0, argument=0.005), "not_decaying"),
        "on a line": (np.outer(chaos[:, 0], [1.0, 2.0, 3.0]), "not_line"),
        "ramp": (np.outer(np.arange(1024.0), [1.0, 2.0]), "not_line"),
        "circle": (np.stack([np.cos(TIME), np.sin(TIME)], axis=1), "not_cycle"),
        "van der Pol": (
            flow(van_der_pol, 11.6, argument=5.0, initial=(1.0, 1.0)),
            "not_cycle",
        ),
        "period 2": (flow(roessler, 5.86, argument=3.5, transient=200), "not_cycle"),
        "period 4": (flow(roessler, 5.86, argument=4.0, transient=200), "not_cycle"),
        "torus": (torus(), "broadband"),
        "two frequencies": (two.T, "broadband"),
        "drifting": (chaos + drift, "stationary"),
        "random walk": (walk, "stationary"),
    }


@pytest.mark.parametrize("name", _planted())
def test_planted_trajectories_fail_by_the_right_test(name: str) -> None:
    states, expected = _planted()[name]
    verdict = judge_attractor(states)
    assert not verdict.passed
    assert verdict.failures[0] == expected


@pytest.mark.parametrize("ratio", [0.618, np.sqrt(2), np.sqrt(3) / 7, np.pi])
def test_quasi_periodic_motion_fails_the_zero_one_test_too(ratio: float) -> None:
    failures = judge_attractor(torus(ratio=ratio)).failures
    assert {"broadband", "zero_one"} <= set(failures)


def test_stable_systems_have_no_positive_exponent() -> None:
    for states in (
        flow(spiral, 6.28, transient=0, argument=0.02),
        flow(lorenz, 0.75, argument=10.0, transient=0),
    ):
        assert "lyapunov" in judge_attractor(states).failures


def test_a_diverged_trajectory_has_only_one_verdict() -> None:
    states = flow(lorenz, 0.75).copy()
    states[700:] = np.nan
    verdict = judge_attractor(states)
    assert verdict.failures == tuple(verdict.tests) == ("bounded",)
    assert verdict.tests["bounded"].value == np.inf


def test_two_tolerances_must_agree_over_a_lyapunov_time() -> None:
    times = {"transient": 0, "points": 1024}
    fine, coarse = (flow(lorenz, 0.75, rtol=rtol, **times) for rtol in (1e-10, 1e-8))
    rough = flow(lorenz, 0.75, rtol=1e-2, **times)
    dt = 32 * 0.75 / 1023
    agreed = judge_attractor(fine, dt=dt, lyapunov=0.906, convergence=coarse)
    outcome = agreed.tests["convergent"]
    assert outcome.passed
    until = int(np.ceil(1 / (0.906 * dt)))
    apart = (coarse - fine)[: until + 1] / fine.std(axis=0)
    assert outcome.value == pytest.approx(np.sqrt((apart**2).mean(axis=1)).max())
    verdict = judge_attractor(fine, dt=dt, lyapunov=0.906, convergence=rough)
    assert not verdict.tests["convergent"].passed
    for rate in (None, 1e-9):
        measured = judge_attractor(fine, dt=dt, lyapunov=rate, convergence=coarse)
        assert measured.tests["convergent"].passed is (rate is None)
    lost = np.full_like(coarse, np.nan)
    assert judge_attractor(fine, convergence=lost).tests["convergent"].value == np.inf


def test_a_batch_is_judged_as_one_by_one_whatever_the_threads() -> None:
    states = np.stack(
        [flow(rhs, period) for rhs, period in CHAOTIC.values()]
        + [np.column_stack([torus()]), np.full((1024, 3), np.inf), np.ones((1024, 3))]
    )
    dt = np.linspace(0.01, 0.1, len(states))
    alone = [judge_attractor(one, dt=step) for one, step in zip(states, dt)]
    for workers in (1, 3):
        together = judge_attractors(states, dt=dt, workers=workers)
        assert [_values(verdict) for verdict in together] == [_values(one) for one in alone]
    assert count_failures(alone) == {"bounded": 1, "not_fixed": 1, "broadband": 1}


def test_the_verdict_does_not_depend_on_units() -> None:
    states = flow(roessler, 5.86)
    one, other = judge_attractor(states), judge_attractor(states * [1, 1e2, 1e-4] - 7)
    for name in TESTS[1:-1]:
        assert other.tests[name].value == pytest.approx(one.tests[name].value, rel=1e-6), name


def test_thresholds_decide() -> None:
    states = flow(lorenz, 0.75)
    strict = {
        "bounded": {"max_value": 1.0},
        "zscore": {"max_zscore": 1.0},
        "not_fixed": {"min_tail_range": 1.0},
        "not_line": {"max_line_share": 0.4},
        "not_cycle": {"max_cycle_share": 1e-3},
        "broadband": {"min_spectral_floor": 0.5},
        "zero_one": {"min_zero_one": 1.0},
        "lyapunov": {"min_lyapunov": 9.0},
    }
    for name, change in strict.items():
        assert judge_attractor(states, AttractorConfig(**change)).failures == (name,)


def test_every_bad_threshold_is_refused() -> None:
    for item in fields(AttractorConfig):
        with pytest.raises(ConfigError, match=item.name):
            AttractorConfig(**{item.name: float("-inf")})


def test_unusable_shapes_are_refused() -> None:
    for shape in ((1024, 3), (1, 100, 3), (1, 1024, 1)):
        with pytest.raises(DataError, match="have shape"):
            judge_attractors(np.zeros(shape))
    with pytest.raises(DataError, match="second integration"):
        judge_attractor(flow(lorenz, 0.75), convergence=np.zeros((500, 3)))


def _values(verdict: Verdict) -> dict[str, float]:
    return {name: round(outcome.value, 9) for name, outcome in verdict.tests.items()}
