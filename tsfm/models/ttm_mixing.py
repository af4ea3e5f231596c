"""The two mixers of TinyTimeMixer as functions of their weights.

On a CPU the passes between the matrix products are compiled (:mod:`tsfm.models.ttm_kernels`), and
their gradients derived by hand: dropout and activations would otherwise cost as much as the
products. Elsewhere, and under autocast or compilation, torch's own operations do the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_MOST_THREADS = 4  # beyond, torch's parallel operations are faster than our serial ones
_BYTE = 256
_NO_NOISE = np.empty((0, 0, 0), np.uint8)


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
    return _mix(x, weights, eps, dropout, along_patches=False)


def mix_patches(
    x: Float[Tensor, "row patch dim"], weights: Weights, eps: float, dropout: float
) -> Float[Tensor, "row patch dim"]:
    """The same along the patches; the weights multiply from the left, so nothing is transposed."""
    return _mix(x, weights, eps, dropout, along_patches=True)


def _mix(x: Tensor, weights: Weights, eps: float, dropout: float, *, along_patches: bool) -> Tensor:
    if not _is_compiled(x, weights):
        return mix_plainly(x, weights, eps, dropout, along_patches=along_patches)
    if torch.is_grad_enabled():
        out: Tensor = MixerFunction.apply(x.contiguous(), eps, dropout, along_patches, *weights)
        return out
    return _forward(x.contiguous(), weights, eps, _Dropout.of(dropout), along_patches).out


def mix_plainly(
    x: Tensor, weights: Weights, eps: float, dropout: float, *, along_patches: bool
) -> Tensor:
    """What :class:`MixerFunction` computes, in torch's own operations."""
    norm, norm_bias, w1, b1, w2, b2, gate, gate_bias = weights
    product = _left if along_patches else F.linear
    hidden = F.gelu(product(F.layer_norm(x, x.shape[-1:], norm, norm_bias, eps), w1, b1))
    out = F.dropout(product(F.dropout(hidden, dropout), w2, b2), dropout)
    if gate is not None and gate_bias is not None:
        out = out * torch.softmax(product(out, gate, gate_bias), dim=-2 if along_patches else -1)
    return x + out


def _left(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], weight.expand(len(x), -1, -1), x)


def _is_compiled(x: Tensor, weights: Weights) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weights.w1.dtype == torch.float32
        and x.numel() > 0
        and torch.get_num_threads() <= _MOST_THREADS
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class _Dropout(NamedTuple):
    """Keeps an element whose random byte is at least ``threshold``; the rate is that in 256ths."""

    threshold: np.uint8
    scale: np.float32

    @classmethod
    def of(cls, rate: float) -> _Dropout:
        threshold = min(round(rate * _BYTE), _BYTE - 1)
        return cls(np.uint8(threshold), np.float32(_BYTE / (_BYTE - threshold)))

    def noise(self, shape: torch.Size) -> np.ndarray:
        """Random bytes by torch's generator; none where nothing is dropped."""
        if self.threshold == 0:
            return _NO_NOISE
        words = torch.empty(-(-shape.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        return words.view(torch.uint8)[: shape.numel()].view(shape).numpy()


class _Pass(NamedTuple):
    """What a forward pass leaves for its gradients."""

    out: Tensor
    u: Tensor
    h: Tensor
    a: Tensor
    y: Tensor
    gates: Tensor | None
    mean: np.ndarray
    inverse: np.ndarray
    tile: np.ndarray
    noise: np.ndarray
    noise_out: np.ndarray


def _forward(x: Tensor, w: Weights, eps: float, keep: _Dropout, along: bool) -> _Pass:
    from tsfm.models import ttm_kernels as kernels

    width, values = x.shape[-1], x.numpy() if not x.requires_grad else x.detach().numpy()
    product = _from_left if along else _from_right
    u, out = torch.empty_like(x), torch.empty_like(x)
    mean, inverse = np.empty((2, *x.shape[:2]), np.float32)
    kernels.norm(values, _np(w.norm), _np(w.norm_bias), np.float32(eps), u.numpy(), mean, inverse)
    h = product(u, w.w1)
    tile, noise = _tile(w.b1, width, along), keep.noise(h.shape)
    a = torch.empty_like(h)
    kernels.activate(h.numpy(), tile, noise, *keep, a.numpy())
    y = product(a, w.w2)
    noise_out, thinned = keep.noise(y.shape), y.numpy()
    kernels.thin(thinned, _tile(w.b2, width, along), noise_out, *keep)
    gates = None
    if w.gate is None or w.gate_bias is None:
        torch.add(x, y, out=out)
    else:
        gates = product(y, w.gate)
        gate = kernels.gate_patches if along else kernels.gate_features
        gate(values, thinned, gates.numpy(), _np(w.gate_bias), out.numpy())
    return _Pass(out, u, h, a, y, gates, mean, inverse, tile, noise, noise_out)


class MixerFunction(torch.autograd.Function):
    """A mixer along features, or along patches, and its gradients; float32 on a CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "row patch dim"],
        eps: float,
        dropout: float,
        along_patches: bool,
        *weights: Tensor | None,
    ) -> Float[Tensor, "row patch dim"]:
        keep, learns = _Dropout.of(dropout), any(ctx.needs_input_grad)
        w = Weights(*(None if v is None else v.detach() for v in weights))  # type: ignore[arg-type]
        done = _forward(x.detach(), w, eps, keep, along_patches)
        if learns:
            ctx.save_for_backward(x, done.u, done.h, done.a, done.y, done.gates, *weights)
            arrays = (done.mean, done.inverse, done.tile, done.noise, done.noise_out)
            ctx.kept = (*arrays, keep, along_patches)
        return done.out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from tsfm.models import ttm_kernels as kernels

        x, u, h, a, y, gates, *weights = ctx.saved_tensors
        w = Weights(*weights)
        mean, inverse, tile, noise, noise_out, keep, along = ctx.kept
        needs = Weights(*ctx.needs_input_grad[4:])
        product, outer = (_from_left, _outer_left) if along else (_from_right, _outer_right)
        grad, width = grad.contiguous(), x.shape[-1]
        found: dict[str, Tensor | None] = dict.fromkeys(Weights._fields)
        grad_y = grad.clone() if gates is None else torch.empty_like(y)
        if gates is not None and w.gate is not None:
            grad_z, bias = torch.empty_like(y), torch.zeros(len(w.gate))
            gate_back = kernels.gate_patches_back if along else kernels.gate_features_back
            gate_back(*(v.numpy() for v in (grad, y, gates, grad_z, grad_y, bias)))
            if needs.gate:
                found["gate"] = outer(grad_z, y)
            found["gate_bias"] = bias
            product(grad_z, w.gate.t(), onto=grad_y)
        grad_tile = np.zeros((len(w.b2) if along else 1, width), np.float32)
        kernels.thin_back(grad_y.numpy(), noise_out, keep.threshold, keep.scale, grad_tile)
        found["b2"] = _gathered(grad_tile, along)
        if needs.w2:
            found["w2"] = outer(grad_y, a)
        grad_h, grad_tile = product(grad_y, w.w2.t()), np.zeros_like(tile)
        kernels.activate_back(
            grad_h.numpy(), h.numpy(), tile, noise, keep.threshold, keep.scale, grad_tile
        )
        found["b1"] = _gathered(grad_tile, along)
        if needs.w1:
            found["w1"] = outer(grad_h, u)
        grad_x: Tensor | None = None
        if ctx.needs_input_grad[0] or needs.norm or needs.norm_bias:
            grad_u, grad_x = product(grad_h, w.w1.t()), torch.empty_like(x)
            grad_norm, grad_bias = torch.zeros(2, width).unbind()
            kernels.norm_back(
                grad.numpy(), grad_u.numpy(), _np(x), mean, inverse, _np(w.norm),
                grad_norm.numpy(), grad_bias.numpy(), grad_x.numpy(),
            )  # fmt: skip
            found |= {"norm": grad_norm, "norm_bias": grad_bias}
        return grad_x, None, None, None, *found.values()


def _np(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def _tile(bias: Tensor, width: int, along_patches: bool) -> np.ndarray:
    """A bias as what is added to each row's patches and features."""
    values = _np(bias)
    return np.repeat(values, width).reshape(-1, width) if along_patches else values[None]


def _gathered(tile: np.ndarray, along_patches: bool) -> Tensor:
    return torch.from_numpy(tile.sum(axis=1) if along_patches else tile[0])


def _from_right(x: Tensor, weight: Tensor, onto: Tensor | None = None) -> Tensor:
    """``x @ weightᵀ`` along the features, added onto ``onto`` in place where that is given."""
    flat = x.view(-1, x.shape[-1])
    if onto is not None:
        return onto.view(-1, len(weight)).addmm_(flat, weight.t())
    return torch.mm(flat, weight.t()).view(*x.shape[:-1], -1)


def _from_left(x: Tensor, weight: Tensor, onto: Tensor | None = None) -> Tensor:
    """``weight @ x`` along the patches, added onto ``onto`` in place where that is given."""
    weights = weight.expand(len(x), -1, -1)
    return torch.bmm(weights, x) if onto is None else onto.baddbmm_(weights, x)


def _outer_right(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight of ``x @ weightᵀ``."""
    return torch.mm(grad.view(-1, grad.shape[-1]).t(), x.view(-1, x.shape[-1]))


def _outer_left(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of the weight of ``weight @ x``."""
    return torch.bmm(grad, x.transpose(1, 2)).sum(0)
