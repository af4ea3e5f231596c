"""The model that ships with the package: what is in it, how it was made, what it is good for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.etth1 import etth1_error

import tsfm
from experiments.cli import compose_config
from experiments.config import PretrainConfig
from experiments.pretrain import PARAMETERS
from tsfm.data.provenance import Provenance
from tsfm.models.source import directory_of

BASE = directory_of("ttm-base")


@pytest.fixture(scope="module")
def model():
    return tsfm.load_forecaster("ttm-base")


def recipe() -> PretrainConfig:
    """What the command in the card asks for."""
    text = re.sub(r"\\\n\s*", " ", (BASE / "README.md").read_text())
    (command,) = re.findall(r"^mlflow run \. -e pretrain .*$", text, re.MULTILINE)
    words = shlex.split(command)
    given = [words[k + 1] for k, word in enumerate(words) if word == "-P"]
    return compose_config("pretrain", PretrainConfig, PARAMETERS, given)


def test_it_is_small_and_complete():
    assert (BASE / "model.safetensors").stat().st_size < 6e6
    assert {path.name for path in BASE.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "provenance.json",
    }  # fmt: skip


def test_the_recipe_in_its_card_makes_such_a_model(model):
    config = recipe()
    assert config.data.name == "synthetic"
    assert config.model == model.config
    assert (config.context, config.horizon) == (512, 96)


def test_nothing_but_synthetic_series_was_trained_on():
    (source,) = Provenance.load(BASE).sources
    assert source.panel == "synthetic"
    assert not source.inherited
    assert not re.search("ett|glucose", source.panel, re.IGNORECASE)


@pytest.mark.parametrize("period", [12, 24, 48, 96])
def test_seasons_go_on(model, period):
    time = np.arange(608)
    wave = 50 + 3 * np.sin(2 * np.pi * time / period) + np.cos(4 * np.pi * time / period)
    forecast = model.predict(past=wave[None, :512, None], horizon=96)
    error = forecast.mean[0, :, 0] - wave[512:]
    assert np.sqrt((error**2).mean()) < 0.15 * wave.std()


def test_quantiles_cover_and_do_not_cross(model):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 608, 1))
    walk = noise.cumsum(axis=1)
    for past in (noise, walk):
        forecast = model.predict(past=past[:, :512], horizon=96, quantile_levels=(0.1, 0.5, 0.9))
        low, middle, high = np.moveaxis(forecast.quantiles, -1, 0)
        assert (low <= middle).all()
        assert (middle <= high).all()
        future = past[:, 512:]
        assert 0.68 < ((low < future) & (future < high)).mean() < 0.88


def test_short_contexts_and_gaps_are_no_obstacle(model):
    time = np.arange(296)
    wave = np.sin(2 * np.pi * time / 24)
    past = np.where((time > 60) & (time < 70), np.nan, wave)[None, :200, None]
    forecast = model.predict(past=past, horizon=96)
    assert np.sqrt(((forecast.mean[0, :, 0] - wave[200:]) ** 2).mean()) < 0.35


@pytest.mark.slow
def test_zero_shot_error_on_etth1(shared: Path, model):
    error = etth1_error(model, shared)
    print(f"ETTh1, 512 → 96: {error:.4f}")
    assert error < 0.38
