"""TimesFM beside transformers' own models called directly, one series at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.timesfm_tiny import CONTEXT, HORIZON, PATCH, VERSIONS, network, tiny

import tsfm
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import QUANTILE_LEVELS, Context
from tsfm.models.timesfm import TimesFm, TimesFmConfig, speed_of


@pytest.fixture(scope="module", params=VERSIONS)
def released(request: Any, tmp_path_factory: Any) -> Path:
    return tiny(request.param, tmp_path_factory.mktemp("timesfm") / "model")


def _walk(length: int, level: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (level + rng.standard_normal(length).cumsum()).astype(np.float32)


def _library(directory: Path, past: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Point forecast and quantiles of one series."""
    import transformers

    version = json.loads((directory / "config.json").read_text())["model_type"]
    kind = {"timesfm": "TimesFmModelForPrediction", "timesfm2_5": "TimesFm2_5ModelForPrediction"}
    model = getattr(transformers, kind[version]).from_pretrained(directory).eval()
    if version == "timesfm":
        options = {"freq": [0]} | options
    with torch.no_grad():
        told = model(past_values=[torch.tensor(past)], **options)
    return told.mean_predictions[0].numpy(), told.full_predictions[0, :, 1:].numpy()


def test_a_whole_context_is_forecast_as_by_the_library_with_its_defaults(released):
    model = tsfm.load_forecaster(released)
    past = _walk(CONTEXT, level=3.0)
    point, quantiles = _library(released, past)
    ours = model.predict(past=past, horizon=HORIZON)
    assert np.ptp(quantiles) > 1e-3
    np.testing.assert_allclose(ours.mean[0, :, 0], point, rtol=1e-4, atol=1e-4)
    expected = np.sort(quantiles, axis=-1)
    np.testing.assert_allclose(ours.quantiles[0, :, 0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("length", [PATCH, 3 * PATCH + 5, CONTEXT + 20])
def test_only_whole_patches_are_seen(released, length):
    past = _walk(length)
    whole = min(length // PATCH * PATCH, CONTEXT)
    point, _ = _library(released, past[-whole:], forecast_context_len=whole)
    ours = tsfm.load_forecaster(released).predict(past=past, horizon=5)
    np.testing.assert_allclose(ours.mean[0, :, 0], point[:5], rtol=1e-4, atol=1e-4)


def test_less_than_a_patch_is_padded_by_the_library(released):
    past = _walk(3)
    point, _ = _library(released, past, forecast_context_len=PATCH)
    ours = tsfm.load_forecaster(released).predict(past=past, horizon=5)
    np.testing.assert_allclose(ours.mean[0, :, 0], point[:5], rtol=1e-4, atol=1e-4)


def test_longer_horizons_are_rolled_by_point_forecasts(released):
    past = _walk(CONTEXT)
    ours = tsfm.load_forecaster(released).predict(past=past, horizon=2 * HORIZON + 3)
    for block in range(3):
        point, quantiles = _library(released, past[-CONTEXT:])
        asked = np.s_[HORIZON * block : HORIZON * (block + 1)]
        told = ours.mean[0, asked, 0]
        np.testing.assert_allclose(told, point[: len(told)], rtol=1e-3, atol=1e-3)
        expected = np.sort(quantiles, axis=-1)[: len(told)]
        np.testing.assert_allclose(ours.quantiles[0, asked, 0], expected, rtol=1e-3, atol=1e-3)
        past = np.concatenate([past, point])


def test_a_batch_is_forecast_as_its_series_alone(released):
    """The library's clamp at zero looks at the whole batch: ours at each series."""
    model = tsfm.load_forecaster(released, rows_at_once=2)
    past = np.stack([_walk(CONTEXT, 50), _walk(CONTEXT, -50, 1), _walk(CONTEXT, 0, 2)])[:, :, None]
    past[0, :10] = past[1, 20:24] = np.nan
    together = model.predict(past=past, horizon=HORIZON)
    for row in range(3):
        alone = model.predict(past=past[[row]], horizon=HORIZON)
        np.testing.assert_allclose(together.mean[row], alone.mean[0], rtol=1e-4, atol=1e-4)
    cut = model.predict(past=past[[0], 10:], horizon=HORIZON)
    np.testing.assert_allclose(together.mean[0], cut.mean[0], rtol=1e-4, atol=1e-4)


def test_positive_series_stay_so_where_the_checkpoint_says_it(tmp_path):
    past = np.abs(_walk(CONTEXT)) * 0.01
    past[-1] = 0
    free = TimesFm.load(tiny("2.5", tmp_path / "free", infer_is_positive=False))
    kept = TimesFm.load(tiny("2.5", tmp_path / "kept"))
    told, clamped = (m.predict(past=past, horizon=HORIZON).quantiles for m in (free, kept))
    assert told.min() < 0
    np.testing.assert_array_equal(clamped, np.maximum(told, 0))


def test_the_frequency_is_told_to_versions_before_2_5(tmp_path):
    directory = tiny("2.0", tmp_path / "model")
    past = _walk(CONTEXT)
    for freq, speed in {"h": 0, "MS": 1, "YS": 2}.items():
        point, _ = _library(directory, past, freq=[speed])
        context = Context(past=past[None, :, None], freq=freq)
        ours = tsfm.load_forecaster(directory).predict(context, HORIZON)
        np.testing.assert_allclose(ours.mean[0, :, 0], point, rtol=1e-4, atol=1e-4)


def test_classes_of_frequencies():
    classes = {alias: speed_of(alias) for alias in ("5min", "h", "D", "B", "W", "MS", "QS", "YS")}
    assert list(classes.values()) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert speed_of(None) == 0


def test_other_levels_are_interpolated_and_nothing_observed_stays_unknown(released):
    model = tsfm.load_forecaster(released)
    past = np.stack([_walk(CONTEXT), np.full(CONTEXT, np.nan, np.float32)], axis=1)
    native = model.predict(Context(past=past[None]), 4, QUANTILE_LEVELS).quantiles
    told = model.predict(Context(past=past[None]), 4, (0.01, 0.1, 0.15, 0.9, 0.95)).quantiles
    np.testing.assert_array_equal(told[0, :, 0, 0], native[0, :, 0, 0])
    np.testing.assert_allclose(told[0, :, 0, 2], native[0, :, 0, :2].mean(axis=-1), rtol=1e-5)
    assert np.isnan(told[0, :, 1]).all()


def test_it_survives_its_directory_which_transformers_reads_too(released, tmp_path):
    model = tsfm.load_forecaster(released, context=40, rows_at_once=3)
    model.save(tmp_path / "ours")
    again = tsfm.load_forecaster(tmp_path / "ours")
    assert again.config == TimesFmConfig(context=40, rows_at_once=3)
    assert again.info() == model.info()
    past = _walk(CONTEXT)
    expected = model.predict(past=past, horizon=20).quantiles
    np.testing.assert_array_equal(again.predict(past=past, horizon=20).quantiles, expected)
    np.testing.assert_array_equal(_library(tmp_path / "ours", past)[0], _library(released, past)[0])
    assert not list((tmp_path / "ours").glob("*.bin"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("no weights", r"no model\.safetensors"),
        ("cut weights", "cannot be read|lacks"),
        ("other model", "model_type='bert'"),
        ("layers", "lacks"),
    ],
)
def test_damaged_directories_are_told(tmp_path, damage, told):
    directory = tiny("2.5", tmp_path / "model")
    weights, config = directory / "model.safetensors", directory / "config.json"
    content = json.loads(config.read_text())
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:2000])
    elif damage == "other model":
        config.write_text(json.dumps(content | {"model_type": "bert"}))
    else:
        config.write_text(json.dumps(content | {"num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match=told):
        TimesFm.load(directory)


def test_a_hub_out_of_reach_is_told_with_the_way_round(monkeypatch):
    def refuse(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"google/timesfm.*offline.*directory"):
        TimesFm.from_pretrained("google/timesfm-2.5-200m-transformers")


def test_settings_are_checked(released):
    for bad in ({"context": 0}, {"rows_at_once": 0}, {"context": CONTEXT + 1}, {"no_such": 1}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            tsfm.load_forecaster(released, **bad)
    with pytest.warns(UserWarning, match="3 covariates"):
        tsfm.load_forecaster(released).expect_able(past=1, known=2)
    assert network("2.5").config.patch_length == PATCH
