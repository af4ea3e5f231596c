"""States of encoders: one per token, the same however series are batched, and pooled evenly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.chronos_tiny import FAMILIES, tiny
from support.patchtst import make_patchtst, ragged_context

from tsfm.errors import ConfigError
from tsfm.models import model_class
from tsfm.models.base import Context
from tsfm.models.embedder import Embedder, expect_embedder, last_states, pooled, pooled_states

NAMES = ("patchtst-none", "patchtst-attention", "patchtst_hf", "moirai", "ttm", *FAMILIES)


def build(name: str, directory: Path) -> Embedder:
    torch.manual_seed(0)
    if name.startswith("patchtst-"):
        return make_patchtst(channel_mixing=name.partition("-")[2], context=64, patch=8)
    if name == "patchtst_hf":
        from tsfm.models.patchtst_hf import HfPatchTST
        from tsfm.models.patchtst_hf_config import HfPatchTSTConfig

        size = {"d_model": 16, "heads": 2, "layers": 1, "d_ff": 32}
        return HfPatchTST(HfPatchTSTConfig(context=64, horizon=8, patch=8, variates=3, **size))
    if name == "moirai":
        from tsfm.models.moirai import Moirai
        from tsfm.models.moirai_config import MoiraiConfig

        sizes = {"d_model": 64, "num_layers": 1, "patch_sizes": (8, 16), "patch_size": 8}
        return Moirai(MoiraiConfig(**sizes, context=64, horizon=8))
    if name == "ttm":
        from tsfm.models.ttm import TinyTimeMixer
        from tsfm.models.ttm_config import TinyTimeMixerConfig

        sizes = {"d_model": 16, "num_layers": 2, "adaptive_patching_levels": 0}
        lengths = {"patch_length": 8, "patch_stride": 8}
        return TinyTimeMixer(TinyTimeMixerConfig(**sizes, **lengths, context=64, horizon=8))
    return model_class("chronos").load(tiny(name, directory), allow_untrained=True)


@pytest.fixture(params=NAMES)
def model(request, tmp_path) -> Embedder:
    return build(request.param, tmp_path)


def test_a_state_for_every_token_of_every_variate_present(model):
    context = ragged_context([2, 3], [64, 64])
    states = model.embeddings(context)
    assert states.shape[:2] == (2, 3)
    assert states.shape[2] in (8, 64)
    present = np.isfinite(states).all(axis=(2, 3))
    np.testing.assert_array_equal(present, [[True, True, False], [True, True, True]])
    assert np.isnan(states[0, 2]).all()
    assert states[1].std(axis=0).max() > 0


def test_states_do_not_depend_on_what_else_is_in_the_batch(model):
    context = ragged_context([3, 3, 3], [64, 64, 64])
    together = model.embeddings(context)
    for row in range(3):
        alone = model.embeddings(context.rows([row]))
        np.testing.assert_allclose(together[row], alone[0], atol=2e-4)


def test_states_follow_the_values_and_leave_training_as_it_was(model):
    model.train()
    context = ragged_context([3], [64])
    before = model.embeddings(context)
    assert model.training
    changed = Context(past=np.concatenate([context.past[:, :-8], context.past[:, -16:-8]], axis=1))
    after = model.embeddings(changed)
    assert np.abs(before[:, :, -1] - after[:, :, -1]).max() > 1e-4
    np.testing.assert_array_equal(before, model.embeddings(context))


@pytest.mark.parametrize("name", ["moirai", "ttm", "patchtst_hf"])
def test_states_are_those_that_forecasts_are_made_of(name, tmp_path):
    """Held to a hook on the encoder, in the pass that forecasts."""
    model = build(name, tmp_path)
    encoder = {
        "moirai": lambda: model.encoder,
        "ttm": lambda: model.backbone.encoder,
        "patchtst_hf": lambda: model.network.model.encoder,
    }[name]()
    seen: list = []
    encoder.register_forward_hook(lambda *given: seen.append(given[2]))
    context = ragged_context([1], [64])
    states = model.embeddings(context)
    found = seen[-1]
    found = getattr(found, "last_hidden_state", found).detach().numpy()
    np.testing.assert_allclose(states[0, 0], found.reshape(states.shape[2:]), atol=1e-5)


def test_pooling_counts_every_variate_alike():
    states = np.full((1, 3, 4, 2), np.nan)
    states[0, 0] = 1.0
    states[0, 1, 3] = 3.0
    np.testing.assert_allclose(pooled(states), [[2.0, 2.0]])
    assert np.isnan(pooled(np.full((1, 2, 2, 2), np.nan))).all()


def test_pooled_and_last_states_join_batches(tmp_path):
    model = build("patchtst-attention", tmp_path)
    contexts = [ragged_context([3, 2], [64, 64]), ragged_context([1, 3], [64, 64], seed=7)]
    joined, latest = pooled_states(model, contexts), last_states(model, contexts)
    for place, context in enumerate(contexts):
        states = model.embeddings(context)
        rows = np.s_[2 * place : 2 * place + 2]
        np.testing.assert_allclose(latest[rows], states[:, :, -1], rtol=1e-6)
        np.testing.assert_allclose(joined[rows], pooled(states.astype(float)), rtol=1e-6)


def test_models_without_an_encoder_are_told():
    parroting = model_class("parroting")()
    with pytest.raises(ConfigError, match=r"parroting has no encoder.*patchtst"):
        expect_embedder(parroting)


def test_random_chronos_weights_give_no_states(tmp_path):
    model = model_class("chronos").load(tiny("bolt", tmp_path))
    with pytest.raises(ConfigError, match="never been trained"):
        model.embeddings(ragged_context([1], [64]))
