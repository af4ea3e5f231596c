"""What each augmentation of coordinates keeps and what it changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.stats import kstest, zscore

from tsfm.data.dynamics.augmentations import (
    DimensionSelection,
    RandomAffine,
    RandomConvexCombination,
    RandomProjectedSkew,
    TakensEmbedding,
    standardized,
)
from tsfm.data.dynamics.surrogates import PhaseSurrogate, RandomFourierSeries
from tsfm.errors import ConfigError, DataError

ALL = [
    RandomAffine(),
    RandomConvexCombination(),
    TakensEmbedding(),
    DimensionSelection(),
    PhaseSurrogate(),
    RandomFourierSeries(),
]
seeds = st.integers(0, 2**32)
sizes = st.integers(2, 6)
property_test = settings(max_examples=40, deadline=None)


def walk(variates=3, time=200, seed=0, *lead):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*lead, variates, time)).cumsum(-1)


def drawn(augmentation, target, seed=0):
    return augmentation.apply(target, np.random.default_rng(seed))


@property_test
@given(seed=seeds, variates=sizes, low=st.integers(1, 4), more=st.integers(0, 5))
def test_an_affine_image_is_linear_in_the_coordinates_and_gives_them_back(
    seed, variates, low, more
):
    x = walk(variates, seed=seed)
    y = drawn(RandomAffine(dimensions=(low, low + more)), x, seed)
    assert low <= len(y) <= low + more
    design = np.vstack([x, np.ones(x.shape[1])]).T
    coefficients, *_ = np.linalg.lstsq(design, y.T)
    np.testing.assert_allclose(design @ coefficients, y.T, atol=1e-8 * np.abs(y).max())
    assert np.linalg.matrix_rank(y - y.mean(1, keepdims=True)) == min(len(y), variates)
    if len(y) >= variates:
        back, *_ = np.linalg.lstsq(np.vstack([y, np.ones(y.shape[1])]).T, x.T)
        recovered = np.vstack([y, np.ones(y.shape[1])]).T @ back
        np.testing.assert_allclose(recovered, x.T, atol=1e-6 * np.abs(x).max())


@pytest.mark.parametrize(("by_dimension", "spread"), [(True, 0.25), (False, 0.5)])
def test_affine_coefficients_are_gaussian_of_the_scale_asked_for(by_dimension, spread):
    basis = np.concatenate([np.eye(4), np.zeros((4, 1))], axis=1)
    x = np.broadcast_to(basis, (500, 4, 5))
    y = drawn(RandomAffine(dimensions=(4, 4), scale=0.5, by_dimension=by_dimension), x)
    offsets = y[..., -1]
    matrices = y[..., :4] - offsets[..., None]
    for coefficients in (offsets, matrices):
        assert kstest(coefficients.ravel() / spread, "norm").pvalue > 1e-3


@property_test
@given(seed=seeds, variates=sizes, alpha=st.floats(0.1, 5))
def test_convex_combinations_stay_inside_the_hull(seed, variates, alpha):
    x = walk(variates, time=40, seed=seed)
    y = drawn(RandomConvexCombination(alpha=alpha), x, seed)
    assert 3 <= len(y) <= 8
    tolerance = 1e-9 * np.abs(x).max()
    assert (y <= x.max(0) + tolerance).all()
    assert (y >= x.min(0) - tolerance).all()
    for row in y:
        weights, residual = nnls(x.T, row)
        assert residual < 1e-6 * np.linalg.norm(row)
        assert weights.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.6, 1.0, 3.0])
def test_convex_weights_are_dirichlet(alpha):
    x = np.broadcast_to(np.eye(3), (1000, 3, 3))
    weights = drawn(RandomConvexCombination(dimensions=(1, 1), alpha=alpha), x)[:, 0]
    np.testing.assert_allclose(weights.sum(-1), 1)
    marginal = ("beta", (alpha, 2 * alpha))
    assert kstest(weights[:, 0], *marginal).pvalue > 1e-3


@property_test
@given(seed=seeds, first=sizes, second=sizes, factor=st.floats(-3, 3))
def test_a_projected_skew_product_is_linear_in_both(seed, first, second, factor):
    x, y = walk(first, seed=seed), walk(second, seed=seed + 1)
    u, v = walk(first, seed=seed + 2), walk(second, seed=seed + 3)
    skew = RandomProjectedSkew(dimension=5)

    def combined(one, other):
        return skew.combine(one, other, np.random.default_rng(seed))

    assert combined(x, y).shape == (5, 200)
    expected = combined(x, y) + factor * combined(u, v)
    np.testing.assert_allclose(combined(x + factor * u, y + factor * v), expected, atol=1e-9)
    np.testing.assert_allclose(combined(x, y), combined(x, 0 * y) + combined(0 * x, y), atol=1e-9)
    assert combined(0 * x, y).any()
    assert combined(x, 0 * y).any()


def test_a_projected_skew_product_is_as_short_as_the_shorter():
    x, y = walk(time=50), walk(2, time=30)
    made = RandomProjectedSkew().combine(x, y, np.random.default_rng(0))
    again = RandomProjectedSkew().combine(x[:, :30], y, np.random.default_rng(0))
    np.testing.assert_array_equal(made, again)
    with pytest.raises(DataError, match="no pairs"):
        RandomProjectedSkew().combine(x[None], y, np.random.default_rng(0))


@property_test
@given(seed=seeds, variates=sizes, dimension=st.integers(0, 6), lag=st.integers(1, 12))
def test_takens_rows_are_lagged_copies_of_one_variate(seed, variates, dimension, lag):
    x = walk(variates, time=80, seed=seed)
    takens = TakensEmbedding(dimension=dimension, lags=(lag, lag))
    y = drawn(takens, x, seed)
    assert y.shape == (dimension or max(variates, 3), 80)
    assert takens.reach(variates) == (len(y) - 1) * lag
    assert any(np.array_equal(y[0], row) for row in x)
    for k, row in enumerate(y):
        np.testing.assert_array_equal(row[k * lag :], y[0, : 80 - k * lag])
        assert np.isnan(row[: k * lag]).all()


def test_takens_lags_and_variates_are_all_drawn():
    x = np.broadcast_to(walk(3, 40), (400, 3, 40))
    y = drawn(TakensEmbedding(lags=(1, 10)), x)
    lags = np.isnan(y[:, 1]).sum(-1)
    assert set(lags) == set(range(1, 11))
    assert {int(np.argmin(np.abs(x[0] - row).sum(-1))) for row in y[:, 0]} == {0, 1, 2}


@property_test
@given(seed=seeds, variates=sizes, dimension=st.integers(1, 7))
def test_selected_dimensions_are_rows_in_their_order(seed, variates, dimension):
    x = walk(variates, seed=seed)
    selection = DimensionSelection(dimension=dimension)
    y = drawn(selection, x, seed)
    chosen = selection.chosen(x, np.random.default_rng(seed))
    assert len(chosen) == min(dimension, variates)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(y, x[chosen])


@property_test
@given(seed=seeds, variates=sizes, missing=st.floats(0, 0.8), level=st.floats(-1e3, 1e3))
def test_standardizing_gives_mean_zero_and_deviation_one(seed, variates, missing, level):
    x = walk(variates, seed=seed) + level
    x[np.random.default_rng(seed).random(x.shape) < missing] = np.nan
    y = standardized(x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_allclose(np.nanmean(y, 1), 0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(y, 1), 1)
    np.testing.assert_allclose(y, zscore(x, axis=1, nan_policy="omit"), atol=1e-9)


def test_standardizing_keeps_constants_finite():
    x = np.stack([np.full(20, 3.3), np.full(20, np.nan), np.arange(20.0)]).astype(np.float32)
    y = standardized(x)
    assert (y[0] == 0).all()
    assert np.isnan(y[1]).all()
    assert y.dtype == np.float32


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_results_depend_on_the_generator_alone(augmentation):
    x = walk(4, 100, 3).astype(np.float32)
    kept = x.copy()
    np.random.seed(0)  # noqa: NPY002
    first = drawn(augmentation, x, seed=5)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(drawn(augmentation, x, seed=5), first)
    assert first.dtype == np.float32
    assert first.shape[-1] == 100
    others = [drawn(augmentation, x, seed=seed) for seed in range(6, 12)]
    assert any(o.shape != first.shape or not np.array_equal(o, first, True) for o in others)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_windows_of_a_batch_are_drawn_apart(augmentation):
    x = np.broadcast_to(walk(5, 60), (2, 4, 5, 60))
    y = drawn(augmentation, x)
    assert y.shape[:2] == (2, 4)
    assert y.shape[-1] == 60
    flat = y.reshape(8, -1)
    assert len({row.tobytes() for row in flat}) > 1


@pytest.mark.parametrize("augmentation", ALL[:4], ids=lambda a: type(a).__name__)
def test_unobserved_variates_take_no_part(augmentation):
    x = np.full((50, 6, 60), np.nan)
    x[:, [1, 2, 4]] = walk(3, 60, 0, 50)
    y = drawn(augmentation, x)
    assert np.isfinite(y[..., -1]).all()


@pytest.mark.parametrize("augmentation", [RandomAffine(), RandomConvexCombination()])
def test_what_is_mixed_from_an_unobserved_value_is_unobserved(augmentation):
    x = walk(3, 50)
    x[1, 7], x[2, 20:23] = np.nan, np.nan
    gaps = np.isnan(drawn(augmentation, x))
    np.testing.assert_array_equal(gaps, np.broadcast_to(np.isnan(x).any(0), gaps.shape))


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_nothing_observed_gives_nothing(augmentation):
    assert np.isnan(drawn(augmentation, np.full((3, 20), np.nan))).all()


@pytest.mark.parametrize(
    "bad", [np.zeros(5), np.zeros((3, 0)), np.zeros((0, 3)), np.zeros((3, 5), int)]
)
@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
def test_bad_targets_are_refused(augmentation, bad):
    with pytest.raises(DataError, match="cannot be augmented"):
        drawn(augmentation, bad)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (RandomAffine, {"dimensions": (4, 3)}, r"affine.dimensions=\(4, 3\)"),
        (RandomAffine, {"dimensions": (0, 3)}, "affine.dimensions"),
        (RandomAffine, {"scale": 0.0}, "affine.scale"),
        (RandomConvexCombination, {"dimensions": (1, 2, 3)}, "convex.dimensions"),
        (RandomConvexCombination, {"alpha": 0.0}, "convex.alpha"),
        (RandomConvexCombination, {"alpha": float("nan")}, "convex.alpha"),
        (RandomProjectedSkew, {"dimension": 0}, "skew.dimension"),
        (RandomProjectedSkew, {"scale": float("inf")}, "skew.scale"),
        (TakensEmbedding, {"dimension": -1}, "takens.dimension"),
        (TakensEmbedding, {"lags": (0, 10)}, "takens.lags"),
        (DimensionSelection, {"dimension": 0}, "select.dimension"),
        (RandomFourierSeries, {"modes": (0, 1)}, "fourier.modes"),
        (RandomFourierSeries, {"cycles": -1.0}, "fourier.cycles"),
        (RandomFourierSeries, {"amplitude": 0.0}, "fourier.amplitude"),
    ],
)
def test_bad_parameters_are_refused(kind, values, message):
    with pytest.raises(ConfigError, match=message):
        kind(**values)
