"""Compiled mixers against torch's operations and automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ndtr

from tsfm.models import ttm_kernels as kernels
from tsfm.models import ttm_mixing
from tsfm.models.ttm_mixing import (
    FeatureMixing,
    PatchMixing,
    Weights,
    mix_features,
    mix_patches,
    mix_plainly,
)

EPS = 1e-5
FUNCTIONS = {False: FeatureMixing, True: PatchMixing}


def make_weights(along: bool, *, gated: bool = True, spread: float = 0.3, **sizes: int) -> Weights:
    patches, width = sizes.get("patches", 6), sizes.get("width", 20)
    n = patches if along else width
    draw = torch.randn
    gate = (draw(n, n) * spread, draw(n)) if gated else (None, None)
    return Weights(
        torch.rand(width) + 0.5, draw(width), draw(2 * n, n) * spread, draw(2 * n),
        draw(n, 2 * n) * spread, draw(n), *gate,
    )  # fmt: skip


def exactly(x: torch.Tensor, weights: Weights, along: bool) -> torch.Tensor:
    double = Weights(*(None if w is None else w.double() for w in weights))
    return mix_plainly(x.double(), double, EPS, 0.0, along_patches=along)


@pytest.fixture(autouse=True)
def few_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def test_exponential_and_normal_cdf_are_accurate():
    x = np.linspace(-80, 80, 20_001, dtype=np.float32)
    exponential = np.array([kernels.exponential(v) for v in x])
    np.testing.assert_allclose(exponential, np.exp(x.astype(float)), rtol=3e-7)
    x = np.linspace(-9, 9, 20_001, dtype=np.float32)
    cdf = np.array([kernels.normal_cdf(v) for v in x])
    np.testing.assert_allclose(cdf, ndtr(x.astype(float)), atol=2e-7)


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
def test_values_and_gradients_are_those_of_automatic_differentiation(along, gated, rows):
    weights = Weights(
        *(None if w is None else w.requires_grad_() for w in make_weights(along, gated=gated))
    )
    x = torch.randn(rows, 6, 20, requires_grad=True)
    inputs = [x, *(w for w in weights if w is not None)]
    grad = torch.randn(rows, 6, 20)
    ours = FUNCTIONS[along].apply(x, EPS, 0.0, *weights)
    theirs = exactly(x, weights, along)
    torch.testing.assert_close(ours.double(), theirs, atol=2e-5, rtol=1e-5)
    expected = torch.autograd.grad(theirs, inputs, grad.double())
    for mine, other in zip(torch.autograd.grad(ours, inputs, grad), expected, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(mine, other, atol=1e-5 * scale, rtol=1e-4, check_dtype=False)


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize("bias", [200.0, -200.0])
def test_gates_of_any_size_stay_exact(along, bias):
    weights = make_weights(along)
    assert weights.gate_bias is not None
    weights = weights._replace(gate_bias=weights.gate_bias + bias + 100 * torch.randn(1))
    x = torch.randn(4, 6, 20)
    mix = mix_patches if along else mix_features
    with torch.no_grad():
        found = mix(x, weights, EPS, 0.0)
    torch.testing.assert_close(found.double(), exactly(x, weights, along), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("along", [False, True])
def test_dropout_keeps_what_it_says_and_gradients_go_where_values_went(along):
    weights = make_weights(along, gated=False, patches=32, width=40)
    ones = weights._replace(w2=torch.zeros_like(weights.w2), b2=torch.ones_like(weights.b2))
    ones = Weights(*(None if w is None else w.requires_grad_() for w in ones))
    x = torch.zeros(64, 32, 40, requires_grad=True)
    out = FUNCTIONS[along].apply(x, EPS, 0.25, *ones)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 4 / 3]))
    kept = float((out > 0).float().mean())
    assert abs(kept - 0.75) < 0.01
    (grad,) = torch.autograd.grad(out.sum(), [ones.b2])
    expected = out.detach().sum(dim=(0, 2) if along else (0, 1))
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("along", [False, True])
def test_dropout_s_gradient_is_that_of_its_own_draw(along):
    weights = Weights(*(w.requires_grad_() for w in make_weights(along) if w is not None))
    x = torch.randn(3, 6, 20)
    step = 1e-2

    def value(change: float) -> torch.Tensor:
        torch.manual_seed(3)
        w1 = weights.w1 + change * torch.ones_like(weights.w1)
        return FUNCTIONS[along].apply(x, EPS, 0.3, *weights._replace(w1=w1)).sum()

    (grad,) = torch.autograd.grad(value(0.0), [weights.w1])
    slope = (value(step) - value(-step)) / (2 * step)
    torch.testing.assert_close(grad.sum(), slope.detach(), rtol=2e-2, atol=2e-2)


def test_only_what_learns_gets_a_gradient():
    weights = make_weights(False)
    weights.b1.requires_grad_()
    x = torch.randn(2, 6, 20)
    mix_features(x, weights, EPS, 0.0).sum().backward()
    assert weights.b1.grad is not None
    assert all(w is None or w.grad is None for w in weights if w is not weights.b1)


def test_other_precisions_and_many_threads_use_torch(monkeypatch):
    weights, x = make_weights(True), torch.randn(2, 6, 20)
    expected = mix_plainly(x, weights, EPS, 0.0, along_patches=True)
    monkeypatch.setattr(ttm_mixing, "PatchMixing", None)
    double = Weights(*(None if w is None else w.double() for w in weights))
    torch.testing.assert_close(mix_patches(x.double(), double, EPS, 0.0).float(), expected)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    torch.testing.assert_close(mix_patches(x, weights, EPS, 0.0), expected)


def test_autocast_computes_in_half_precision():
    weights, x = make_weights(False), torch.randn(2, 6, 20)
    plain = mix_features(x, weights, EPS, 0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = mix_features(x, weights, EPS, 0.0)
    assert 0 < (half - plain).abs().max() < 0.1
