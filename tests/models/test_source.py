"""Forecasters found by what a user gives: a baseline's name, a directory, a hub id."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tsfm.errors import CheckpointError, ConfigError, UserError
from tsfm.models import BASELINES, MODELS, model_class
from tsfm.models import source as source_module
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.source import directory_of, load_local, model_name


@pytest.fixture
def saved(tmp_path):
    Moirai(MoiraiConfig.preset("tiny", num_layers=1, patch_sizes=(8,))).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", MODELS)
def test_every_name_leads_to_a_forecaster_of_that_name(name):
    assert model_class(name).name == name


def test_unknown_names_are_told_with_the_known_ones():
    with pytest.raises(ConfigError, match="random_walk"):
        model_class("no_such_model")


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_by_name_and_by_directory_are_the_same(name, tmp_path):
    loaded = load_local(load_local(name).save(tmp_path / "saved"))
    assert loaded.name == name
    assert loaded.info() == load_local(name).info()


def test_a_directory_is_loaded_by_the_model_that_wrote_it(saved):
    loaded = load_local(saved, num_samples=3)
    assert isinstance(loaded, Moirai)
    assert loaded.config.num_samples == 3
    past = np.random.default_rng(0).standard_normal((1, 40, 1))
    expected = Moirai.load(saved).predict(past=past, horizon=8).quantiles
    np.testing.assert_array_equal(
        load_local(str(saved)).predict(past=past, horizon=8).quantiles, expected
    )


def test_released_directories_are_known_by_their_keys(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"d_model": 384, "patch_sizes": [8, 16], "scaling": True})
    )
    assert model_name(tmp_path) == "moirai"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no config.json"),
        ("{", "cannot be read"),
        ('{"a": 1}', "names no model.*moirai"),
        ("[1]", "names no model.*moirai"),
        ('{"model": "no_such_model"}', "no_such_model"),
    ],
)
def test_a_directory_that_is_no_model_is_told(tmp_path, text, told):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=told):
        load_local(tmp_path)


def test_damaged_weights_are_told(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_local(saved)


@pytest.mark.parametrize("source", ["nowhere", "a/b/c", "/no/such/directory", ""])
def test_nothing_there_is_told_with_what_can_be_given(source):
    with pytest.raises(CheckpointError, match="hub id"):
        directory_of(source)


def test_unknown_overrides_are_told(saved):
    with pytest.raises(UserError, match="no_such_field"):
        load_local(saved, no_such_field=1)
    with pytest.raises(UserError, match="no_such_field"):
        load_local("random_walk", no_such_field=1)


def test_a_hub_id_is_fetched_and_loaded(saved, monkeypatch):
    asked = []

    def fetch(hub_id, **options):
        asked.append((hub_id, options["allow_patterns"]))
        return str(saved)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert isinstance(load_local("someone/some-model"), Moirai)
    ((hub_id, patterns),) = asked
    assert hub_id == "someone/some-model"
    assert not any("bin" in pattern or "pt" in pattern for pattern in patterns)


@pytest.mark.parametrize("kind", [OSError, ConnectionError, "LocalEntryNotFoundError"])
def test_a_hub_out_of_reach_is_told_with_the_way_round(monkeypatch, kind):
    import huggingface_hub.errors

    error = getattr(huggingface_hub.errors, kind) if isinstance(kind, str) else kind

    def refuse(*arguments, **options):
        raise error("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match=r"someone/some-model cannot be fetched.*[Oo]ffline"):
        source_module.download("someone/some-model")


def test_released_weights_load_like_our_own(shared: Path):
    model = load_local(shared / "reference" / "moirai", patch_size=16)
    past = np.random.default_rng(0).normal(size=(200, 3)).cumsum(0)
    forecast = model.predict(past=past, horizon=24)
    assert model.info()["config"]["reference_weight_layout"]
    assert np.isfinite(forecast.quantiles).all()


def test_the_shipped_model_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(source_module, "download", None)
    (tmp_path / "ttm-base").mkdir()
    monkeypatch.chdir(tmp_path)
    model = load_local("ttm-base")
    assert model.name == "ttm"
    past = 100 + np.sin(np.arange(512) * np.pi / 12)[None, :, None]
    forecast = model.predict(past=past, horizon=96)
    expected = 100 + np.sin(np.arange(512, 608) * np.pi / 12)
    assert np.abs(forecast.mean[0, :, 0] - expected).max() < 0.3
    assert not forecast.is_degenerate
