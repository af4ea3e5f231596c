"""Layers in one compiled call against the mixers one after the other."""

from __future__ import annotations

import copy
import pickle
from contextlib import ExitStack

import pytest
import torch

from tsfm.models import ttm_inference
from tsfm.models.ttm import TinyTimeMixer
from tsfm.models.ttm_config import TinyTimeMixerConfig
from tsfm.models.ttm_layers import MixerLayer
from tsfm.models.ttm_mixing import mix_plainly

PATCHES, WIDTH = 6, 20


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_layer(*, gated: bool = True) -> MixerLayer:
    layer = MixerLayer(PATCHES, WIDTH, TinyTimeMixerConfig(), 0.2, gated=gated).eval()
    for one in layer.parameters():
        torch.nn.init.normal_(one, std=0.4)
    return layer


def exactly(layer: MixerLayer, x: torch.Tensor) -> torch.Tensor:
    for mixer, along in ((layer.patch_mixer, True), (layer.feature_mixer, False)):
        weights = type(mixer.weights)(*(None if w is None else w.double() for w in mixer.weights))
        x = mix_plainly(x.double(), weights, mixer.eps, 0.0, along_patches=along)
    return x


def inferred(layer: MixerLayer, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return layer(x[:, None])[:, 0]


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize(("rows", "block"), [(1, 1), (7, 3), (64, 5), (64, 64)])
@pytest.mark.parametrize("threads", [1, 3])
def test_any_blocks_and_threads_give_what_the_mixers_do(monkeypatch, gated, rows, block, threads):
    monkeypatch.setattr(ttm_inference, "_BLOCK_BYTES", 4 * PATCHES * WIDTH * block)
    torch.set_num_threads(threads)
    layer, x = make_layer(gated=gated), torch.randn(rows, PATCHES, WIDTH)
    torch.testing.assert_close(inferred(layer, x), exactly(layer, x).float(), rtol=2e-5, atol=2e-5)


def test_it_is_what_forecasts_are_made_by(monkeypatch):
    asked = []
    call = ttm_inference.LayerInference.__call__
    monkeypatch.setattr(
        ttm_inference.LayerInference, "__call__", lambda *given: asked.append(1) or call(*given)
    )
    model = TinyTimeMixer(TinyTimeMixerConfig(context=64, horizon=16, patch_length=8, d_model=16))
    model.predict(past=torch.randn(100).numpy(), horizon=16)
    assert asked


def test_weights_that_learn_or_are_replaced_are_seen():
    layer, x = make_layer(), torch.randn(5, PATCHES, WIDTH)
    inferred(layer, x)
    other = make_layer()
    with torch.no_grad():
        for one, new in zip(layer.parameters(), other.parameters(), strict=True):
            one.copy_(new)
    torch.testing.assert_close(inferred(layer, x), inferred(other, x))
    third = make_layer()
    layer.load_state_dict(third.state_dict(), assign=True)
    torch.testing.assert_close(inferred(layer, x), inferred(third, x))
    layer.feature_mixer.mlp.fc1.weight = torch.nn.Parameter(torch.randn(WIDTH, 2 * WIDTH).t())
    inferred(layer, x)
    with torch.no_grad():
        layer.feature_mixer.mlp.fc1.weight.mul_(2)
    torch.testing.assert_close(inferred(layer, x), exactly(layer, x).float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_has_weights_of_its_own(copied):
    layer, x = make_layer(), torch.randn(5, PATCHES, WIDTH)
    before = inferred(layer, x)
    twin = copied(layer)
    with torch.no_grad():
        for one in twin.parameters():
            one.mul_(1.5)
    torch.testing.assert_close(inferred(twin, x), exactly(twin, x).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(inferred(layer, x), before)


def test_products_stay_in_the_calling_thread_for_that_while_only():
    def threads() -> list[int]:
        return [one["num_threads"] for one in ttm_inference._blas().info()]

    before = threads()
    with ttm_inference._SERIAL_PRODUCTS:
        assert set(threads()) == {1}
    assert threads() == before


def test_threads_that_overlap_leave_no_limit_behind():
    blas = ttm_inference._blas()
    with blas.limit(limits=2):
        first, second = ExitStack(), ExitStack()
        first.enter_context(ttm_inference._SERIAL_PRODUCTS)
        second.enter_context(ttm_inference._SERIAL_PRODUCTS)
        first.close()
        assert {one["num_threads"] for one in blas.info()} == {1}
        second.close()
        assert {one["num_threads"] for one in blas.info()} == {2}
