"""DLinear beside scikit-learn's ridge regression on the published decomposition."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import CheckpointError, ConfigError, DataError
from tsfm.models.base import Context
from tsfm.models.dlinear import DLinear, DLinearConfig, moving_average
from tsfm.models.source import load_local

SMALL = {"context": 24, "horizon": 6, "kernel": 5}


def _panel(*targets: np.ndarray) -> Panel:
    variates = tuple(f"x{k}" for k in range(len(targets[0])))
    series = (Series(item_id=str(k), target=target) for k, target in enumerate(targets))
    return Panel.from_series(series, PanelInfo(name="p", variates=variates))


def _walks(length: int = 90, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).standard_normal((2, length))
    return (steps.cumsum(axis=1) + 3).astype(np.float32)


def _decomposed(context: np.ndarray, kernel: int) -> np.ndarray:
    """Remainder and trend side by side, as the published code computes them."""
    ends = (kernel - 1) // 2
    values = torch.tensor(context)
    padded = torch.cat(
        [values[:, :1].repeat(1, ends), values, values[:, -1:].repeat(1, ends)], dim=1
    )
    trend = torch.nn.AvgPool1d(kernel, stride=1)(padded[:, None])[:, 0].numpy()
    return np.concatenate([context - trend, trend], axis=1)


def _all_windows(panel: Panel, length: int) -> np.ndarray:
    windows = []
    for series in panel:
        for row in np.asarray(series.target, np.float64):
            windows += [row[k : k + length] for k in range(len(row) - length + 1)]
    return np.stack([w for w in windows if np.isfinite(w).all()])


@pytest.mark.parametrize("scaling", ["standard", "last", "none"])
def test_the_fit_is_scikit_learns_ridge_on_remainder_and_trend(scaling):
    gappy = _walks(70, seed=1)
    gappy[0, 30] = np.nan
    panel = _panel(_walks(), gappy)
    model = DLinear(DLinearConfig(scaling=scaling, ridge=1e-3, **SMALL)).fit(panel)
    windows = _all_windows(panel, 30)
    context, future = windows[:, :24], windows[:, 24:]
    center, scale = np.zeros((len(windows), 1)), np.ones((len(windows), 1))
    if scaling == "standard":
        center, scale = context.mean(1, keepdims=True), context.std(1, keepdims=True)
    elif scaling == "last":
        center = context[:, -1:]
    design = _decomposed((context - center) / scale, 5)
    reference = Ridge(alpha=1e-3 * len(windows)).fit(design, (future - center) / scale)

    past = _walks(24, seed=2).astype(np.float64)
    c, s = np.zeros((2, 1)), np.ones((2, 1))
    if scaling == "standard":
        c, s = past.mean(1, keepdims=True), past.std(1, keepdims=True)
    elif scaling == "last":
        c = past[:, -1:]
    expected = reference.predict(_decomposed((past - c) / s, 5)) * s + c
    forecast = model.predict(past=past.T, horizon=6)
    np.testing.assert_allclose(forecast.mean[0].T, expected, rtol=2e-5, atol=2e-5)
    residual = (future - center) / scale - reference.predict(design)
    np.testing.assert_allclose(
        model.fitted.deviation, np.sqrt((residual**2).mean(axis=0)), rtol=1e-5
    )


def test_the_moving_average_is_the_published_one():
    context = np.random.default_rng(0).standard_normal((3, 40))
    for kernel in (1, 5, 25):
        trend = _decomposed(context, kernel)[:, 40:]
        np.testing.assert_allclose(context @ moving_average(40, kernel).T, trend, atol=1e-12)


def test_quantiles_are_normal_around_the_mean():
    from scipy.stats import norm

    model = DLinear(DLinearConfig(scaling="none", **SMALL)).fit(_panel(_walks()))
    forecast = model.predict(Context(past=_walks(24).T[None]), 6, (0.1, 0.5, 0.9))
    spread = norm.ppf(0.9) * model.fitted.deviation
    np.testing.assert_allclose(
        forecast.quantiles[0, :, 0, 2] - forecast.mean[0, :, 0], spread, rtol=1e-4
    )


def test_sines_are_learned_and_rolled_beyond_the_fitted_horizon():
    time = np.arange(400)
    panel = _panel(np.stack([np.sin(time / 5 + k) for k in range(3)]).astype(np.float32))
    model = DLinear(DLinearConfig(ridge=1e-8, scaling="none", **SMALL)).fit(panel)
    past = np.sin(np.arange(24) / 5 + 0.4)
    forecast = model.predict(past=past, horizon=40)
    np.testing.assert_allclose(
        forecast.mean[0, :, 0], np.sin(np.arange(24, 64) / 5 + 0.4), atol=0.02
    )
    short = model.predict(past=past, horizon=4)
    np.testing.assert_array_equal(short.mean[0], forecast.mean[0, :4])
    walk = DLinear(DLinearConfig(**SMALL)).fit(_panel(_walks())).predict(past=past, horizon=40)
    width = walk.quantile(0.9)[0, :, 0] - walk.quantile(0.1)[0, :, 0]
    assert (width[[17, 23, 29]] > width[[11, 17, 23]]).all()


def test_windows_are_thinned_evenly_over_items_and_variates():
    panel = _panel(_walks(90), _walks(61, seed=3), _walks(20, seed=4))
    model = DLinear(DLinearConfig(max_windows=40, **SMALL))
    taken = np.concatenate(list(model._windows([panel, panel])))
    every = np.concatenate([_all_windows(panel, 30)] * 2)
    total = 2 * 2 * (61 + 32)
    assert len(every) == total
    np.testing.assert_array_equal(taken, every[:: -(-total // 40)])


def test_gaps_short_contexts_and_missing_variates():
    model = DLinear(DLinearConfig(**SMALL)).fit([_panel(_walks())])
    past = np.full((2, 30, 3), np.nan, np.float32)
    past[:, :, :2] = _walks(30).T
    past[0, 12, 0] = np.nan
    past[1, :20] = np.nan
    forecast = model.predict(Context(past=past), 10)
    assert np.isfinite(forecast.quantiles[:, :, :2]).all()
    assert np.isnan(forecast.mean[:, :, 2]).all()
    bridged = past[:1].copy()
    bridged[0, 12, 0] = (bridged[0, 11, 0] + bridged[0, 13, 0]) / 2
    np.testing.assert_allclose(
        model.predict(Context(past=bridged), 10).mean[0, :, 0], forecast.mean[0, :, 0], rtol=1e-6
    )
    alone = model.predict(Context(past=past[1:, 20:]), 10)
    np.testing.assert_allclose(alone.mean[0], forecast.mean[1], rtol=1e-6)


def test_a_fitted_model_is_saved_and_found(tmp_path):
    model = DLinear(DLinearConfig(**SMALL)).fit(_panel(_walks()))
    loaded = load_local(model.save(tmp_path))
    assert isinstance(loaded, DLinear)
    assert loaded.info() == model.info()
    assert loaded.info()["parameters"] == 24 * 6 + 6
    past = _walks(24).T
    np.testing.assert_array_equal(
        loaded.predict(past=past, horizon=9).quantiles,
        model.predict(past=past, horizon=9).quantiles,
    )
    with pytest.raises(CheckpointError, match="horizon 7"):
        load_local(tmp_path, horizon=7)
    with pytest.raises(ConfigError, match="widgets"):
        load_local(tmp_path, widgets=7)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        DLinear.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model": "dlinear", "config": 3}))
    with pytest.raises(CheckpointError, match="no configuration of 'dlinear'"):
        DLinear.load(tmp_path)


def test_what_cannot_be_done_is_told(tmp_path):
    with pytest.raises(ConfigError, match="not been fitted"):
        DLinear().predict(past=np.ones(10), horizon=3)
    with pytest.raises(ConfigError, match="not been fitted"):
        DLinear().save(tmp_path)
    with pytest.raises(DataError, match="no wholly observed window"):
        DLinear().fit(_panel(_walks()))
    for bad in ({"kernel": 4}, {"ridge": 0.0}, {"context": 1}, {"scaling": "max"}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            DLinearConfig(**bad)


def test_a_nearly_still_context_does_not_outweigh_the_others():
    walks = _walks(200)
    still = np.full((2, 60), 5, np.float32)
    still[:, ::2] += 1e-4
    still[:, 40:] += 1000
    config = DLinearConfig(**SMALL)
    alone = DLinear(config).fit(_panel(walks)).fitted
    together = DLinear(config).fit(_panel(walks, still)).fitted
    assert np.abs(together.weight - alone.weight).max() < 0.5
    assert together.deviation.max() < 2 * alone.deviation.max()
