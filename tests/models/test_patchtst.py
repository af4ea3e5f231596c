"""PatchTST against Panda's recorded outputs, a slow dense implementation, and its own promises."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from support.patchtst import endless_windows, make_past, make_patchtst, ragged_context
from torch import Tensor, nn

from tsfm.errors import DataError
from tsfm.models.adapters import enable_linear_probe, enable_lora, merge_lora
from tsfm.models.base import Context, Trainable
from tsfm.models.patchtst import PatchTST
from tsfm.training.config import TrainerConfig
from tsfm.training.trainer import fit

CASES = ("channel_attention", "five_channels", "no_channel_attention", "dynamics_embedding")


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(shared: Path, case: str) -> None:
    directory = shared / "reference" / "panda" / case
    given = load_file(directory / "inputs.safetensors")
    expected = load_file(directory / "outputs.safetensors")
    model = PatchTST.from_pretrained(directory)
    forecast = model.predict(Context(past=given["past_values"].numpy()), 128)
    np.testing.assert_allclose(forecast.mean, expected["prediction"].numpy(), atol=1e-5, rtol=0)
    loss = np.square(forecast.mean - given["future_values"].numpy()).mean()
    assert loss == pytest.approx(expected["loss"].item(), abs=1e-5)
    assert forecast.is_degenerate
    np.testing.assert_array_equal(forecast.quantiles[..., 0], forecast.mean)


def dense_encoding(model: PatchTST, values: Tensor) -> Tensor:
    """The encoder in plain operations, ``[batch, variate, patch, bar]`` to hidden states."""
    config = model.config
    heads, dim = config.heads, config.d_model // config.heads

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + config.norm_eps) * weight

    def rotate(x: Tensor) -> Tensor:
        pairs = dim // 2
        angles = torch.zeros(x.shape[-2], pairs)
        for k in range(int(config.rope_fraction * pairs)):
            angles[:, k] = torch.arange(x.shape[-2]) * config.rope_wavelength ** (-2 * k / dim)
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()
        return torch.stack(turned, -1).flatten(-2)

    def attend(attention: nn.Module, x: Tensor, turn: bool) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (heads, dim)).transpose(-2, -3)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if turn:
            q, k = rotate(q), rotate(k)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(dim)).softmax(-1)
        return attention.out_proj((weights @ v).transpose(-2, -3).flatten(-2))

    x = model.embedding(values)
    for layer in model.encoder.layers:
        x = x + attend(layer.time_attention, norm(x, layer.time_norm.weight), True)
        if layer.channel_attention is not None:
            normed = norm(x, layer.channel_norm.weight).transpose(1, 2)
            x = x + attend(layer.channel_attention, normed, False).transpose(1, 2)
        hidden = F.gelu(layer.ff.fc1(norm(x, layer.ff_norm.weight)))
        x = x + layer.ff.fc2(hidden)
    return x


@pytest.mark.parametrize("mixing", ["none", "attention"])
@pytest.mark.parametrize("width", [1, 3, 9])
def test_loss_and_gradients_equal_a_dense_implementation(mixing: str, width: int) -> None:
    model = make_patchtst(channel_mixing=mixing)
    past = torch.from_numpy(make_past(5, 128, width)).transpose(1, 2)
    batch = {"context": past[..., :96].contiguous(), "future": past[..., 96:].contiguous()}
    batch["scored"] = torch.ones_like(batch["future"], dtype=torch.bool)
    total, count = model.loss(batch)
    total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    centre = batch["context"].mean(-1, keepdim=True)
    spread = batch["context"].std(-1, keepdim=True, unbiased=False)
    hidden = dense_encoding(model, ((batch["context"] - centre) / spread).unflatten(-1, (6, 16)))
    predicted = model.head(hidden.max(2).values)
    expected = (predicted - (batch["future"] - centre) / spread).square().sum()
    expected.backward()
    assert count == 5 * width * 32
    assert total.item() == pytest.approx(expected.item(), rel=1e-4)
    largest = max(p.grad.abs().max() for p in model.parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=2e-3, atol=1e-5 * largest)


@pytest.mark.parametrize("fields", [{"dropout": 0.1}, {"attention_dropout": 0.1}])
def test_dropout_acts_in_training_only(fields: dict[str, float]) -> None:
    model = make_patchtst(**fields)
    batch = model.collate(endless_windows([(3, 128)]), 4, np.random.default_rng(0))
    losses = [model.loss(batch)[0].item() for _ in range(2)]
    assert losses[0] != losses[1]
    model.eval()
    plain = make_patchtst()
    plain.load_state_dict(model.state_dict())
    assert model.loss(batch)[0].item() == pytest.approx(plain.loss(batch)[0].item(), rel=1e-4)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_ragged_batches_forecast_as_their_series_alone(pooling: str) -> None:
    model = make_patchtst(pooling=pooling)
    widths, lengths = [1, 3, 7, 40], [96, 50, 96, 17]
    context = ragged_context(widths, lengths)
    forecast = model.predict(context, 24)
    for row, (width, length) in enumerate(zip(widths, lengths, strict=True)):
        alone = model.predict(Context(past=context.past[row : row + 1, -length:, :width]), 24)
        assert np.isnan(forecast.mean[row, :, width:]).all()
        np.testing.assert_allclose(
            forecast.mean[row, :, :width], alone.mean[0], rtol=1e-3, atol=1e-4
        )


def test_order_of_variates_does_not_matter_and_mixing_does() -> None:
    past, order = make_past(width=7), np.random.default_rng(1).permutation(7)
    for mixing, is_mixed in (("attention", True), ("none", False)):
        model = make_patchtst(channel_mixing=mixing)
        straight = model.predict(past=past, horizon=20).mean
        shuffled = model.predict(past=past[:, :, order], horizon=20).mean
        np.testing.assert_allclose(straight[:, :, order], shuffled, rtol=1e-3, atol=1e-4)
        alone = model.predict(past=past[:, :, :1], horizon=20).mean
        assert np.allclose(alone, straight[:, :, :1], rtol=1e-3, atol=1e-4) != is_mixed


def test_forecast_scales_and_shifts_with_the_data() -> None:
    model, past = make_patchtst(), make_past()
    plain = model.predict(past=past, horizon=12).mean
    moved = model.predict(past=past * 1000 + 5000, horizon=12).mean
    np.testing.assert_allclose(moved / 1000 - 5, plain, rtol=5e-3, atol=2e-2)
    huge = model.predict(past=past * np.float32(1e35), horizon=12).mean
    np.testing.assert_allclose(huge / 1e35, plain, rtol=1e-3, atol=1e-3)


def test_longer_horizons_are_rolled() -> None:
    model, past = make_patchtst(), make_past()
    long = model.predict(past=past, horizon=70).mean
    first = model.predict(past=past, horizon=32).mean
    then = model.predict(past=np.concatenate([past, first], 1)[:, -96:], horizon=32).mean
    np.testing.assert_allclose(long[:, :64], np.concatenate([first, then], 1), rtol=1e-4, atol=1e-4)
    assert long.shape == (3, 70, 3)
    assert np.isfinite(long).all()


def test_missing_bars_are_not_seen() -> None:
    model, past = make_patchtst(), make_past()
    holes = np.random.default_rng(0).random(past.shape) > 0.2
    spoilt = Context(past=np.where(holes, past, 1e6), observed=holes)
    np.testing.assert_array_equal(
        model.predict(spoilt, 16).mean,
        model.predict(Context(past=np.where(holes, past, np.nan)), 16).mean,
    )
    with pytest.raises(DataError, match="item 1"):
        model.predict(past=np.stack([past[0], past[1] * np.nan]), horizon=3)


def test_chunks_do_not_change_a_forecast() -> None:
    past = make_past(batch=7)
    whole = make_patchtst().predict(past=past, horizon=40).mean
    parts = make_patchtst(forecast_tokens=1).predict(past=past, horizon=40).mean
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-4)


def test_quantile_head_is_scored_by_pinball_loss() -> None:
    model = make_patchtst(quantiles=True, horizon=8)
    batch = model.collate(endless_windows([(2, 104)]), 3, np.random.default_rng(0))
    hidden, scaling = model._encode(batch)
    predicted = model._project(hidden, batch)
    target = scaling.standardised(batch["future"])
    expected = 0.0
    for k, level in enumerate(np.arange(1, 10) / 10):
        error = target - predicted[..., k]
        expected += torch.where(error > 0, level * error, (level - 1) * error).sum() / 9
    assert model.loss(batch)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    forecast = model.predict(past=make_past(), horizon=20, quantile_levels=(0.1, 0.35, 0.9))
    assert not forecast.is_degenerate
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()


@pytest.mark.parametrize("mode", ["prediction", "masked"])
def test_is_trained_by_fit(make_panel, tmp_path: Path, mode: str) -> None:
    torch.manual_seed(0)
    model = PatchTST(make_patchtst(mode=mode).config)
    assert isinstance(model, Trainable)
    panel = make_panel(n_items=4, length=300, variates=("x", "y", "z"))
    config = TrainerConfig(
        max_steps=30, batch_size=8, lr=5e-3, warmup_steps=3, validate_every=15,
        validation_batches=2, progress=False, threads=1,
    )  # fmt: skip
    batch = model.collate(endless_windows([(3, 128)]), 8, np.random.default_rng(0))
    result = fit(model, panel, validation=panel, config=config, output_dir=tmp_path)
    assert result.steps == 30
    assert result.validation_loss < (2.0 if mode == "prediction" else 1.2)
    assert batch["tokens"].shape[:2].numel() == 8 * 3 * (6 if mode == "prediction" else 8)
    again = PatchTST.load(result.model_directory)
    past = make_past()
    np.testing.assert_array_equal(
        again.predict(past=past, horizon=9).mean, result.model.predict(past=past, horizon=9).mean
    )


def test_masked_loss_counts_hidden_observed_bars_only() -> None:
    model = make_patchtst(mode="masked")
    batch = model.collate(endless_windows([(2, 96)], missing=0.1), 3, np.random.default_rng(0))
    total, count = model.loss(batch)
    hidden = batch["hidden"].repeat_interleave(16, -1)
    assert count == (hidden & batch["observed"]).sum()
    spoilt = {**batch, "context": batch["context"].where(batch["observed"], 1e9)}
    assert model.loss(spoilt)[0].item() == total.item()
    state, _ = model._encode(batch)
    other = {**batch, "context": batch["context"] + 5 * hidden}
    torch.testing.assert_close(model._encode(other)[0], state)


def test_padding_counts_nothing() -> None:
    model = make_patchtst()
    shapes = [(3, 128), (1, 128), (5, 70)]
    together = model.collate(endless_windows(shapes), 3, np.random.default_rng(0))
    stream = endless_windows(shapes)
    parts = [
        model.loss(model.collate(itertools.islice(stream, 1), 1, np.random.default_rng(0)))
        for _ in shapes
    ]
    total, count = model.loss(together)
    assert count == sum(part[1] for part in parts) == 9 * 32
    assert total.item() == pytest.approx(sum(part[0].item() for part in parts), rel=1e-3)


def test_series_that_stand_still_teach_nothing() -> None:
    model = make_patchtst()
    batch = model.collate(endless_windows([(2, 128)]), 2, np.random.default_rng(0))
    batch["context"][0, 1] = 3.0
    total, count = model.loss(batch)
    assert count == 3 * 32
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_adapters_and_probe_train_what_they_should() -> None:
    batch = make_patchtst().collate(endless_windows([(3, 128)]), 4, np.random.default_rng(0))
    model = make_patchtst()
    before = model.loss(batch)[0].item()
    enable_lora(model, rank=4)
    assert model.loss(batch)[0].item() == pytest.approx(before, rel=1e-4)
    model.loss(batch)[0].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert len(trained) == 2 * 2 * (4 + 4 + 2)
    assert all("lora" in name for name in trained)
    assert merge_lora(model).loss(batch)[0].item() == pytest.approx(before, rel=1e-4)
    probe = enable_linear_probe(make_patchtst())
    probe.loss(batch)[0].backward()
    assert [n for n, p in probe.named_parameters() if p.grad is not None] == ["head.weight"]


def test_embeddings_and_maps_of_what_is_real() -> None:
    model, context = make_patchtst(), ragged_context([3, 2], [96, 40])
    states = model.embeddings(context)
    assert states.shape == (2, 3, 6, 32)
    assert np.isnan(states[1, 2]).all()
    assert np.isnan(states[1, 0]).any(-1).tolist() == [True] * 3 + [False] * 3
    maps = model.channel_maps(context)
    assert maps.shape == (2, 2, 6, 2, 3, 3)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    assert (maps[:, 1, 3:, :, :, 2] == 0).all()
    assert make_patchtst(channel_mixing="none").channel_maps(context).shape[0] == 0


def test_covariates_are_told_as_left_out() -> None:
    with pytest.warns(UserWarning, match="2 past and 1 known"):
        make_patchtst().expect_able(variates=3, context=96, horizon=8, past=2, known=1)
