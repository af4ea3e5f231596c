"""Hand-derived gradients of the encoder's hot spots.

Each function does in a few passes over memory what automatic differentiation does in many, and
keeps for the backward pass only what it needs. The tests check them against automatic
differentiation; second derivatives are not supported.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE_ROWS = 1024  # whose hidden features stay in a processor's cache


class RMSNormFunction(torch.autograd.Function):
    """``x / rms(x) · weight`` over the last dimension."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "*batch dim"], weight: Float[Tensor, " dim"], eps: float
    ) -> Float[Tensor, "*batch dim"]:
        inverse = _inverse_rms(x, eps)
        unit = x * inverse
        ctx.save_for_backward(unit, weight, inverse)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, weight, inverse = ctx.saved_tensors
        return *_norm_gradients(grad, grad * weight, unit, weight, inverse), None


class TurnedNormFunction(torch.autograd.Function):
    """:class:`RMSNormFunction`, then neighbouring pairs of features turned by complex numbers."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "token head dim"],
        weight: Float[Tensor, " dim"],
        eps: float,
        turn: Complex[Tensor, "token head pair"],
        back: Complex[Tensor, "token head pair"],
    ) -> Float[Tensor, "token head dim"]:
        inverse = _inverse_rms(x, eps)
        unit = x * inverse
        ctx.save_for_backward(unit, weight, inverse, back)
        out = unit * weight
        _pairs(out).mul_(turn)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        unit, weight, inverse, back = ctx.saved_tensors
        turned = torch.view_as_real(_pairs(grad.contiguous()) * back).flatten(-2)
        return *_norm_gradients(turned, turned * weight, unit, weight, inverse), None, None, None


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


def _norm_gradients(
    grad: Tensor, weighted: Tensor, unit: Tensor, weight: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of a norm's input and weight; ``weighted = grad · weight`` is overwritten."""
    product = grad * unit
    projection = (product @ weight).mul_(-1 / unit.shape[-1]).unsqueeze(-1)
    grad_x = weighted.addcmul_(unit, projection).mul_(inverse)
    return grad_x, product.flatten(0, -2).sum(0)


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


class BiasedAttention(torch.autograd.Function):
    """Softmax attention of each head with a bias that only knows same / different variate.

    The softmax ignores a constant, so the bias is ``(within - between) · same`` and the gradient of
    ``between`` is minus that of ``within``. Written with batched matrix products, which beats the
    general kernels on a processor for many short samples.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Float[Tensor, "sample head query dim"],
        k: Float[Tensor, "sample head key dim"],
        v: Float[Tensor, "sample head key dim"],
        bias: Float[Tensor, "2 head"],
        same: Float[Tensor, "sample query key"],
        allowed: Bool[Tensor, "sample 1 1 key"] | None,
    ) -> Float[Tensor, "sample query head dim"]:
        scale = 1 / math.sqrt(q.shape[-1])
        weights = same.new_empty((q.shape[1], *same.shape))
        out = q.new_empty((q.shape[0], q.shape[2], q.shape[1], q.shape[3]))
        for head, gap in enumerate((bias[1] - bias[0]).tolist()):
            scores = torch.mul(same, gap, out=weights[head])
            scores.baddbmm_(q[:, head], k[:, head].transpose(1, 2), alpha=scale)
            if allowed is not None:
                scores.masked_fill_(~allowed[:, 0], -math.inf)
            torch.softmax(scores, -1, out=scores)
            out[:, :, head] = torch.bmm(scores, v[:, head])
        ctx.save_for_backward(q, k, v, same, weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, same, weights = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        grads = [x.new_empty((x.shape[0], x.shape[2], x.shape[1], x.shape[3])) for x in (q, k, v)]
        gaps = []
        for head in range(q.shape[1]):
            attention, upstream = weights[head], grad[:, :, head]
            slope = torch.bmm(upstream, v[:, head].transpose(1, 2))
            slope = torch._softmax_backward_data(slope, attention, -1, slope.dtype)
            gaps.append(torch.dot(slope.flatten(), same.flatten()))
            slope.mul_(scale)
            grads[0][:, :, head] = torch.bmm(slope, k[:, head])
            grads[1][:, :, head] = torch.bmm(slope.transpose(1, 2), q[:, head])
            grads[2][:, :, head] = torch.bmm(attention.transpose(1, 2), upstream)
        gap = torch.stack(gaps)
        by_head = (x.transpose(1, 2) for x in grads)
        return *by_head, torch.stack((-gap, gap)), None, None


class GatedProjection(torch.autograd.Function):
    """``(silu(gate) · up) @ weightᵀ``, recomputing the product in the backward pass.

    On a processor it works through the rows in tiles that stay in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gate: Float[Tensor, "token hidden"],
        up: Float[Tensor, "token hidden"],
        weight: Float[Tensor, "dim hidden"],
    ) -> Float[Tensor, "token dim"]:
        ctx.save_for_backward(gate, up, weight)
        out = gate.new_empty(len(gate), len(weight))
        for rows in _tiles(gate):
            hidden = F.silu(gate[rows]).mul_(up[rows])
            torch.mm(hidden, weight.t(), out=out[rows])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, up, weight = ctx.saved_tensors
        grad_gate, grad_up = torch.empty_like(gate), torch.empty_like(up)
        grad_weight = torch.zeros_like(weight)
        for rows in _tiles(gate):
            grad_hidden, active = grad[rows] @ weight, F.silu(gate[rows])
            torch.mul(grad_hidden, active, out=grad_up[rows])
            grad_weight.addmm_(grad[rows].t(), active.mul_(up[rows]))
            torch.ops.aten.silu_backward.grad_input(
                grad_hidden.mul_(up[rows]), gate[rows], grad_input=grad_gate[rows]
            )
        return grad_gate, grad_up, grad_weight


def _tiles(x: Tensor) -> list[slice]:
    step = _TILE_ROWS if x.device.type == "cpu" else max(len(x), 1)
    return [slice(start, start + step) for start in range(0, len(x), step)]
