"""Dropout of the adapters' input: peft's own in training, in every layer, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from support.ttm import make_batch, make_model

from tsfm.errors import ConfigError
from tsfm.models import ttm_layers
from tsfm.models.adaptation import adapt
from tsfm.models.adaptation_config import AdaptationConfig
from tsfm.models.adapter_files import load_adapters, save_adapters
from tsfm.models.adapters import adapter_ranks, enable_lora, merge_lora

SINE = np.sin(np.arange(64.0))


def adapted(rate: float, **fields: object):
    model = enable_lora(make_model(**fields), rank=4, alpha=6.0, dropout=rate)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    return model


def forecast(model) -> np.ndarray:
    return model.predict(past=SINE, horizon=16).mean


def layers(dropout: float):
    """peft's own layer and ours, of equal weights."""
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    from tsfm.models.lora_linear import MergedLinear

    config = LoraConfig(r=3, lora_alpha=5, lora_dropout=dropout, target_modules=["x"])
    base = torch.nn.Linear(12, 7)
    made = [
        kind(base, "default", config=config, r=3, lora_alpha=5) for kind in (Linear, MergedLinear)
    ]
    with torch.no_grad():
        made[0].lora_B["default"].weight.normal_()
    made[1].load_state_dict(made[0].state_dict())
    return made


def test_the_layer_drops_and_learns_as_peft_s_own_does():
    theirs, ours = layers(0.4)
    x, found = torch.randn(50, 12), []
    for layer in (theirs, ours):
        torch.manual_seed(3)
        output = layer(x)
        output.square().sum().backward()
        found.append(
            (output, *(getattr(layer, n)["default"].weight.grad for n in ("lora_A", "lora_B")))
        )
    for expected, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    assert not torch.equal(ours(x), ours(x))


def test_without_training_nothing_is_dropped():
    theirs, ours = (layer.eval() for layer in layers(0.4))
    x = torch.randn(50, 12)
    torch.testing.assert_close(ours(x), theirs(x))
    assert torch.equal(ours(x), torch.nn.functional.linear(x, ours.weight, ours.bias))
    ours.train().merge()
    assert torch.equal(ours(x), ours(x))


@pytest.mark.parametrize("fields", [{}, {"gated_attn": False}])
def test_all_layers_of_tinytimemixer_drop(fields, monkeypatch):
    model = adapted(0.4, **fields).train()
    called = []
    for name, layer in model.named_modules():
        if name in adapter_ranks(model):
            layer.lora_dropout["default"].register_forward_hook(
                lambda *_, name=name: called.append(name)
            )
    monkeypatch.setattr(ttm_layers, "mix_features", None)
    monkeypatch.setattr(ttm_layers, "mix_patches", None)
    model.loss(make_batch(model))[0].backward()
    assert set(called) == set(adapter_ranks(model))
    weights = {n: p for n, p in model.named_parameters() if "lora_" in n}
    assert all(p.grad is not None for p in weights.values())


def test_the_layers_one_by_one_compute_and_learn_what_the_compiled_mixers_do():
    plain = adapted(0.0, dropout=0.0, head_dropout=0.0).train()
    layered = adapted(0.4, dropout=0.0, head_dropout=0.0).train()
    for layer in layered.modules():
        if hasattr(layer, "lora_dropout"):
            layer.lora_dropout["default"].p = 0.0
    batch = make_batch(plain)
    losses = [model.loss(batch)[0] for model in (plain, layered)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)
    for loss in losses:
        loss.backward()
    expected = dict(plain.named_parameters())
    for name, parameter in layered.named_parameters():
        if "lora_" in name:
            scale = float(expected[name].grad.abs().max())
            torch.testing.assert_close(
                parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-4 * scale
            )


def test_forecasts_are_those_of_adapters_without_dropout():
    expected = forecast(adapted(0.0))
    model = adapted(0.4)
    np.testing.assert_array_equal(forecast(model), expected)
    np.testing.assert_array_equal(forecast(merge_lora(model)), expected)


def test_adapters_on_a_model_that_forecasts_do_not_train():
    model = enable_lora(make_model().eval(), dropout=0.4)
    assert not any(layer.training for layer in model.modules())
    model = enable_lora(make_model().train(), dropout=0.4)
    assert all(layer.training for layer in model.modules())


def test_it_is_kept_with_the_adapters(tmp_path):
    model = make_model()
    adapt(model, AdaptationConfig(lora_dropout=0.25))
    save_adapters(model, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["lora_dropout"] == 0.25
    loaded = load_adapters(make_model(), tmp_path)
    rates = {part.lora_dropout["default"].p for part in loaded.modules() if hasattr(part, "r")}
    assert rates == {0.25}


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_shares_outside_are_refused(dropout):
    with pytest.raises(ConfigError, match="lora_dropout="):
        AdaptationConfig(lora_dropout=dropout)
    model = make_model()
    with pytest.raises(ConfigError, match="dropout="):
        enable_lora(model, dropout=dropout)
    assert adapter_ranks(model) == {}
