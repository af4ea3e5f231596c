"""Windows and contexts as channels: places, gaps, roles, and no look past the origin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.ttm import NINE, make_batch, make_mixing_model, make_model, make_windows

from tsfm.data.windows import Window
from tsfm.errors import ConfigError, DataError
from tsfm.models.base import Context
from tsfm.models.ttm_config import TinyTimeMixerConfig
from tsfm.models.ttm_inputs import frequency_token


def window(**fields: object) -> Window:
    return next(make_windows(**fields))  # type: ignore[arg-type]


def test_channels_lie_where_their_roles_say():
    model = make_mixing_model(2, 1, 1)
    w = window(targets=2, past=1, known=1)
    batch = model.collate(iter([w]), 1, np.random.default_rng(0))
    np.testing.assert_array_equal(batch["past"][0, :2], w.target[:, :64])
    np.testing.assert_array_equal(batch["past"][0, 2:3], w.past_covariates[:, :64])
    np.testing.assert_array_equal(batch["past"][0, 3:], w.known_covariates[:, :64])
    np.testing.assert_array_equal(batch["future"][0], w.target[:, 64:])
    np.testing.assert_array_equal(batch["exogenous"][0], w.known_covariates[:, 64:])


@pytest.mark.parametrize("fields", [{}, {"fcm_use_mixer": True}, {"quantile_levels": NINE}])
def test_training_never_sees_the_future_of_past_covariates(fields):
    model = make_mixing_model(1, 2, 1, **fields)
    w = window(past=2, known=1)
    later = w.past_covariates.copy()
    later[:, 64:] = 1e6
    changed = Window(**{**vars(w), "past_covariates": later})
    batches = [model.collate(iter([v]), 1, np.random.default_rng(0)) for v in (w, changed)]
    for name in batches[0]:
        torch.testing.assert_close(batches[0][name], batches[1][name], rtol=0, atol=0)


def test_forecasts_never_see_the_future_of_past_covariates_and_targets():
    model = make_mixing_model(1, 1, 1, fcm_use_mixer=True)
    rng = np.random.default_rng(0)
    past, covariate = rng.normal(size=(2, 1, 64, 1)).astype(np.float32)
    known = rng.normal(size=(1, 64 + 40, 1)).astype(np.float32)

    def forecast(known: np.ndarray) -> np.ndarray:
        context = Context(past=past, past_covariates=covariate, known_covariates=known)
        return model.predict(context, 40).mean

    base = forecast(known)
    far = known.copy()
    far[:, 64 + 20 :] += 5
    moved = np.abs(forecast(far) - base)[0, :, 0]
    assert moved[:16].max() == 0
    assert moved[20:].max() > 0
    near = known.copy()
    near[:, 64:66] += 5
    assert np.abs(forecast(near) - base)[0, :2].max() > 0


def test_past_covariates_and_known_ones_are_looked_at():
    model = make_mixing_model(1, 1, 1)
    batch = make_batch(model, size=1, past=1, known=1)
    base = model.outputs(batch).point
    for channel in (1, 2):
        changed = batch["past"].clone()
        changed[:, channel] = changed[:, channel].flip(-1)
        assert (model.outputs(batch | {"past": changed}).point - base).abs().max() > 0


def test_gaps_are_bridged_by_lines_and_padding_is_the_mean():
    model = make_model()
    values = np.arange(80, dtype=np.float32)[None]
    values[0, 30:40] = np.nan
    values[0, 62:64] = np.nan
    short = Window(item_id="x", target=values[:, 20:], start=0, variate_names=("a",))
    batch = model.collate(iter([short]), 1, np.random.default_rng(0))
    past = batch["past"][0, 0]
    assert past[:20].isnan().all()
    torch.testing.assert_close(past[20:62], torch.arange(20, 62.0))
    torch.testing.assert_close(past[62:], torch.tensor([61.0, 61.0]))
    assert not batch["observed"][0, 0, 30:40].any()
    assert torch.isfinite(model.outputs(batch).point).all()


@pytest.mark.parametrize("imputation", ["bridge", "mean", "none"])
def test_what_was_not_observed_does_not_change_the_scale(imputation):
    model = make_model(imputation=imputation)
    batch = make_batch(model, missing=0.4)
    observed = batch["observed"][:, 0].numpy()
    outputs = model.outputs(batch)
    for row, mask in enumerate(observed):
        seen = batch["past"][row, 0].numpy()[mask].astype(float)
        assert float(outputs.location[row]) == pytest.approx(seen.mean(), rel=1e-4, abs=1e-5)
        assert float(outputs.scale[row]) == pytest.approx(seen.std(), rel=1e-4)


@pytest.mark.parametrize(
    ("freq", "token"),
    [
        ("min", 1), ("2min", 2), ("5min", 3), ("10min", 4), ("15min", 5), ("30min", 6), ("h", 7),
        ("60min", 7), ("D", 8), ("W", 9), ("W-SUN", 9), ("7min", 0), ("ME", 0), (None, 0),
    ],
)  # fmt: skip
def test_frequency_tokens_are_those_of_the_reference(freq, token):
    assert frequency_token(freq, 10) == token


def test_a_vocabulary_too_small_knows_no_such_frequency():
    assert frequency_token("h", 5) == 0


def test_the_frequency_changes_the_forecast():
    model = make_model(resolution_prefix_tuning=True, frequency_token_vocab_size=10)
    past = np.random.default_rng(0).normal(size=(1, 64, 1))
    forecasts = [model.predict(Context(past=past, freq=f), 4).mean for f in ("h", "D")]
    assert np.abs(forecasts[0] - forecasts[1]).max() > 0


CATEGORICAL = {
    "decoder_mode": "mix_channel",
    "categorical_names": ("sex", "group"),
    "categorical_vocab_size_list": (2, 5),
}


def test_static_attributes_change_the_forecast():
    model = make_model(**CATEGORICAL)
    past = np.random.default_rng(0).normal(size=(2, 64, 1))
    past[1] = past[0]
    same = ({"sex": 1, "group": 4.0}, {"sex": 1, "group": 4})
    other = ({"sex": 1, "group": 4}, {"sex": 0, "group": 4})
    for static, moved in ((same, False), (other, True)):
        first, second = model.predict(Context(past=past, static=static), 20).mean
        assert (np.abs(first - second).max() > 0) == moved


@pytest.mark.parametrize("value", [5, -1, 1.5, "female", None])
def test_static_attributes_out_of_range_are_refused(value):
    model = make_model(**CATEGORICAL)
    with pytest.raises(DataError, match=r"static attribute group=.*from 0 to 4"):
        make_batch(model, static={"sex": 0, "group": value})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"past": 1, "known": 1, "targets": 2}, "2 variates for a model of 1"),
        ({"known": 1}, "0 past covariates for a model of 1"),
        ({"past": 1}, "0 known covariates for a model of 1"),
    ],
)
def test_windows_without_the_model_s_channels_are_refused(fields, told):
    with pytest.raises(DataError, match=told):
        make_batch(make_mixing_model(), **fields)


def test_known_covariates_must_reach_the_horizon():
    context = Context(
        past=np.zeros((1, 64, 1)),
        past_covariates=np.zeros((1, 64, 1)),
        known_covariates=np.zeros((1, 70, 1)),
    )
    with pytest.raises(DataError, match="6 bars into the horizon of 16"):
        make_mixing_model().predict(context, 16)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"patch_length": 100, "context": 64}, "patch_length=100"),
        ({"prediction_filter_length": 97}, "prediction_filter_length=97"),
        ({"d_model": 190}, "190 cannot be halved 2 times"),
        ({"prediction_channel_indices": (1,)}, r"prediction_channel_indices=\(1,\)"),
        ({"num_input_channels": 2, "exogenous_channel_indices": (1,)}, "channels all are forecast"),
        (
            {
                "num_input_channels": 2,
                "prediction_channel_indices": (0,),
                "exogenous_channel_indices": (1,),
            },
            "would not be looked at",
        ),
        ({"categorical_names": ("a",)}, "1 categorical_names, 0 sizes"),
        ({"categorical_names": ("a",), "categorical_vocab_size_list": (2,)}, "decoder that mixes"),
        ({"quantile_levels": (0.1, 0.9)}, "0.5 in the middle"),
        ({"quantile_levels": (0.5, 0.1, 0.9)}, "not increasing"),
        ({"loss": "pinball"}, "without quantile_levels"),
        ({"loss": "nll"}, "loss='nll' is not known"),
        ({"decoder_mode": "mixed"}, "decoder_mode='mixed'"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"no_such_field": 1}, "no_such_field is no parameter"),
        ({"context": "long"}, "wrong type"),
    ],
)
def test_bad_configurations_are_told(fields, told):
    with pytest.raises(ConfigError, match=told):
        TinyTimeMixerConfig.from_dict(fields)


def test_configurations_survive_json():
    config = TinyTimeMixerConfig.preset("tiny", quantile_levels=NINE).with_channels(2, 1, 1)
    assert TinyTimeMixerConfig.from_dict(config.to_dict()) == config
