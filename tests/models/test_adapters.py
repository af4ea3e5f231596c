"""Adapters by what defines them: nothing changes at first, only they learn, merging is exact."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tsfm.errors import ConfigError
from tsfm.models.adapters import enable_linear_probe, enable_lora, merge_lora
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.statistical import RandomWalk


@pytest.fixture
def model() -> Moirai:
    torch.manual_seed(0)
    config = MoiraiConfig.preset(
        "tiny", patch_sizes=(8, 16), context=64, horizon=16, patch_size=8, token_budget=64
    )
    return Moirai(config).eval()


@pytest.fixture
def past() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 64, 3)).cumsum(1)


def quantiles(model: Moirai, past: np.ndarray) -> np.ndarray:
    return model.predict(past=past, horizon=16).quantiles


def batch_of(model: Moirai, past: np.ndarray, make_panel) -> dict[str, torch.Tensor]:
    from tsfm.data.windows import WindowStream

    rng = np.random.default_rng(1)
    stream = WindowStream([make_panel(length=200)], model.window_spec)
    return model.collate(stream(rng), 4, rng)


def train(model: Moirai, batch: dict[str, torch.Tensor], steps: int = 3) -> None:
    able = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(able, lr=0.05)
    for _ in range(steps):
        total, count = model.loss(batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()


def adapters(model: Moirai) -> dict[str, torch.Tensor]:
    return {name: p for name, p in model.named_parameters() if "lora_" in name}


def test_forecasts_are_unchanged_until_something_is_learned(model, past):
    before = quantiles(model, past)
    enable_lora(model, rank=4)
    np.testing.assert_array_equal(quantiles(model, past), before)


def test_only_the_adapters_learn(model, past, make_panel):
    enable_lora(model, rank=4)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == set(adapters(model))
    batch = batch_of(model, past, make_panel)
    loss = float(model.loss(batch)[0].detach())
    train(model.train(), batch, steps=5)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed
    assert changed <= trainable
    assert any("lora_A" in name for name in changed)
    assert float(model.loss(batch)[0].detach()) < loss


def test_every_target_of_the_model_gets_an_adapter_of_the_rank(model):
    enable_lora(model, rank=4)
    adapted = {name.rpartition(".lora_A")[0] for name in adapters(model) if "lora_A" in name}
    linear = {
        name.removesuffix(".base_layer")
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and "lora_" not in name
    }
    wanted = {n for n in linear if n.endswith(model.lora_targets)}
    assert adapted == wanted
    assert all(min(a.shape) == 4 for a in adapters(model).values())


def test_merged_weights_are_those_that_lora_defines(model, past, make_panel):
    plain = copy.deepcopy(model)
    rank, alpha = 4, 6.0
    enable_lora(model, rank=rank, alpha=alpha)
    train(model.train(), batch_of(model, past, make_panel))
    expected = {name: p.clone() for name, p in plain.state_dict().items()}
    learned = dict(adapters(model))
    for name, a in learned.items():
        if ".lora_A." in name:
            b = learned[name.replace("lora_A", "lora_B")]
            layer = name.partition(".lora_A.")[0]
            expected[f"{layer}.weight"] += alpha / rank * (b @ a).detach()
    adapted = quantiles(model.eval(), past)
    merged = merge_lora(model)
    assert merged.state_dict().keys() == expected.keys()
    for name, value in merged.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(quantiles(merged, past), adapted, atol=1e-5, rtol=1e-5)
    assert not np.allclose(adapted, quantiles(plain, past), atol=1e-4)
    assert all(p.requires_grad for p in merged.parameters())


def test_merging_what_has_no_adapters_changes_nothing(model, past):
    before = quantiles(model, past)
    model.requires_grad_(False)
    merged = merge_lora(model)
    np.testing.assert_array_equal(quantiles(merged, past), before)
    assert all(p.requires_grad for p in merged.parameters())


def test_a_merged_model_is_saved_as_a_plain_one(model, past, make_panel, tmp_path):
    enable_lora(model, rank=2)
    train(model.train(), batch_of(model, past, make_panel))
    merged = merge_lora(model).eval()
    merged.save(tmp_path / "model")
    loaded = Moirai.load(tmp_path / "model")
    np.testing.assert_array_equal(quantiles(loaded, past), quantiles(merged, past))


class Narrow(Moirai):
    """A layer of rank 3 at most beside wider ones."""

    def __init__(self) -> None:
        super().__init__(MoiraiConfig.preset("tiny", patch_sizes=(8,)))
        self.narrow = torch.nn.Linear(64, 3)


def test_rank_is_capped_below_each_layer_s_own_and_the_scale_stays():
    model = Narrow()
    enable_lora(model, rank=8, alpha=16.0, targets=("narrow", "q_proj"))
    ranks = {n.partition(".lora_A")[0]: a.shape[0] for n, a in adapters(model).items() if "_A" in n}
    assert ranks.pop("narrow") == 2
    assert set(ranks.values()) == {8}
    scales = {layer.scaling["default"] for layer in model.modules() if hasattr(layer, "scaling")}
    assert scales == {2.0}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rank": 0}, "rank=0"),
        ({"alpha": 0.0}, "alpha=0"),
        ({"targets": ("no_such_layer",)}, "no linear layer matches no_such_layer.*q_proj"),
    ],
)
def test_bad_arguments_are_refused_and_leave_the_model_as_it_was(model, past, arguments, told):
    with pytest.raises(ConfigError, match=told):
        enable_lora(model, **arguments)
    assert not adapters(model)
    assert all(p.requires_grad for p in model.parameters())


def test_adapters_are_not_added_twice(model):
    enable_lora(model, rank=2)
    with pytest.raises(ConfigError, match="already"):
        enable_lora(model, rank=2)


@pytest.mark.parametrize("enable", [enable_lora, enable_linear_probe])
def test_a_model_without_weights_has_nothing_to_adapt(enable):
    with pytest.raises(ConfigError, match="random_walk"):
        enable(RandomWalk())


def test_linear_probe_trains_the_output_projection_only(model, past, make_panel):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    enable_linear_probe(model)
    batch = batch_of(model, past, make_panel)
    loss = float(model.loss(batch)[0].detach())
    train(model.train(), batch, steps=3)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    head = {f"param_proj.{name}" for name, _ in model.param_proj.named_parameters()}
    assert changed == head
    assert float(model.loss(batch)[0].detach()) < loss
