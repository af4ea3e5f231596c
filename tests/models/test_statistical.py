from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsforecast import models as library

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Context
from tsfm.models.statistical import (
    AutoETS,
    Baseline,
    RandomWalk,
    SeasonalNaive,
    is_seasonal,
    normal_forecast,
)

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
ALL = (RandomWalk, SeasonalNaive, AutoETS)


def _walk(length: int = 150, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(length).cumsum()


def _seasonal(length: int = 150, season: int = 7, seed: int = 0) -> np.ndarray:
    noise = 0.4 * np.random.default_rng(seed).standard_normal(length)
    return 3 + np.sin(2 * np.pi * np.arange(length) / season) + noise


def _context(*series: np.ndarray, seasonality: int = 1) -> Context:
    return Context(past=np.stack(series, axis=1)[None], seasonality=seasonality)


def _equal(forecaster: Baseline, reference: object, series: np.ndarray, season: int) -> None:
    """The forecaster's quantiles beside the library's 80 % and 95 % intervals."""
    past = series.astype(np.float32)
    ours = forecaster.predict(_context(past, seasonality=season), 20, LEVELS)
    theirs = reference.forecast(past.astype(np.float64), 20, level=[80, 95])
    columns = ("lo-95", "lo-80", "mean", "hi-80", "hi-95")
    expected = np.stack([theirs[name] for name in columns], axis=-1)
    np.testing.assert_allclose(ours.quantiles[0, :, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.mean[0, :, 0], theirs["mean"], rtol=1e-5, atol=1e-6)


def test_random_walk_equals_statsforecast() -> None:
    _equal(RandomWalk(), library.Naive(), _walk(), 1)


@pytest.mark.parametrize("season", [1, 7, 24])
def test_seasonal_naive_equals_statsforecast(season: int) -> None:
    _equal(SeasonalNaive(), library.SeasonalNaive(season), _seasonal(season=season), season)


def test_ets_equals_statsforecast() -> None:
    _equal(AutoETS(), library.AutoETS(7, "ANZ"), _seasonal(), 7)
    _equal(AutoETS(), library.AutoETS(1, "ANN"), _walk(), 1)
    _equal(AutoETS(model="AZN"), library.AutoETS(1, "AZN"), _walk(), 1)


def test_ets_looks_for_a_season_only_where_it_shows() -> None:
    _equal(AutoETS(), library.AutoETS(1, "ANN"), _walk(seed=4), 7)
    seasonal = [is_seasonal(_seasonal(seed=seed), 7) for seed in range(20)]
    walks = [is_seasonal(_walk(300, seed=seed), 7) for seed in range(200)]
    noise = [is_seasonal(np.diff(_walk(300, seed=seed)), 7) for seed in range(200)]
    assert all(seasonal)
    assert np.mean(walks) < 0.2
    assert np.mean(noise) < 0.2
    assert not is_seasonal(np.ones(100), 7)
    assert not is_seasonal(_seasonal(15), 7)


def test_long_seasons_leave_ets_without_one() -> None:
    _equal(AutoETS(), library.AutoETS(1, "ANN"), _seasonal(season=48), 48)


@pytest.mark.parametrize("kind", ALL)
def test_each_series_is_forecast_by_itself(kind: type[Baseline]) -> None:
    """A ragged batch, padded left and right, gives what its series give alone."""
    long, short = _seasonal(60), _walk(31)
    past = np.full((2, 60, 2), np.nan, np.float32)
    past[0, :, 0], past[0, :, 1], past[1, 29:, 0] = long, _walk(60), short
    variates = np.array([[True, True], [True, False]])
    together = kind().predict(Context(past=past, variates=variates, seasonality=7), 9, LEVELS)
    alone = kind().predict(_context(short, seasonality=7), 9, LEVELS)
    np.testing.assert_array_equal(together.quantiles[1, :, 0], alone.quantiles[0, :, 0])
    assert np.isnan(together.mean[1, :, 1]).all()
    assert np.isfinite(together.quantiles[0]).all()


def test_random_walk_counts_the_bars_of_a_gap() -> None:
    past = np.array([0.0, np.nan, np.nan, 3.0, 4.0, np.nan])
    forecast = RandomWalk().predict(_context(past), 2, LEVELS)
    variance = (3.0**2 / 3 + 1.0) / 2
    expected = 4 + 1.959964 * np.sqrt(variance * np.array([2, 3]))
    np.testing.assert_allclose(forecast.quantiles[0, :, 0, -1], expected, rtol=1e-6)


def test_seasonal_naive_fills_a_gap_from_the_season_before() -> None:
    past = np.tile([1.0, 2.0, 3.0], 5)
    past[[4, 13]] = np.nan
    forecast = SeasonalNaive().predict(_context(past, seasonality=3), 4, LEVELS)
    np.testing.assert_array_equal(forecast.mean[0, :, 0], [1, 2, 3, 1])


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("length", [1, 2, 5, 11, 30])
def test_short_constant_and_unobserved_series(kind: type[Baseline], length: int) -> None:
    series = (np.full(length, 2.5), np.full(length, np.nan), _walk(length))
    forecast = kind().predict(_context(*series, seasonality=7), 4, LEVELS)
    np.testing.assert_allclose(forecast.quantiles[0, :, 0], 2.5, rtol=1e-6)
    assert np.isnan(forecast.quantiles[0, :, 1]).all()
    assert np.isfinite(forecast.quantiles[0, :, 2]).all()


@pytest.mark.parametrize("kind", ALL)
def test_only_the_latest_history_is_used(kind: type[Baseline]) -> None:
    series = _seasonal(200)
    short = kind(max_history=90).predict(_context(series, seasonality=7), 5, LEVELS)
    direct = kind().predict(_context(series[-90:], seasonality=7), 5, LEVELS)
    np.testing.assert_array_equal(short.quantiles, direct.quantiles)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
    kind=st.sampled_from((RandomWalk, SeasonalNaive)),
)
def test_forecasts_follow_scale_and_shift(
    seed: int, scale: float, shift: float, kind: type[Baseline]
) -> None:
    series = _walk(40, seed)
    plain = kind().predict(_context(series, seasonality=7), 10, LEVELS).quantiles
    moved = kind().predict(_context(scale * series + shift, seasonality=7), 10, LEVELS).quantiles
    np.testing.assert_allclose(moved, scale * plain + shift, rtol=1e-3, atol=1e-3 * (scale + 1))
    assert (np.diff(plain, axis=-1) >= 0).all()


def test_the_callers_context_is_not_changed() -> None:
    past = _seasonal(50)
    past[10] = np.nan
    context = _context(past, seasonality=7)
    before = context.past.copy()
    for kind in ALL:
        kind().predict(context, 5, LEVELS)
    np.testing.assert_array_equal(context.past, before)


def test_normal_quantiles_are_those_of_scipy() -> None:
    from scipy.stats import norm

    mean, deviation = np.random.default_rng(0).random((2, 3, 4, 2))
    forecast = normal_forecast(mean, deviation, LEVELS)
    expected = norm.ppf(np.array(LEVELS), mean[..., None], deviation[..., None])
    np.testing.assert_allclose(forecast.quantiles, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_a_baseline_survives_its_directory(kind: type[Baseline], tmp_path) -> None:
    forecaster = kind(max_history=77)
    forecaster.save(tmp_path / "model")
    assert kind.load(tmp_path / "model") == forecaster
    assert kind.load(tmp_path / "model", max_history=5).max_history == 5
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]
    assert forecaster.info()["max_history"] == 77


@pytest.mark.parametrize("text", [None, "{", "[1]", json.dumps({"model": "auto_ets"})])
def test_a_damaged_directory_is_refused(text: str | None, tmp_path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError):
        RandomWalk.load(tmp_path)


def test_another_baselines_directory_is_refused(tmp_path) -> None:
    AutoETS().save(tmp_path)
    with pytest.raises(CheckpointError, match="'auto_ets', not 'random_walk'"):
        RandomWalk.load(tmp_path)


def test_configs_that_make_no_sense_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="additive"):
        AutoETS(model="MNM")
    with pytest.raises(ConfigError, match="season=0"):
        SeasonalNaive(season=0)
    with pytest.raises(ConfigError, match="max_history"):
        RandomWalk(max_history=1)
    RandomWalk().save(tmp_path)
    with pytest.raises(ConfigError, match="has no luck"):
        RandomWalk.load(tmp_path, luck=1)
