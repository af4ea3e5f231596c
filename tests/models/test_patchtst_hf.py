"""Hugging Face's PatchTST as an arm of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.patchtst import endless_windows, make_past, ragged_context

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Context, Trainable
from tsfm.models.patchtst_config import PatchTSTConfig
from tsfm.models.patchtst_hf import HfPatchTST
from tsfm.models.patchtst_hf_config import HfPatchTSTConfig
from tsfm.models.source import load_local
from tsfm.training.config import TrainerConfig
from tsfm.training.trainer import fit

SIZE = {"context": 96, "horizon": 32, "d_model": 32, "heads": 2, "layers": 2, "d_ff": 48}


def make_model(**fields: object) -> HfPatchTST:
    torch.manual_seed(0)
    return HfPatchTST(HfPatchTSTConfig.from_dict({**SIZE, **fields}))


def test_loss_is_the_librarys_in_units_of_the_deviation() -> None:
    model = make_model().eval()
    batch = model.collate(endless_windows([(3, 128)]), 4, np.random.default_rng(0))
    total, count = model.loss(batch)
    past, future = batch["context"].transpose(1, 2), batch["future"].transpose(1, 2)
    scale = past.std(1, keepdim=True, unbiased=False)
    found = model.network(past_values=past / scale, future_values=future / scale)
    assert count == 4 * 3 * 32
    assert (total / count).item() == pytest.approx(found.loss.item(), rel=1e-3)


def test_is_trained_saved_and_loaded(make_panel, tmp_path: Path) -> None:
    model = make_model()
    assert isinstance(model, Trainable)
    panel = make_panel(n_items=3, length=300, variates=("a", "b", "c", "d"))
    config = TrainerConfig(max_steps=4, batch_size=4, warmup_steps=1, progress=False, threads=1)
    result = fit(model, panel, config=config, output_dir=tmp_path)
    again = load_local(result.model_directory)
    past = make_past()
    np.testing.assert_array_equal(
        again.predict(past=past, horizon=40).mean, result.model.predict(past=past, horizon=40).mean
    )
    with pytest.raises(CheckpointError, match="patch=16, not 8"):
        HfPatchTST.load(result.model_directory, patch=8)


def test_forecasts_series_of_any_width_and_length() -> None:
    model, context = make_model(), ragged_context([1, 3, 5], [96, 96, 40])
    forecast = model.predict(context, 40)
    assert forecast.is_degenerate
    for row, width in enumerate([1, 3, 5]):
        alone = model.predict(past=context.past[row : row + 1, :, :width], horizon=40).mean[0]
        np.testing.assert_allclose(forecast.mean[row, :, :width], alone, rtol=1e-3, atol=1e-3)
        assert np.isfinite(alone).all()
        assert np.isnan(forecast.mean[row, :, width:]).all()
    assert model.network.model.encoder.embedder.num_input_channels == 3


def test_narrow_and_short_windows_are_filled_up() -> None:
    model = make_model()
    batch = model.collate(endless_windows([(2, 70)]), 2, np.random.default_rng(0))
    assert batch["context"].shape == (2, 3, 96)
    assert batch["observed"].sum() == 2 * 2 * (70 - 32)
    assert model.loss(batch)[1] == 2 * 2 * 32


def test_is_matched_to_another_arm() -> None:
    ours = PatchTSTConfig()
    found = HfPatchTSTConfig().matched(ours.n_parameters)
    assert found.n_parameters == pytest.approx(ours.n_parameters, rel=0.02)
    with pytest.raises(ConfigError, match="no d_ff"):
        HfPatchTSTConfig().matched(1000)


@pytest.mark.parametrize(
    "fields",
    [{"context": 100}, {"heads": 5}, {"variates": 0}, {"dropout": 1.0}, {"channel_mixing": "x"},
     {"colour": 1}, {"d_model": "wide"}],
)  # fmt: skip
def test_bad_configurations_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        HfPatchTSTConfig.from_dict({**SIZE, **fields})


def test_directories_of_others_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": "moirai", "config": {}}')
    with pytest.raises(CheckpointError, match="moirai"):
        HfPatchTST.load(tmp_path)


@pytest.mark.parametrize(("patch", "context"), [(8, 64), (12, 64)])
def test_a_released_one_is_known_and_forecasts_as_the_library_does(tmp_path, patch, context):
    import transformers

    torch.manual_seed(0)
    config = transformers.PatchTSTConfig(
        num_input_channels=2, context_length=context, prediction_length=16, patch_length=patch,
        patch_stride=patch, d_model=16, num_attention_heads=2, num_hidden_layers=2, ffn_dim=32,
        norm_type="layernorm", positional_encoding_type="random", dropout=0.2, loss="mse",
        scaling="mean",
    )  # fmt: skip
    network = transformers.PatchTSTForPrediction(config).eval()
    network.save_pretrained(tmp_path / "released")
    model = load_local(tmp_path / "released")
    past = 5 + np.random.default_rng(0).standard_normal((3, 90, 2)).cumsum(axis=1)
    with torch.no_grad():
        seen = torch.tensor(past[:, -context:], dtype=torch.float32)
        expected = network(past_values=seen).prediction_outputs.numpy()
    np.testing.assert_allclose(model.predict(past=past, horizon=16).mean, expected, rtol=1e-4)
    narrow = model.predict(past=past[..., :1], horizon=16).mean
    np.testing.assert_allclose(narrow, expected[..., :1], rtol=1e-4)
    again = load_local(model.save(tmp_path / "ours"))
    assert again.config == model.config
    np.testing.assert_array_equal(
        again.predict(past=past, horizon=40).mean, model.predict(past=past, horizon=40).mean
    )
    states = model.embeddings(Context(past=past))
    assert states.shape == (3, 2, context // patch, 16)
    assert np.isfinite(states).all()


@pytest.mark.parametrize("unlike", [{"share_projection": False}, {"loss": "nll"}])
def test_a_released_one_of_another_kind_is_told(tmp_path, unlike):
    import transformers

    size = {"d_model": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "ffn_dim": 16}
    config = transformers.PatchTSTConfig(**size, **unlike)
    transformers.PatchTSTForPrediction(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=next(iter(unlike))):
        load_local(tmp_path)
