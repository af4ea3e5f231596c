"""Which weights train in each mode, and what is refused."""

from __future__ import annotations

import pytest
import torch
from support.ttm import make_model

from tsfm.errors import ConfigError
from tsfm.models.adaptation import adapt, lora_layers
from tsfm.models.adaptation_config import AdaptationConfig
from tsfm.models.statistical import RandomWalk


def trainable(model: torch.nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def test_modes_train_more_and_more():
    counts = []
    for mode in ("zero_shot", "linear_probe", "full"):
        model = make_model()
        found = adapt(model, AdaptationConfig(mode=mode))
        counts.append(found.trainable)
        assert found.parameters == sum(p.numel() for p in model.parameters())
    assert counts[0] == 0 < counts[1] < counts[2]
    assert trainable(model) == {name for name, _ in model.named_parameters()}


def test_lora_caps_its_rank_by_width_and_tells():
    model = make_model()
    found = adapt(model, AdaptationConfig(mode="lora", lora_rank=64))
    widths = [min(m.in_features, m.out_features) for m in make_model().modules()
              if isinstance(m, torch.nn.Linear)]  # fmt: skip
    assert max(found.ranks.values()) < 64
    assert min(found.ranks.values()) >= min(widths) - 1
    assert all("lora_" in name for name in trainable(model))
    assert found.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_targets_choose_layers():
    model = make_model()
    adapt(model, AdaptationConfig(mode="lora", lora_targets=("fc1",)))
    assert all(".fc1.lora_" in name for name in trainable(model))


@pytest.mark.parametrize("targets", [("q_proj",), ("fc1", "mixer")])
def test_a_target_that_matches_nothing_is_refused_with_the_names_that_exist(targets):
    with pytest.raises(ConfigError, match=rf"matches {targets[-1]}.*fc1, fc2"):
        adapt(make_model(), AdaptationConfig(mode="lora", lora_targets=targets))


def test_a_frozen_backbone_stays_as_it_is():
    model = make_model()
    adapt(model, AdaptationConfig(mode="full", freeze_backbone=True))
    assert trainable(model) == {
        name for name, _ in model.named_parameters() if not name.startswith("backbone.")
    }
    model = make_model()
    adapt(model, AdaptationConfig(mode="lora", freeze_backbone=True))
    assert not any(name.startswith("backbone.") for name in trainable(model))
    assert lora_layers(make_model(), without="backbone")


def test_weights_that_start_at_random_are_trained_too():
    model = make_model(quantile_levels=(0.1, 0.5, 0.9))
    fresh = [name for name, _ in model.named_parameters() if "quantile_block" in name]
    adapt(model, AdaptationConfig(mode="lora"), fresh)
    assert set(fresh) <= trainable(model)
    with pytest.raises(ConfigError, match=r"mode=zero_shot.*quantile_block"):
        adapt(make_model(), AdaptationConfig(mode="zero_shot"), fresh)


def test_a_baseline_has_nothing_to_adapt():
    with pytest.raises(ConfigError, match=r"random_walk.*no weights"):
        adapt(RandomWalk(), AdaptationConfig())
