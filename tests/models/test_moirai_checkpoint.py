"""MOIRAI directories: saved, loaded, damaged; configurations refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.moirai import make_context, make_model

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.distributions import N_PARAMETERS
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    model, context = make_model(patch_size=16, context=80), make_context()
    directory = model.save(tmp_path / "deep" / "model")
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]
    again = Moirai.load(directory, context=96)
    assert again.config == replace(model.config, context=96)
    same = Moirai.load(directory)
    np.testing.assert_array_equal(
        same.predict(context, 9).quantiles, model.predict(context, 9).quantiles
    )
    assert Moirai.from_pretrained(directory).config == model.config


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"no config\.json"),
        ("weights_missing", r"no model\.safetensors"),
        ("weights_cut", "damaged"),
        ("json_cut", "cannot be read"),
        ("other_model", "describes 'ttm'"),
        ("unknown_field", "is no parameter"),
        ("other_shape", "do not fit"),
        ("lost_tensor", "do not fit"),
    ],
)
def test_damaged_directories_are_told(tmp_path: Path, damage: str, message: str) -> None:
    directory = make_model().save(tmp_path / "model")
    config, weights = directory / "config.json", directory / "model.safetensors"
    content = json.loads(config.read_text())
    if damage == "missing":
        directory = tmp_path / "elsewhere"
    elif damage == "weights_missing":
        weights.unlink()
    elif damage == "weights_cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "json_cut":
        config.write_text(config.read_text()[:20])
    elif damage == "other_model":
        config.write_text(json.dumps({**content, "model": "ttm"}))
    elif damage == "unknown_field":
        content["config"]["colour"] = "red"
        config.write_text(json.dumps(content))
    elif damage == "other_shape":
        content["config"]["d_model"] = 128
        config.write_text(json.dumps(content))
    else:
        tensors = load_file(weights)
        tensors.pop("mask_encoding.weight")
        save_file(tensors, weights)
    with pytest.raises(CheckpointError, match=message):
        Moirai.load(directory)


def test_unknown_hub_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match="offline, download"):
        Moirai.from_pretrained("Salesforce/moirai-1.1-R-small")


@pytest.mark.parametrize(
    "fields",
    [
        {"d_model": 100},
        {"num_layers": 0},
        {"patch_sizes": ()},
        {"patch_sizes": (32, 16)},
        {"patch_size": 7},
        {"dropout": 1.0},
        {"mask_ratio_min": 0.5, "mask_ratio_max": 0.2},
        {"minimum_variance": 0.0},
        {"num_samples": -1},
        {"colour": "red"},
        {"d_model": "wide"},
    ],
)
def test_bad_configurations_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        MoiraiConfig.from_dict(fields)


def test_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="tiny, small, base, large"):
        MoiraiConfig.preset("huge")


def test_parameters_per_bar() -> None:
    (raw,) = make_model().param_proj({1: torch.randn(3, 64)})
    assert raw.shape == (N_PARAMETERS, 3, 32)
