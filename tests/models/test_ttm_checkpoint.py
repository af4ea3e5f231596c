"""Released and own directories of TinyTimeMixer: what loads, what is refused, what it scores."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from support.etth1 import etth1_error
from support.ttm import CASES, NINE, make_batch, make_mixing_model, make_model, reference

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.source import load_local, model_name
from tsfm.models.ttm import TinyTimeMixer

ONE_CHANNEL = {
    "num_input_channels": 1,
    "decoder_mode": "common_channel",
    "prediction_channel_indices": (),
}


@pytest.fixture
def released(shared):
    return shared / "reference" / "ttm" / "r2_512_96"


@pytest.fixture
def saved(tmp_path):
    return make_model(quantile_levels=NINE, loss="pinball").save(tmp_path / "model")


@pytest.mark.parametrize("make", [make_model, make_mixing_model])
def test_what_is_saved_is_loaded_as_it_was(make, tmp_path):
    model = make(quantile_levels=NINE)
    loaded = load_local(model.save(tmp_path / "model"))
    assert isinstance(loaded, TinyTimeMixer)
    assert loaded.config == model.config
    assert list((tmp_path / "model").glob("*.tmp")) == []
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("case", CASES)
def test_released_directories_are_known_by_their_keys(shared, case):
    directory = shared / "reference" / "ttm" / case
    assert model_name(directory) == "ttm"
    assert isinstance(load_local(directory), TinyTimeMixer)


def test_a_reference_saved_as_ours_forecasts_the_same(shared, tmp_path):
    model, batch, _ = reference(shared / "reference" / "ttm" / "exogenous_mixer")
    loaded = TinyTimeMixer.load(model.save(tmp_path / "model"))
    assert torch.equal(loaded.eval().outputs(batch).point, model.outputs(batch).point)


def test_the_released_format_loads_whole_and_as_one_common_channel(released, caplog):
    whole = TinyTimeMixer.from_pretrained(released)
    assert (whole.config.num_input_channels, whole.config.targets) == (31, (0,))
    with caplog.at_level(logging.INFO, logger="tsfm"):
        one = TinyTimeMixer.from_pretrained(released, **ONE_CHANNEL)
    assert one.info()["parameters"] == 805_280
    assert "left out: decoder.decoder_block.mixers.0.channel_feature_mixer" in caplog.text
    shared_weights = set(one.state_dict()) & set(whole.state_dict())
    assert shared_weights == set(one.state_dict())
    for name in shared_weights:
        assert torch.equal(one.state_dict()[name], whole.state_dict()[name])


def test_other_channels_start_at_random_on_the_released_weights(released, caplog):
    with caplog.at_level(logging.INFO, logger="tsfm"):
        model = TinyTimeMixer.from_pretrained(
            released, num_input_channels=3, exogenous_channel_indices=(2,),
            enable_forecast_channel_mixing=True, quantile_levels=NINE,
        )  # fmt: skip
    assert model.config.past_only == (1,)
    for part in ("channel_feature_mixer", "fcm_block", "quantile_block"):
        assert part in caplog.text
    assert torch.isfinite(model.loss(make_batch(model, length=608, past=1, known=1))[0])


def test_a_shorter_horizon_is_a_filtered_one(saved):
    model = TinyTimeMixer.load(saved, horizon=5)
    assert (model.config.horizon, model.config.steps) == (16, 5)
    past = np.random.default_rng(0).normal(size=64)
    np.testing.assert_allclose(
        model.predict(past=past, horizon=5).quantiles,
        TinyTimeMixer.load(saved).predict(past=past, horizon=16).quantiles[:, :5],
        rtol=1e-5,
    )
    assert TinyTimeMixer.load(model.save(saved), horizon=16).config.steps == 16


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"context": 32}, "contexts of 64 bars, not 32.*Leave context out"),
        ({"horizon": 20}, "forecast 16 bars, not 20.*rolled"),
        ({"d_model": 64}, "do not fit the configuration"),
        ({"num_layers": 1}, "do not fit.*not there"),
        ({"num_layers": 3}, "do not fit.*nothing"),
    ],
)
def test_overrides_that_the_weights_forbid_are_told(saved, overrides, told):
    with pytest.raises(CheckpointError, match=told):
        TinyTimeMixer.load(saved, **overrides)


def test_unknown_overrides_are_told(saved):
    with pytest.raises(ConfigError, match="no_such is no parameter"):
        TinyTimeMixer.load(saved, no_such=1)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("no_config", "no config.json"),
        ("text_config", "cannot be read"),
        ("list_config", "not a JSON object"),
        ("bad_field", "is damaged: num_layers=0"),
        ("other_model", "describes 'moirai'"),
        ("no_weights", "no model.safetensors"),
        ("cut_weights", "is damaged"),
        ("lost_part", "quantile_block.hidden.bias is nothing"),
    ],
)
def test_damaged_directories_are_told(saved, damage, told):
    from safetensors.torch import load_file, save_file

    config, weights = saved / "config.json", saved / "model.safetensors"
    content = json.loads(config.read_text())
    if damage == "no_config":
        config.unlink()
    elif damage == "text_config":
        config.write_text("{")
    elif damage == "list_config":
        config.write_text("[]")
    elif damage == "bad_field":
        config.write_text(json.dumps(content | {"config": {"num_layers": 0}}))
    elif damage == "other_model":
        config.write_text(json.dumps(content | {"model": "moirai"}))
    elif damage == "no_weights":
        weights.unlink()
    elif damage == "cut_weights":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        tensors = load_file(weights)
        tensors.pop("head.quantile_block.hidden.bias")
        save_file(tensors, weights)
    with pytest.raises(CheckpointError, match=told):
        TinyTimeMixer.load(saved)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "patchtsmixer"}, "'patchtsmixer', not 'tinytimemixer'"),
        ({"register_tokens": 4, "multi_scale": True}, "multi_scale, register_tokens"),
        ({"norm_mlp": "BatchNorm"}, "norm_mlp"),
        ({"d_model": "wide"}, "is damaged|do not fit"),
    ],
)
def test_other_architectures_are_refused(shared, tmp_path, changes, told):
    source = shared / "reference" / "ttm" / "channel_independent"
    content = json.loads((source / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | changes))
    (tmp_path / "model.safetensors").symlink_to(source / "model.safetensors")
    with pytest.raises(CheckpointError, match=told):
        TinyTimeMixer.from_pretrained(tmp_path)


def test_a_directory_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        make_model().save(tmp_path / "file")


@pytest.mark.slow
def test_zero_shot_error_on_etth1_is_the_published_one(shared, released):
    model = TinyTimeMixer.from_pretrained(released, **ONE_CHANNEL)
    assert etth1_error(model, shared) == pytest.approx(0.3685, abs=0.0005)
