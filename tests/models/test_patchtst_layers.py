"""The encoder's hand-derived sublayers beside its plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tsfm.models import patchtst_layers
from tsfm.models.patchtst_config import PatchTSTConfig
from tsfm.models.patchtst_layers import Encoder, Visible


def make_encoder(**fields: object) -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder(PatchTSTConfig.preset("tiny", **fields))
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.uniform_(0.5, 1.5) if "norm" in name else parameter.normal_(0, 0.2)
    return encoder


def results(encoder: Encoder, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    encoder.zero_grad()
    x = x.clone().requires_grad_()
    out = encoder(x)
    out.backward(torch.randn(out.shape))
    return {"out": out.detach(), "x": x.grad} | {n: p.grad for n, p in encoder.named_parameters()}


@pytest.mark.parametrize("width", [1, 3, 8])
def test_hand_derived_sublayers_equal_automatic_differentiation(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, x = make_encoder(), torch.randn(4, width, 7, 32)
    fast = results(encoder, x)
    monkeypatch.setattr(patchtst_layers.EncoderLayer, "_is_plain", lambda *_: False)
    plain = results(encoder, x)
    largest = max(value.abs().max() for name, value in plain.items() if name != "out")
    for name, value in plain.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5 * float(largest))


def test_masks_hide_what_is_not_real() -> None:
    encoder, x = make_encoder(), torch.randn(2, 4, 7, 32)
    real = torch.ones(2, 4, 7, dtype=torch.bool)
    real[0, :, :3] = False
    real[1, 2:] = False
    out = encoder(x, real)
    noise = torch.where(real[..., None], x, 100 * torch.randn(x.shape))
    torch.testing.assert_close(encoder(noise, real)[real], out[real])
    torch.testing.assert_close(encoder(x[1:, :2])[0], out[1, :2], rtol=1e-4, atol=1e-4)
    assert out.isfinite().all()
    torch.testing.assert_close(encoder(x, torch.ones_like(real)), encoder(x), rtol=1e-4, atol=1e-4)


def test_every_query_sees_something() -> None:
    real = torch.zeros(2, 3, 4, dtype=torch.bool)
    visible = Visible.of(real, heads=2)
    assert visible.in_time.all()
    assert visible.between.all()


def test_half_precision_goes_through_the_general_kernels() -> None:
    encoder, x = make_encoder(), torch.randn(2, 3, 7, 32)
    exact = encoder(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(x)
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()
    assert not torch.equal(rough.float(), exact)
