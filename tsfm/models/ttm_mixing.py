"""The two mixers of TinyTimeMixer as functions of their weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Weights(NamedTuple):
    """Of one mixer: its norm, two linear maps, and gate (None without one)."""

    norm: Tensor
    norm_bias: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    gate: Tensor | None = None
    gate_bias: Tensor | None = None


def mix_features(
    x: Float[Tensor, "row patch dim"], weights: Weights, eps: float, dropout: float
) -> Float[Tensor, "row patch dim"]:
    """``x + gated(W2 gelu(W1 norm(x)))`` along the features."""
    norm, norm_bias, w1, b1, w2, b2, gate, gate_bias = weights
    hidden = F.gelu(F.linear(F.layer_norm(x, x.shape[-1:], norm, norm_bias, eps), w1, b1))
    out = F.dropout(F.linear(F.dropout(hidden, dropout), w2, b2), dropout)
    if gate is not None:
        out = out * torch.softmax(F.linear(out, gate, gate_bias), dim=-1)
    return x + out


def mix_along(
    x: Float[Tensor, "row patch dim"], weights: Weights, eps: float, dropout: float
) -> Float[Tensor, "row patch dim"]:
    """The same along the patches; the weights multiply from the left, so nothing is transposed."""
    norm, norm_bias, w1, b1, w2, b2, gate, gate_bias = weights
    hidden = F.gelu(_left(w1, b1, F.layer_norm(x, x.shape[-1:], norm, norm_bias, eps)))
    out = F.dropout(_left(w2, b2, F.dropout(hidden, dropout)), dropout)
    if gate is not None and gate_bias is not None:
        out = out * torch.softmax(_left(gate, gate_bias, out), dim=-2)
    return x + out


def _left(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], weight.expand(len(x), -1, -1), x)
