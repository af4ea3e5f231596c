"""The Koopman probe: a linear latent has R² one and its eigenvalues, noise has nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from support.embedders import Encoding, Persistent, oscillators

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.analysis_config import KoopmanConfig
from tsfm.evaluation.koopman import Koopman, Orbit, analyse_koopman, r_squared, ridge

ANGLES, DECAY = (0.3, 0.8), 0.999


def linear_orbits(count: int = 3, length: int = 120, dim: int = 12, noise: float = 0.0):
    """Two damped rotations, seen through a random linear map."""
    rng = np.random.default_rng(0)
    turn = np.zeros((4, 4))
    for k, angle in enumerate(ANGLES):
        turn[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = DECAY * np.array(
            [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        )
    seen = rng.standard_normal((4, dim))
    orbits = []
    for _ in range(count):
        state = np.empty((length, 4))
        state[0] = rng.standard_normal(4)
        for t in range(1, length):
            state[t] = state[t - 1] @ turn
        states = state @ seen + noise * rng.standard_normal((length, dim))
        orbits.append(Orbit(states - 0.0, state[:, :2]))
    return orbits


def test_a_linear_latent_has_an_r2_of_one_and_its_eigenvalues():
    *train, test = linear_orbits()
    fitted = Koopman.fit(train, rank=8)
    assert fitted.operator.shape == (4, 4)
    wanted = sorted(DECAY * np.exp(1j * sign * angle) for angle in ANGLES for sign in (-1, 1))
    np.testing.assert_allclose(np.sort_complex(fitted.eigenvalues), wanted, atol=1e-6)
    scores = fitted.scores([test], (1, 2, 8, 32))
    assert (scores["latent"] > 0.9999).all()
    assert (scores["state"] > 0.999).all()
    assert (scores["state_still"] < 0.95).all()


def test_noise_is_not_linear():
    rng = np.random.default_rng(1)
    orbits = [Orbit(rng.standard_normal((200, 6)), rng.standard_normal((200, 2))) for _ in range(4)]
    scores = Koopman.fit(orbits[:-1], rank=6).scores(orbits[-1:], (1, 4))
    assert (scores[["latent", "state"]].abs() < 0.1).all(axis=None)
    assert (scores["state_still"] < -0.5).all()


def test_components_beyond_the_rank_are_left_out():
    fitted = Koopman.fit(linear_orbits(noise=0.1), rank=3)
    assert fitted.basis.shape == (12, 3)
    np.testing.assert_allclose(fitted.basis.T @ fitted.basis, np.eye(3), atol=1e-10)


@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_the_penalty_is_the_best_by_leaving_one_out(noise):
    """Against fitting as many regressions as there are samples."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((25, 6))
    y = x @ rng.standard_normal((6, 2)) + noise * rng.standard_normal((25, 2))
    losses = {}
    for alpha in np.geomspace(1e-10, 1e2, 13) * (np.linalg.svd(x)[1] ** 2).mean():
        errors = []
        for row in range(25):
            rest = np.arange(25) != row
            fitted = Ridge(alpha=alpha, fit_intercept=False).fit(x[rest], y[rest])
            errors.append(fitted.predict(x[[row]])[0] - y[row])
        losses[alpha] = np.mean(np.square(errors))
    best = Ridge(alpha=min(losses, key=losses.get), fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(ridge(x, y), best.coef_.T, atol=1e-6)


def test_r2_is_the_libraries():
    rng = np.random.default_rng(3)
    actual, predicted = rng.standard_normal((2, 30, 4)) * [1, 2, 3, 4]
    wanted = r2_score(actual, predicted, multioutput="variance_weighted")
    assert r_squared(predicted, actual) == pytest.approx(wanted)


def test_an_encoder_of_rotations_rotates():
    """Its tokens are linear in the state, so that a stride turns them by the angle times it."""
    panel, angles = oscillators()
    encoder = Encoding(lambda bars: np.stack([bars[..., -1], bars[..., -2]], axis=-1))
    config = KoopmanConfig(stride=4, rank=2, delays=8, steps=(1, 4))
    found = analyse_koopman(encoder, panel, config, context=32)
    table = found.tables["koopman"].set_index(["of", "representation", "step"])["value"]
    assert table.loc["state", "encoder"].min() > 0.999
    assert table.loc["latent", "encoder"].min() > 0.999
    assert table.loc["state", "still"].max() < 0.9
    values = found.tables["koopman_eigenvalues"].query("representation == 'encoder'")
    for system, angle in angles.items():
        turned = values[values["system"] == system]
        found_angles = np.abs(np.angle(turned["real"] + 1j * turned["imaginary"]))
        np.testing.assert_allclose(found_angles, 4 * angle, atol=1e-3)
        np.testing.assert_allclose(turned["modulus"], 1, atol=1e-3)
    assert found.metrics["r2.state.encoder.1"] > 0.999
    assert "16 bars ahead" in found.conclusion


def test_what_cannot_be_fitted_is_told():
    panel, _ = oscillators(count=1)
    config = KoopmanConfig(stride=4, steps=(1,))
    with pytest.raises(DataError, match="two trajectories of one parameter draw"):
        analyse_koopman(Encoding(lambda bars: bars), panel, config, context=32)
    with pytest.raises(ConfigError, match="no encoder"):
        analyse_koopman(Persistent(), panel, config, context=32)
    with pytest.raises(DataError, match="two windows"):
        Koopman.fit([Orbit(np.zeros((1, 3)), np.zeros((1, 1)))], rank=2)
    for steps in ((), (0,), (4, 2)):
        with pytest.raises(ConfigError, match=r"koopman.steps"):
            KoopmanConfig(steps=steps)
