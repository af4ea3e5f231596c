"""Context against precision: orbits held to another integrator, errors and laws to planted ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import solve_ivp
from support.embedders import Persistent
from support.patchtst import make_patchtst

from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.dynamics.systems import load_system
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation import orbits as made_orbits
from tsfm.evaluation import precision
from tsfm.evaluation.analysis_config import PrecisionConfig
from tsfm.evaluation.orbits import Orbits, make_orbits
from tsfm.evaluation.precision import (
    analyse_precision,
    forecast_error,
    growth,
    longest_context,
    mean_curve,
)
from tsfm.models.parroting import Parroting

ENSEMBLE = EnsembleConfig(systems=("Lorenz", "Rossler"), points=256, n_skew=0)
CONFIG = PrecisionConfig(
    lengths=(16, 64), rtols=(1e-1, 1e-4, 1e-7), starts=2, windows=2, integrated=800
)


@pytest.fixture(scope="module")
def orbits() -> Orbits:
    return make_orbits(ENSEMBLE, CONFIG, longest=64, horizon=32)


def test_orbits_are_the_systems(orbits):
    """The reference goes on from its own past, as another library integrates it."""
    assert orbits.systems == ("Lorenz",) * 4 + ("Rossler",) * 4
    exact = CONFIG.reference_rtol
    past, future = orbits.past[exact], orbits.future[exact]
    assert past.shape == (8, 64, 3)
    assert future.shape == (8, 32, 3)
    np.testing.assert_allclose(orbits.exact[:, :32], future, atol=1e-9)
    np.testing.assert_array_equal(past[1, -32:], future[0])

    system = load_system("Lorenz")
    sigma, rho, beta = (system.parameters[name] for name in ("sigma", "rho", "beta"))

    def lorenz(t, s):
        x, y, z = s
        return [sigma * (y - x), x * (rho - z) - y, x * y - beta * z]

    step = system.period / ENSEMBLE.points_per_period
    times = step * np.arange(33)
    slow = solve_ivp(lorenz, (0, times[-1]), past[0, -1], "DOP853", times, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(future[0], slow.y.T[1:], atol=1e-6)
    np.testing.assert_allclose(orbits.rate[0], system.lyapunov * step)


def test_systems_that_fail_are_left_out_and_named(monkeypatch):
    config = PrecisionConfig(lengths=(16,), rtols=(1e-3,), starts=1, windows=1, integrated=16)
    integrated = made_orbits._integrated

    def failing(subject, *given):
        return None if subject.name == "Rossler" else integrated(subject, *given)

    monkeypatch.setattr(made_orbits, "_integrated", failing)
    found = analyse_precision({"p": Persistent()}, ENSEMBLE, config, horizon=8)
    assert found.conclusion.endswith("fails at one of the precisions: Rossler.")
    assert set(found.tables["context"]["systems"]) == {1}
    monkeypatch.setattr(made_orbits, "_integrated", lambda *given: None)
    with pytest.raises(DataError, match="no system could be integrated"):
        analyse_precision({"p": Persistent()}, ENSEMBLE, config, horizon=8)


def test_looser_integration_errs_sooner(orbits):
    errors = [
        np.linalg.norm((orbits.integrated[rtol] - orbits.exact) / orbits.spread[:, None], axis=2)
        for rtol in CONFIG.rtols
    ]
    at_end = [np.exp(np.log(np.maximum(error[:, 200:300], 1e-15)).mean()) for error in errors]
    assert at_end[0] > 10 * at_end[1] > 100 * at_end[2]
    tight = growth(mean_curve(errors[2], orbits.rate))
    assert 0.4 < tight < 2.5


def planted(rtols: tuple[float, ...], windows: int = 24, horizon: int = 40) -> Orbits:
    """A system that stands still at zero: errors are what forecasters say."""
    future = np.zeros((windows, horizon, 1))
    return Orbits(
        past={rtol: np.zeros((windows, 512, 1)) for rtol in rtols},
        future=dict.fromkeys(rtols, future),
        exact=np.zeros((windows, 100, 1)),
        integrated={
            rtol: np.minimum(rtol * np.exp(0.1 * np.arange(1, 101)), 1)[None, :, None]
            * np.ones((windows, 1, 1))
            for rtol in rtols
        },
        spread=np.ones((windows, 1)),
        rate=np.full(windows, 0.1),
        systems=tuple(f"S{k % 8}" for k in range(windows)),
    )


def test_a_planted_law_and_planted_growth_are_found(monkeypatch):
    config = PrecisionConfig(lengths=(16, 64, 256), rtols=(1e-1, 1e-3), threshold=0.1)
    rtols = (*config.rtols, config.reference_rtol)
    monkeypatch.setattr(precision, "make_orbits", lambda *given, **named: planted(rtols))
    better_by_length = Persistent(lambda context: context.length**-0.5)
    found = analyse_precision({"m": better_by_length}, ENSEMBLE, config, horizon=40)
    (law,) = found.tables["context_law"].to_dict("records")
    assert law["slope"] == pytest.approx(-0.5)
    assert law["high"] == pytest.approx(-0.5)
    table = found.tables["context"].set_index(["model", "context", "rtol"])
    exact = config.reference_rtol
    assert table.loc[("m", 16, exact), "first_error"] == pytest.approx(0.25)
    assert table.loc[("m", 16, exact), "valid_time"] == 0
    assert table.loc[("m", 256, exact), "valid_time"] == pytest.approx(4.0)
    row = table.loc[("integration", 0, 1e-3)]
    assert row["growth"] == pytest.approx(1, abs=1e-3)
    assert row["valid_time"] == pytest.approx(np.log(100), abs=0.11)
    assert table.loc[("integration", 0, 1e-1), "valid_time"] == 0
    assert "outlasts integrating the true equations at rtol 0.1" in found.conclusion
    assert found.metrics["valid_time.m.256.0.1"] == pytest.approx(4.0)


def test_errors_are_root_mean_squares_in_units_of_the_attractor(orbits):
    exact = CONFIG.reference_rtol
    error = forecast_error(Persistent(), orbits, 16, exact)
    row, step = 5, 7
    gap = orbits.future[exact][row, step] - orbits.past[exact][row, -1]
    wanted = np.sqrt(np.mean((gap / orbits.spread[row]) ** 2))
    assert error[row, step] == pytest.approx(wanted, rel=1e-5)


def test_parroting_gains_by_longer_contexts():
    config = PrecisionConfig(lengths=(32, 512), rtols=(1e-4,), starts=4, integrated=128)
    found = analyse_precision({"parroting": Parroting()}, ENSEMBLE, config, horizon=64)
    table = found.tables["context"].set_index(["model", "context", "rtol"])["valid_time"]
    exact = config.reference_rtol
    assert table["parroting", 512, exact] > 1.5 * table["parroting", 32, exact]
    assert found.tables["context_law"]["slope"].iloc[0] < -0.1
    assert set(found.figures) == {"context"}


def test_contexts_beyond_the_models_are_left_out():
    assert longest_context(make_patchtst(context=64, patch=8)) == 64
    assert longest_context(Parroting(max_history=700)) == 700
    assert longest_context(Persistent()) == 10**9
    config = PrecisionConfig(lengths=(128, 256))
    model = make_patchtst(context=64, patch=8)
    with pytest.raises(DataError, match=r"sees 64 bars.*lengths=\[64\]"):
        analyse_precision({"patchtst": model}, ENSEMBLE, config, horizon=8)


def test_growth_is_that_before_saturation():
    time = np.linspace(0, 8, 81)
    curve = pd.DataFrame({"time": time, "error": np.minimum(1e-3 * np.exp(1.7 * time), 1.0)})
    assert growth(curve) == pytest.approx(1.7)
    assert np.isnan(growth(curve.assign(error=0.9)))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lengths": (64, 32)}, r"precision.lengths"),
        ({"lengths": (4,)}, r"precision.lengths"),
        ({"rtols": (1e-6, 1e-3)}, r"precision.rtols"),
        ({"rtols": (0.5,)}, r"precision.rtols"),
        ({"reference_rtol": 1e-3}, r"precision.reference_rtol"),
        ({"threshold": 0.0}, r"precision.threshold"),
        ({"starts": 0}, r"precision.starts"),
    ],
)
def test_mistakes_are_told(fields, told):
    with pytest.raises(ConfigError, match=told):
        PrecisionConfig(**fields)
