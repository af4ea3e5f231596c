"""Kernels against their closed forms, and their random compositions."""

from __future__ import annotations

import numpy as np
import pytest

from tsfm.data.synthetic import kernels, processes

COUNT, LENGTH = 4_000, 192
LAGS = np.arange(60)


def covariance(paths: np.ndarray) -> np.ndarray:
    return np.array([float((paths[:, : LENGTH - k] * paths[:, k:]).mean()) for k in LAGS])


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("width", [0.4, 1.0, 3.0])
def test_a_periodic_kernel_is_the_exponential_of_a_squared_sine(width):
    paths = kernels.periodic(rng(), np.full(COUNT, 24), np.full(COUNT, width), LENGTH)
    kernel = np.exp(-2 * np.sin(np.pi * LAGS / 24) ** 2 / width**2)
    constant = kernel[:24].mean()
    np.testing.assert_allclose(covariance(paths), (kernel - constant) / (1 - constant), atol=0.06)
    np.testing.assert_allclose(paths[:, :168], paths[:, 24:], atol=1e-5)


def test_mixed_widths_make_the_rational_quadratic_kernel():
    shape, width = 0.8, 6.0
    widths = kernels.rational_widths(rng(), np.full(COUNT, width), np.full(COUNT, shape))
    paths = processes.draw(rng(), processes.smooth(processes.frequencies(LENGTH), widths), LENGTH)
    expected = (1 + LAGS**2 / (2 * shape * width**2)) ** -shape
    np.testing.assert_allclose(covariance(paths)[:30], expected[:30], atol=0.06)


def test_products_of_paths_have_products_of_covariances():
    first = kernels.periodic(rng(), np.full(COUNT, 24), np.full(COUNT, 1.0), LENGTH)
    density = processes.autoregressive(processes.frequencies(LENGTH), np.full(COUNT, 20.0))
    second = processes.draw(np.random.default_rng(4), density, LENGTH)
    expected = covariance(first) * covariance(second)
    np.testing.assert_allclose(covariance(first * second), expected, atol=0.06)


@pytest.mark.parametrize("kind", kernels.KINDS)
def test_every_kind_is_finite_centred_and_of_unit_size(kind):
    paths = kernels.path(rng(), kind, COUNT, LENGTH)
    assert paths.shape == (COUNT, LENGTH)
    assert np.isfinite(paths).all()
    assert float(paths.mean()) == pytest.approx(0, abs=0.1)
    assert float((paths**2).mean()) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_compositions_are_finite_and_not_all_alike(most):
    paths = kernels.compositions(rng(), 200, LENGTH, most)
    assert paths.shape == (200, LENGTH)
    assert np.isfinite(paths).all()
    correlation = np.corrcoef(paths[paths.std(axis=1) > 1e-3])
    assert np.abs(np.triu(correlation, 1)).mean() < 0.3
