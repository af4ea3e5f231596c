"""LoRA's own layer beside peft's, and adapters in files of their own."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from support.ttm import make_batch, make_model

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.adapter_files import load_adapters, save_adapters
from tsfm.models.adapters import adapter_ranks, enable_lora, merge_lora
from tsfm.models.statistical import RandomWalk


def adapted(seed: int = 1):
    model = enable_lora(make_model(), rank=4, alpha=6.0)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1)
    return model


def forecast(model) -> np.ndarray:
    return model.predict(past=np.sin(np.arange(64.0)), horizon=16).mean


def test_the_layer_computes_and_learns_as_peft_s_own_does():
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    from tsfm.models.lora_linear import MergedLinear

    config = LoraConfig(r=3, lora_alpha=5, target_modules=["x"])
    base, x = torch.nn.Linear(12, 7), torch.randn(5, 12)
    layers = [
        kind(base, "default", config=config, r=3, lora_alpha=5) for kind in (Linear, MergedLinear)
    ]
    with torch.no_grad():
        layers[0].lora_B["default"].weight.normal_()
    layers[1].load_state_dict(layers[0].state_dict())
    outputs = [layer(x) for layer in layers]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        output.square().sum().backward()
    for name in ("lora_A", "lora_B"):
        theirs, ours = (getattr(layer, name)["default"].weight.grad for layer in layers)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_merging_is_exact_to_the_last_bit():
    model = adapted()
    before = forecast(model)
    np.testing.assert_array_equal(forecast(merge_lora(model)), before)


def test_effective_ranks_are_told_and_logged(caplog):
    with caplog.at_level(logging.INFO, logger="tsfm"):
        model = enable_lora(make_model(), rank=16)
    ranks = adapter_ranks(model)
    narrow = "decoder.decoder_block.mixers.0.patch_mixer.mlp.fc1"
    assert ranks[narrow] == 7
    assert (
        ranks["backbone.encoder.mlp_mixer_encoder.mixers.1.mixer_layers.0.feature_mixer.mlp.fc1"]
        == 16
    )
    assert "rank 16 is capped in" in caplog.text
    assert "to 7 at the least" in caplog.text
    assert adapter_ranks(make_model()) == {}


def test_targets_that_match_nothing_are_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"no linear layer matches q_proj.*head\.base_forecast"):
        enable_lora(make_model(), targets=("q_proj",))


def test_adapters_saved_apart_are_put_on_their_base(tmp_path):
    model = adapted()
    save_adapters(model, tmp_path / "adapters", base_model="somewhere/base")
    assert {p.name for p in (tmp_path / "adapters").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    content = json.loads((tmp_path / "adapters" / "adapter_config.json").read_text())
    assert content["base_model_name_or_path"] == "somewhere/base"
    loaded = load_adapters(make_model(), tmp_path / "adapters")
    np.testing.assert_array_equal(forecast(loaded), forecast(model))
    trainable = {name for name, p in loaded.named_parameters() if p.requires_grad}
    assert trainable == {n for n, _ in model.named_parameters() if "lora_" in n}
    loaded.loss(make_batch(loaded))[0].backward()


def test_peft_reads_them(tmp_path):
    from peft import PeftModel

    class Holder(torch.nn.Module):
        """What peft wants of a model."""

        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            for name, child in inner.named_children():
                self.add_module(name, child)

    model = adapted()
    save_adapters(model, tmp_path)
    theirs = PeftModel.from_pretrained(Holder(make_model()), tmp_path).state_dict()
    for name, value in model.state_dict().items():
        if "lora_" in name:
            torch.testing.assert_close(theirs[f"base_model.model.{name}"], value)


@pytest.mark.parametrize("damage", ["no_config", "no_weights", "cut", "no_field"])
def test_damaged_files_are_told(tmp_path, damage):
    save_adapters(adapted(), tmp_path)
    config, weights = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    if damage == "no_config":
        config.unlink()
    elif damage == "no_weights":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:50])
    else:
        config.write_text("{}")
    with pytest.raises(CheckpointError, match="no adapters can be read"):
        load_adapters(make_model(), tmp_path)


def test_adapters_of_another_model_are_refused_and_leave_it_as_it_was(tmp_path):
    save_adapters(adapted(), tmp_path)
    model = make_model(d_model=64)
    with pytest.raises(CheckpointError, match="of another model: backbone"):
        load_adapters(model, tmp_path)
    assert adapter_ranks(model) == {}


def test_what_has_no_adapters_has_none_to_save(tmp_path):
    with pytest.raises(ConfigError, match="no adapters"):
        save_adapters(make_model(), tmp_path)
    with pytest.raises(ConfigError, match="no adapters"):
        save_adapters(RandomWalk(), tmp_path)
    with pytest.raises(ConfigError, match="adapters already"):
        load_adapters(adapted(), tmp_path)
