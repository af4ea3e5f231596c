"""MOIRAI against the reference's recorded outputs and a slow dense implementation."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from support.moirai import make_batch, make_context, make_model
from torch import Tensor, nn

from tsfm.errors import CheckpointError
from tsfm.models.base import Trainable
from tsfm.models.distributions import Mixture
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.tokens import Tokens

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "moirai"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the reference's recorded outputs are not beside the checkout"
)
PUBLISHED = {"small": 13_827_528, "base": 91_357_728, "large": 310_970_624}


def dense_loss(model: Moirai, batch: dict[str, Tensor]) -> Tensor:
    """The packed loss by plain dense attention over every slot and automatic differentiation."""
    target, observed = batch["target"], batch["observed_mask"]
    sample, variate = batch["sample_id"], batch["variate_id"]
    same_sample = sample[:, :, None] == sample[:, None, :]
    same_variate = variate[:, :, None] == variate[:, None, :]
    group = (same_sample & same_variate).double()
    seen = (observed & ~batch["prediction_mask"][..., None]).double()
    count = group @ seen.sum(-1, keepdim=True)
    location = group @ (target * seen).sum(-1, keepdim=True) / count.clamp_min(1)
    squares = group @ ((target - location).square() * seen).sum(-1, keepdim=True)
    scale = (squares / (count - 1).clamp_min(1) + model.config.minimum_variance).sqrt()
    scaled = (target - location) / scale
    if model.config.mean_imputation:
        scaled = torch.where(observed, scaled, 0)
    location, scale, scaled = location.float(), scale.float(), scaled.float()
    hidden = torch.zeros(*sample.shape, model.config.d_model)
    for k, size in enumerate(model.config.patch_sizes):
        embedded = F.linear(
            scaled[..., :size], model.in_proj.weight[k, :, :size], model.in_proj.bias[k]
        )
        hidden = torch.where((batch["patch_size"] == size)[..., None], embedded, hidden)
    hidden = torch.where(batch["prediction_mask"][..., None], model.mask_encoding.weight[0], hidden)
    for layer in model.encoder.layers:
        normed = dense_norm(hidden, layer.norm1.weight)
        hidden = hidden + dense_attention(layer, normed, batch, same_sample, same_variate)
        normed = dense_norm(hidden, layer.norm2.weight)
        ffn = layer.ffn
        gated = F.silu(F.linear(normed, ffn.fc_gate.weight)) * F.linear(normed, ffn.fc1.weight)
        hidden = hidden + F.linear(gated, ffn.fc2.weight)
    hidden = dense_norm(hidden, model.encoder.norm.weight)
    log_prob = torch.zeros_like(target)
    for k, size in enumerate(model.config.patch_sizes):
        (raw,) = model.param_proj({k: hidden.flatten(0, 1)})
        raw = raw.unflatten(1, sample.shape)
        values = Mixture.from_raw(raw, location, scale).log_prob(target[..., :size])
        values = F.pad(values, (0, target.shape[-1] - size))
        log_prob = torch.where((batch["patch_size"] == size)[..., None], values, log_prob)
    scored = (observed & batch["prediction_mask"][..., None]).float()
    terms = []
    for b in range(len(sample)):
        for s in sample[b].unique():
            for v in variate[b].unique():
                chosen = scored[b] * ((sample[b] == s) & (variate[b] == v))[:, None]
                if (
                    s > 0
                    and batch["prediction_mask"][b][(sample[b] == s) & (variate[b] == v)].any()
                ):
                    total = torch.where(chosen > 0, log_prob[b], 0.0).sum()
                    terms.append(-total / chosen.sum().clamp_min(1))
    return torch.stack(terms).mean()


def dense_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight


def dense_attention(
    layer: nn.Module, x: Tensor, batch: dict[str, Tensor], same_sample: Tensor, same_variate: Tensor
) -> Tensor:
    attention = layer.self_attn
    heads = attention.heads

    def split(linear: nn.Linear, norm: Tensor | None) -> Tensor:
        y = linear(x).unflatten(-1, (heads, 64)).transpose(1, 2)
        if norm is None:
            return y
        y = dense_norm(y, norm)
        angles = batch["time_id"][:, None, :, None] / 10_000 ** (torch.arange(0, 32, 2) / 32)
        cos, sin = angles.cos(), angles.sin()
        even, odd = y[..., 0:32:2], y[..., 1:32:2]
        turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
        return torch.cat((turned, y[..., 32:]), -1)

    q, k = (
        split(attention.q_proj, attention.q_norm.weight),
        split(attention.k_proj, attention.k_norm.weight),
    )
    between, within = attention.var_attn_bias.emb.weight[:, None, :, None, None]
    bias = torch.where(same_variate[:, None], within, between)
    scores = q @ k.transpose(-1, -2) / math.sqrt(64) + bias
    weights = scores.masked_fill(~same_sample[:, None], -math.inf).softmax(-1)
    mixed = weights @ split(attention.v_proj, None)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def gradients(model: Moirai, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def assert_same_gradients(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    largest = max(g.abs().max() for g in first.values())
    for name, gradient in first.items():
        torch.testing.assert_close(
            gradient, second[name], rtol=2e-3, atol=2e-5 * float(largest), msg=name
        )


@needs_reference
def test_equals_the_reference_implementation() -> None:
    model = Moirai.from_pretrained(REFERENCE).eval()
    batch, outputs = (
        load_file(REFERENCE / "inputs.safetensors"),
        load_file(REFERENCE / "outputs.safetensors"),
    )
    with torch.no_grad():
        mixture = model.distribution(batch)
        total, count = model.loss(batch)
    log_prob = mixture.log_prob(batch["target"])
    # The normal with scale 1e-3 amplifies float32 rounding a thousandfold: the recorded values are
    # themselves up to 2e-3 away from the same formula in float64.
    torch.testing.assert_close(log_prob, outputs["log_prob"], rtol=1e-4, atol=1e-3)
    error = (log_prob - outputs["log_prob"]).abs() / outputs["log_prob"].abs().clamp_min(1e-3)
    assert float((error < 1e-4).float().mean()) > 0.995
    torch.testing.assert_close(mixture.mean, outputs["mean"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(total / count, outputs["packed_nll_loss"][0], rtol=1e-5, atol=1e-6)


@needs_reference
def test_reference_layout_makes_later_logits_of_short_patches_constant() -> None:
    model = Moirai.from_pretrained(REFERENCE)
    hidden = torch.randn(5, model.config.d_model)
    for k, size in enumerate(model.config.patch_sizes):
        (raw,) = model.param_proj({k: hidden})
        varies = raw[:4].std(1).amax(-1) > 1e-6
        live = math.ceil(4 * size / model.config.patch_sizes[-1])
        assert varies.tolist() == [component < live for component in range(4)]
    own = make_model(patch_sizes=model.config.patch_sizes)
    (raw,) = own.param_proj({0: hidden})
    assert (raw[:4].std(1) > 1e-6).all()


@needs_reference
def test_released_configuration_with_instantiation_targets_loads(tmp_path: Path) -> None:
    shutil.copy(REFERENCE / "model.safetensors", tmp_path)
    content = json.loads((REFERENCE / "config.json").read_text())
    del content["distribution_components"]
    names = ("student_t.StudentT", "normal.NormalFixedScale", "negative_binomial.NegativeBinomial")
    names += ("log_normal.LogNormal",)
    content["distr_output"] = {
        "_target_": "uni2ts.distribution.mixture.MixtureOutput",
        "components": [{"_target_": f"uni2ts.distribution.{name}Output"} for name in names],
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    model = Moirai.from_pretrained(tmp_path, context=64, horizon=16)
    assert model.config.reference_weight_layout
    assert model.config.context == 64
    content["distr_output"]["components"].pop()
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="mixes student_t, normal_fixed_scale, negative"):
        Moirai.from_pretrained(tmp_path)


@needs_reference
def test_released_weights_survive_our_own_save_and_load(tmp_path: Path) -> None:
    model = Moirai.from_pretrained(REFERENCE).eval()
    again = Moirai.load(model.save(tmp_path / "model")).eval()
    assert again.config == model.config
    context = make_context(width=1)
    first, second = model.predict(context, 10), again.predict(context, 10)
    np.testing.assert_array_equal(first.quantiles, second.quantiles)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_sizes(preset: str) -> None:
    with torch.device("meta"):
        model = Moirai(MoiraiConfig.preset(preset))
    assert model.info()["parameters"] == PUBLISHED[preset]


@pytest.mark.parametrize("fields", [{}, {"mean_imputation": False, "minimum_variance": 1e-5}])
def test_loss_and_gradients_equal_dense_attention(fields: dict[str, object]) -> None:
    model, batch = make_model(token_budget=64, d_model=128, **fields), make_batch()
    total, count = model.loss(batch)
    expected = dense_loss(model, batch)
    torch.testing.assert_close(total / count, expected, rtol=1e-5, atol=1e-5)
    assert_same_gradients(gradients(model, expected), gradients(model, total / count))


def test_bias_between_and_within_variates_gets_a_gradient() -> None:
    model = make_model(token_budget=64)
    total, _ = model.loss(make_batch())
    total.backward()
    gradient = model.encoder.layers[0].self_attn.var_attn_bias.emb.weight.grad
    assert gradient is not None
    assert (gradient.abs() > 0).all()


@pytest.mark.parametrize("change", ["checkpointing", "wrapped", "dropout_path"])
def test_other_paths_give_the_same_gradients(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make_model(token_budget=64), make_batch()
    total, _ = model.loss(batch)
    expected = gradients(model, total)
    if change == "checkpointing":
        model.encoder.checkpointing = True
    elif change == "dropout_path":  # the general attention kernel, as on a GPU
        for layer in model.encoder.layers:
            layer.self_attn.dropout = 1e-12
    else:  # an adapter's layer is called, never looked through

        class Wrapped(nn.Linear):
            pass

        for layer in model.encoder.layers:
            layer.ffn.fc2.__class__ = Wrapped
    again, _ = model.loss(batch)
    torch.testing.assert_close(again, total, rtol=1e-5, atol=1e-4)
    assert_same_gradients(expected, gradients(model, again))
    del monkeypatch


def test_loss_of_a_batch_is_the_sum_over_its_rows() -> None:
    model, batch = make_model(token_budget=64), make_batch()
    total, count = model.loss(batch)
    parts = [model.loss({k: v[row : row + 1] for k, v in batch.items()}) for row in range(3)]
    torch.testing.assert_close(sum(part for part, _ in parts), total, rtol=1e-5, atol=1e-4)
    assert sum(float(n) for _, n in parts) == float(count)


@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 1e20, 1e37])
def test_location_and_scale_are_those_of_the_seen_values(magnitude: float) -> None:
    batch = make_batch() | {}
    batch["target"] = batch["target"] * magnitude + 3 * magnitude
    model, tokens = make_model(), Tokens.from_batch(batch)
    seen = model._patches(batch, tokens, ~tokens.predicted)
    location, scale = tokens.location_scale(seen.values(), 1e-10)
    for group in range(tokens.n_groups):
        chosen = (tokens.group == group) & ~tokens.predicted
        values = np.concatenate(
            [
                batch["target"]
                .flatten(0, 1)[slot, :size][batch["observed_mask"].flatten(0, 1)[slot, :size]]
                .numpy()
                for slot, size in zip(tokens.index[chosen], tokens.size[chosen])
            ]
        ).astype(float)
        assert float(location[chosen][0]) == pytest.approx(values.mean(), rel=1e-5)
        expected = np.sqrt(values.var(ddof=1) + 1e-10)
        assert float(scale[chosen][0]) == pytest.approx(expected, rel=1e-5)


def test_loss_of_huge_values_is_finite() -> None:
    batch = make_batch()
    total, count = make_model().loss(batch | {"target": batch["target"] * 1e20})
    plain, _ = make_model().loss(batch)
    # A density falls as its values grow: the mean of every pair's values moves by log 1e20.
    expected = float(plain.detach() / count) + np.log(1e20)
    assert float(total.detach() / count) == pytest.approx(expected, rel=1e-3)


def test_loss_ignores_what_it_must_not_see() -> None:
    model, batch = make_model(token_budget=64), make_batch()
    total, _ = model.loss(batch)
    changed = {name: value.clone() for name, value in batch.items()}
    beyond = torch.arange(changed["target"].shape[-1]) >= changed["patch_size"][..., None]
    changed["target"][beyond | ~changed["observed_mask"]] = 1e6
    again, _ = model.loss(changed)
    torch.testing.assert_close(again, total)


def test_autocast_is_close_to_single_precision() -> None:
    model, batch = make_model(token_budget=64), make_batch()
    total, count = model.loss(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = model.loss(batch)
    rough.backward()
    assert float((rough - total).detach().abs() / count) < 0.1


@pytest.mark.slow
def test_compiled_loss_equals_the_plain_one() -> None:
    model, batch = make_model(token_budget=64), make_batch()
    total, _ = model.loss(batch)
    expected = gradients(model, total)
    again, _ = torch.compile(model.loss, dynamic=True, backend="aot_eager")(batch)
    torch.testing.assert_close(again, total, rtol=1e-5, atol=1e-4)
    assert_same_gradients(expected, gradients(model, again))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees_with_the_processor() -> None:
    model, batch = make_model(token_budget=64, patch_size=16), make_batch()
    total, count = model.loss(batch)
    forecast = model.predict(make_context(), 20)
    model.cuda()
    moved = {name: value.cuda() for name, value in batch.items()}
    again, _ = model.loss(moved)
    again.backward()
    torch.testing.assert_close(again.cpu(), total, rtol=1e-4, atol=1e-2)
    with torch.autocast("cuda", torch.bfloat16):
        rough, _ = model.loss(moved)
    assert float((rough.cpu() - total).detach().abs() / count) < 0.1
    np.testing.assert_allclose(
        model.predict(make_context(), 20).quantiles, forecast.quantiles, rtol=2e-2, atol=2e-2
    )


def test_training_lowers_the_loss() -> None:
    model, batch = make_model(token_budget=64), make_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        total, count = model.loss(batch)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        losses.append(float((total / count).detach()))
    assert losses[-1] < losses[0] - 0.2


def test_is_trainable() -> None:
    model = make_model(context=100, horizon=28)
    assert isinstance(model, Trainable)
    assert (model.window_spec.min_length, model.window_spec.max_length) == (32, 128)
    names = {name.rpartition(".")[2] for name, m in model.named_modules() if type(m) is nn.Linear}
    assert names == set(model.lora_targets)
