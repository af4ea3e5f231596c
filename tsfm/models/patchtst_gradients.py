"""Hand-derived sublayers of the patch encoder, for training on a processor.

Each is a pre-norm sublayer with its residual, in as few passes over memory as it takes: the norm's
gain goes into the weights behind it, queries, keys and values are one product, and attention within
many short sequences does without the general kernels' bookkeeping. The tests check values and
gradients against automatic differentiation; second derivatives are not supported.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

Tokens = Float[Tensor, "batch variate patch dim"]


class AttentionSublayer(torch.autograd.Function):
    """``x + out(attention(norm(x)))``: over time where ``turn`` is given, else between variates."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tokens,
        gain: Float[Tensor, " dim"],
        eps: float,
        heads: int,
        turn: Complex[Tensor, "patch 1 pair"] | None,
        *projections: Tensor,
    ) -> Tokens:
        wq, bq, wk, bk, wv, bv, wo, bo = projections
        unit, inverse = _unit(x, eps)
        plain = torch.cat((wq, wk, wv))
        weight = plain * gain
        qkv = torch.addmm(torch.cat((bq, bk, bv)), unit, weight.t())
        qkv = qkv.view(*x.shape[:3], 3, heads, -1)
        if turn is None:
            mixed, kept = _between_variates(qkv)
        else:
            mixed, kept = _over_time(qkv, turn)
        ctx.save_for_backward(unit, inverse, gain, plain, weight, wo, mixed, *kept)
        ctx.over_time = turn is not None
        out = torch.add(x, bo)
        return out.view_as(mixed).addmm_(mixed, wo.t()).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        unit, inverse, gain, plain, weight, wo, mixed, *kept = ctx.saved_tensors
        flat = grad.reshape(mixed.shape)
        core = _over_time_backward if ctx.over_time else _between_variates_backward
        slope = core((flat @ wo).view(grad.shape), *kept)
        grad_x, grad_weight, grad_gain = _through_norm(
            slope, flat, unit, inverse, plain, weight, gain
        )
        grads = zip(grad_weight.chunk(3), slope.sum(0).chunk(3), strict=True)
        (gq, gbq), (gk, gbk), (gv, gbv) = grads
        grad_wo, grad_bo = flat.t() @ mixed, flat.sum(0)
        return (
            grad_x.view_as(grad), grad_gain, None, None, None,
            gq, gbq, gk, gbk, gv, gbv, grad_wo, grad_bo,
        )  # fmt: skip


class FeedForwardSublayer(torch.autograd.Function):
    """``x + fc2(gelu(fc1(norm(x))))``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tokens, gain: Float[Tensor, " dim"], eps: float,
        w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor,
    ) -> Tokens:  # fmt: skip
        unit, inverse = _unit(x, eps)
        weight = w1 * gain
        hidden = torch.addmm(b1, unit, weight.t())
        active = F.gelu(hidden)
        ctx.save_for_backward(unit, inverse, gain, w1, weight, w2, hidden, active)
        return torch.add(x, b2).view_as(unit).addmm_(active, w2.t()).view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        unit, inverse, gain, w1, weight, w2, hidden, active = ctx.saved_tensors
        flat = grad.reshape(unit.shape)
        slope = flat @ w2
        torch.ops.aten.gelu_backward.grad_input(slope, hidden, grad_input=slope)
        grad_x, grad_w1, grad_gain = _through_norm(slope, flat, unit, inverse, w1, weight, gain)
        return (
            grad_x.view_as(grad), grad_gain, None,
            grad_w1, slope.sum(0), flat.t() @ active, flat.sum(0),
        )  # fmt: skip


def _unit(x: Tokens, eps: float) -> tuple[Float[Tensor, "token dim"], Float[Tensor, "token 1"]]:
    """Tokens divided by their root mean square, and one over it."""
    flat = x.flatten(0, -2)
    norm = torch.linalg.vector_norm(flat, dim=-1, keepdim=True)
    inverse = norm.square_().mul_(1 / flat.shape[-1]).add_(eps).rsqrt_()
    return flat * inverse, inverse


def _through_norm(
    slope: Float[Tensor, "token out"],
    residual: Float[Tensor, "token dim"],
    unit: Float[Tensor, "token dim"],
    inverse: Float[Tensor, "token 1"],
    plain: Float[Tensor, "out dim"],
    weight: Float[Tensor, "out dim"],
    gain: Float[Tensor, " dim"],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x``, of the weights behind the norm and of its gain.

    ``slope`` is that of the product, ``residual`` that which passes the sublayer by.
    """
    folded = slope.t() @ unit
    pull = slope @ weight
    projection = torch.linalg.vecdot(pull, unit).mul_(-1 / unit.shape[-1])
    pull.addcmul_(unit, projection[:, None])
    return torch.addcmul(residual, pull, inverse), folded * gain, (folded * plain).sum(0)


def _over_time(
    qkv: Float[Tensor, "batch variate patch 3 head dim"], turn: Complex[Tensor, "patch 1 pair"]
) -> tuple[Float[Tensor, "token dim"], tuple[Tensor, ...]]:
    """Attention within each series and head, after queries and keys were turned."""
    batch, variates, patches, _, heads, dim = qkv.shape
    turns = torch.stack((turn[:, 0] * dim**-0.5, turn[:, 0], torch.ones_like(turn[:, 0])))
    turns = turns[:, None, None]
    split = qkv.new_empty(3, batch * variates, heads, patches, dim)
    by_head = qkv.flatten(0, 1).permute(2, 0, 3, 1, 4)
    torch.mul(_pairs(by_head), turns, out=_pairs(split))
    q, k, v = split.flatten(1, 2)
    weights = torch.bmm(q, k.transpose(1, 2))
    torch.softmax(weights, -1, out=weights)
    mixed = torch.bmm(weights, v).unflatten(0, (-1, heads)).transpose(1, 2)
    return mixed.reshape(-1, heads * dim), (split, weights, turns.conj().resolve_conj())


def _over_time_backward(grad: Tokens, split: Tensor, weights: Tensor, back: Tensor) -> Tensor:
    """Gradient of the flat queries, keys and values, ``[token, 3 · dim]``."""
    _, series, heads, patches, dim = split.shape
    q, k, v = split.flatten(1, 2)
    grad = grad.reshape(series, patches, heads, dim).transpose(1, 2).reshape(-1, patches, dim)
    grads = torch.empty_like(split)
    grad_q, grad_k, grad_v = grads.flatten(1, 2)
    torch.bmm(weights.transpose(1, 2), grad, out=grad_v)
    slope = torch.bmm(grad, v.transpose(1, 2))
    slope = torch._softmax_backward_data(slope, weights, -1, slope.dtype)
    torch.bmm(slope, k, out=grad_q)
    torch.bmm(slope.transpose(1, 2), q, out=grad_k)
    out = grad.new_empty(series, patches, 3, heads, dim)
    torch.mul(_pairs(grads), back, out=_pairs(out.permute(2, 0, 3, 1, 4)))
    return out.view(series * patches, -1)


def _between_variates(
    qkv: Float[Tensor, "batch variate patch 3 head dim"],
) -> tuple[Float[Tensor, "token dim"], tuple[Tensor, ...]]:
    """Attention among the variates of each patch, one of them at a time by elementwise products."""
    q, k, v = qkv.unbind(3)
    batch, n, patches, heads, dim = q.shape
    work = torch.empty_like(k, memory_format=torch.contiguous_format)
    weights = q.new_empty(batch, n, n, patches, heads)
    for i in range(n):
        torch.sum(torch.mul(q[:, i : i + 1], k, out=work), -1, out=weights[:, i])
    torch.softmax(weights.mul_(dim**-0.5), 2, out=weights)
    mixed = torch.empty_like(work)
    for i in range(n):
        torch.sum(torch.mul(weights[:, i, ..., None], v, out=work), 1, out=mixed[:, i])
    return mixed.view(-1, heads * dim), (qkv, weights)


def _between_variates_backward(grad: Tokens, qkv: Tensor, weights: Tensor) -> Tensor:
    """Gradient of the flat queries, keys and values, ``[token, 3 · dim]``."""
    q, k, v = qkv.unbind(3)
    n, heads, dim = q.shape[1], q.shape[3], q.shape[4]
    grad = grad.unflatten(-1, (heads, dim))
    work = torch.empty_like(k, memory_format=torch.contiguous_format)
    slope, out = torch.empty_like(weights), torch.empty_like(qkv)
    grad_q, grad_k, grad_v = out.unbind(3)
    for i in range(n):
        upstream, weight = grad[:, i : i + 1], weights[:, i, ..., None]
        torch.sum(torch.mul(upstream, v, out=work), -1, out=slope[:, i])
        if i == 0:
            torch.mul(weight, upstream, out=grad_v)
        else:
            grad_v.addcmul_(weight, upstream)
    slope = torch._softmax_backward_data(slope, weights, 2, slope.dtype).mul_(dim**-0.5)
    for i in range(n):
        pull, asking = slope[:, i, ..., None], q[:, i : i + 1]
        torch.sum(torch.mul(pull, k, out=work), 1, out=grad_q[:, i])
        if i == 0:
            torch.mul(pull, asking, out=grad_k)
        else:
            grad_k.addcmul_(pull, asking)
    return out.view(-1, 3 * heads * dim)


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))
