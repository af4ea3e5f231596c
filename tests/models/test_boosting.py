"""LightGBM quantiles on a process whose quantiles are known; its files; what it refuses."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from support.seasons import SEASON, season_of, seasonal_panel

from tsfm.errors import CheckpointError, ConfigError, DataError
from tsfm.models.base import Context
from tsfm.models.boosting import Boosting
from tsfm.models.boosting_config import BoostingConfig
from tsfm.models.source import load_local
from tsfm.models.statistical import SeasonalNaive

LEVELS = (0.1, 0.5, 0.9)
SMALL = {"horizon": SEASON, "levels": LEVELS, "rounds": 60, "max_examples": 10_000}


@pytest.fixture(scope="module")
def fitted() -> Boosting:
    return Boosting(BoostingConfig(**SMALL)).fit(seasonal_panel())


def _asked(horizon: int = SEASON, length: int = 200) -> tuple[Context, np.ndarray]:
    """Pasts of other draws of the process, and what came after."""
    panel = seasonal_panel(length=length + horizon, seed=7)
    values = np.stack([series.target[0] for series in panel])[:, :, None]
    stamps = np.stack([panel.timestamps(k)[:length] for k in range(len(panel))])
    past = {"variate_names": ("x",), "freq": "h", "seasonality": SEASON, "timestamps": stamps}
    return Context(past=values[:, :length], **past), values[:, length:]


def _loss(told: np.ndarray, actual: np.ndarray) -> float:
    errors = actual[..., None] - told
    size = np.array([season_of(k, np.arange(1))[0][0] for k in range(len(told))])
    levels = np.array(LEVELS)
    loss = np.maximum(levels * errors, (levels - 1) * errors)
    return float((loss / size[:, None, None, None]).mean())


def test_it_beats_seasonal_naive_and_is_near_the_true_quantiles(fitted):
    context, actual = _asked()
    known = [season_of(k, np.arange(200, 200 + SEASON)) for k in range(len(actual))]
    true = np.stack([m[:, None] + s[:, None] * norm.ppf(LEVELS) for m, s in known])
    told = fitted.predict(context, SEASON, LEVELS).quantiles
    naive = SeasonalNaive().predict(context, SEASON, LEVELS).quantiles
    best = _loss(true[:, :, None], actual)
    assert _loss(told, actual) < 1.13 * best
    assert _loss(naive, actual) > 1.3 * best
    low, _, high = np.moveaxis(told, -1, 0)
    assert ((actual >= low) & (actual <= high)).mean() == pytest.approx(0.8, abs=0.08)


def test_the_same_panel_gives_the_same_model(fitted):
    again = Boosting(BoostingConfig(**SMALL)).fit(seasonal_panel())
    for one, other in zip(fitted.fitted.boosters, again.fitted.boosters, strict=True):
        assert one.model_to_string() == other.model_to_string()


def test_forecasts_follow_the_scale_and_a_series_is_forecast_as_alone(fitted):
    context, _ = _asked()
    told = fitted.predict(context, SEASON, LEVELS).quantiles
    larger = replace(context, past=1024 * context.past)
    np.testing.assert_allclose(
        fitted.predict(larger, SEASON, LEVELS).quantiles, 1024 * told, rtol=1e-5
    )
    alone = fitted.predict(context.rows([3]), SEASON, LEVELS).quantiles
    np.testing.assert_allclose(alone[0], told[3], rtol=1e-5)


def test_only_as_much_is_looked_at_as_the_features_reach(fitted):
    context, _ = _asked()
    recent = context.last(7 * SEASON + 1)
    told, same = (fitted.predict(one, 5, LEVELS).quantiles for one in (context, recent))
    np.testing.assert_array_equal(told, same)
    nothing = fitted.predict(context.last(2), 5, LEVELS).quantiles
    assert np.isfinite(nothing).all()


def test_levels_are_sorted_and_those_between_are_interpolated(fitted):
    context, _ = _asked()
    told = fitted.predict(context, SEASON, (0.05, 0.1, 0.3, 0.5, 0.9)).quantiles
    assert (np.diff(told, axis=-1) >= 0).all()
    np.testing.assert_array_equal(told[..., 0], told[..., 1])
    np.testing.assert_allclose(told[..., 2], (told[..., 1] + told[..., 3]) / 2, rtol=1e-5)


def test_longer_horizons_feed_medians_back_and_widen(fitted):
    context, _ = _asked()
    near, far = (fitted.predict(context, h, LEVELS) for h in (SEASON, 3 * SEASON))
    np.testing.assert_allclose(far.quantiles[:, :SEASON], near.quantiles, rtol=1e-5)
    width = far.quantiles[..., 2] - far.quantiles[..., 0]
    blocks = width.reshape(len(width), 3, -1).mean(axis=(0, 2))
    assert (np.diff(blocks) > 0).all()
    assert np.isfinite(far.quantiles).all()


def test_gaps_unobserved_and_unknown_variates(fitted):
    context, _ = _asked()
    past = np.concatenate([context.past, context.past, np.full_like(context.past, np.nan)], axis=2)
    past[:, -30:-20, 0] = np.nan
    forecast = fitted.predict(
        replace(context, past=past, observed=None, variates=None, variate_names=("x", "new", "z")),
        4, LEVELS,
    )  # fmt: skip
    assert np.isfinite(forecast.quantiles[:, :, :2]).all()
    assert np.isnan(forecast.quantiles[:, :, 2]).all()


def test_without_dates_the_calendar_is_unknown(fitted):
    context, _ = _asked()
    undated = replace(context, timestamps=None, freq=None)
    assert np.isfinite(fitted.predict(undated, 4, LEVELS).quantiles).all()


def test_it_survives_its_directory_without_pickle(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    assert files == {"config.json", "level_0.1.txt", "level_0.5.txt", "level_0.9.txt"}
    loaded = load_local(tmp_path / "model")
    context, _ = _asked()
    expected = fitted.predict(context, 30, LEVELS).quantiles
    np.testing.assert_array_equal(loaded.predict(context, 30, LEVELS).quantiles, expected)
    assert loaded.info() == fitted.info()
    assert loaded.info()["parameters"] > 100
    with pytest.raises(ConfigError, match="rounds cannot be changed"):
        load_local(tmp_path / "model", rounds=3)
    with pytest.raises(ConfigError, match="no_such"):
        load_local(tmp_path / "model", no_such=3)


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "config"])
def test_damaged_files_are_told_and_never_given_to_the_library(fitted, tmp_path, damage):
    fitted.save(tmp_path)
    path = tmp_path / "level_0.5.txt"
    text = path.read_text()
    if damage == "cut":
        path.write_text(text[: len(text) // 2])
    elif damage == "changed":
        path.write_text(text.replace("Tree=0", "Tree=9", 1))
    elif damage == "gone":
        path.unlink()
    else:
        content = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(content | {"fitted": {"base": "x"}}))
    with pytest.raises(CheckpointError, match=r"level_0\.5\.txt|config\.json is damaged"):
        Boosting.load(tmp_path)


def test_what_cannot_be_done_is_told(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="has not been fitted"):
        Boosting().predict(past=np.arange(9.0), horizon=2)
    with pytest.raises(ConfigError, match="has not been fitted"):
        Boosting().save(tmp_path)
    with pytest.raises(DataError, match="too few"):
        Boosting(BoostingConfig(horizon=2)).fit(seasonal_panel(items=1, length=20))
    with pytest.raises(DataError, match="0 training examples"):
        Boosting().fit(seasonal_panel(items=2, length=3))
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ConfigError, match="ip install lightgbm"):
        Boosting().fit(seasonal_panel(items=2))


@pytest.mark.parametrize(
    "bad",
    [
        {"horizon": 0}, {"leaves": 1}, {"rounds": 0}, {"learning_rate": 0}, {"season": 0},
        {"levels": ()}, {"levels": (0.5, 0.1)}, {"averages": (1, 4)}, {"averages": ()},
    ],
)  # fmt: skip
def test_settings_are_checked(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        load_local("lightgbm", **bad)
    with pytest.raises(ConfigError, match="no_such"):
        load_local("lightgbm", no_such=1)


def test_importing_the_module_does_not_import_the_library():
    import subprocess

    code = "import sys, tsfm.models.boosting; sys.exit('lightgbm' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
