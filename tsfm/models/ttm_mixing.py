"""The two mixers of TinyTimeMixer as functions of their weights.

On a CPU the passes between the matrix products are compiled (:mod:`tsfm.models.ttm_kernels`), those
along the patches with their small products (:mod:`tsfm.models.ttm_patch_kernels`), and gradients
are derived by hand: dropout and activations would otherwise cost as much as the products.
Elsewhere, and under autocast or compilation, torch's own operations do the same.
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
_NO_GATE = np.empty((1, 0), np.float32)


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
    if not is_compiled(x, weights):
        return mix_plainly(x, weights, eps, dropout, along_patches=along_patches)
    function = PatchMixing if along_patches else FeatureMixing
    out: Tensor = function.apply(x.contiguous(), eps, dropout, *weights)
    return out


def mix_plainly(
    x: Tensor, weights: Weights, eps: float, dropout: float, *, along_patches: bool
) -> Tensor:
    """What the compiled mixers compute, in torch's own operations."""
    norm, norm_bias, w1, b1, w2, b2, gate, gate_bias = weights
    product = _left if along_patches else F.linear
    hidden = F.gelu(product(F.layer_norm(x, x.shape[-1:], norm, norm_bias, eps), w1, b1))
    out = F.dropout(product(F.dropout(hidden, dropout), w2, b2), dropout)
    if gate is not None and gate_bias is not None:
        out = out * torch.softmax(product(out, gate, gate_bias), dim=-2 if along_patches else -1)
    return x + out


def _left(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], weight.expand(len(x), -1, -1), x)


def is_compiled(x: Tensor, weights: Weights) -> bool:
    """Whether the compiled passes are of use: float32 on a CPU of few threads."""
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
        """Random bytes seeded by torch's generator; none where nothing is dropped."""
        from tsfm.models.ttm_kernels import draw

        if self.threshold == 0:
            return _NO_NOISE
        words = np.empty(-(-shape.numel() // 8), np.uint64)
        draw(np.uint64(torch.randint(2**63 - 1, ()).item()), words)
        return words.view(np.uint8)[: shape.numel()].reshape(shape)


class FeaturePass(NamedTuple):
    """What a forward pass leaves for its gradients."""

    u: Tensor
    h: Tensor
    a: Tensor
    y: Tensor
    gates: Tensor | None
    mean: np.ndarray
    inverse: np.ndarray
    noise: np.ndarray
    noise_out: np.ndarray


def _features_forward(
    x: Tensor, w: Weights, eps: float, keep: _Dropout
) -> tuple[Tensor, FeaturePass]:
    from tsfm.models import ttm_kernels as kernels

    values, u, out = _np(x), torch.empty_like(x), torch.empty_like(x)
    mean, inverse = np.empty(x.shape[:2], np.float32), np.empty(x.shape[:2], np.float32)
    kernels.norm(values, _np(w.norm), _np(w.norm_bias), np.float32(eps), u.numpy(), mean, inverse)
    h = _product(u, w.w1)
    a, noise = torch.empty_like(h), keep.noise(h.shape)
    tile = _np(w.b1)[None]
    kernels.activate(h.numpy(), tile, noise, keep.threshold, keep.scale, a.numpy())
    y = _product(a, w.w2)
    thinned, noise_out, gates = y.numpy(), keep.noise(y.shape), None
    kernels.thin(thinned, _np(w.b2)[None], noise_out, keep.threshold, keep.scale)
    if w.gate is None or w.gate_bias is None:
        torch.add(x, y, out=out)
    else:
        gates = _product(y, w.gate)
        kernels.gate_features(values, thinned, gates.numpy(), _np(w.gate_bias), out.numpy())
    return out, FeaturePass(u, h, a, y, gates, mean, inverse, noise, noise_out)


class FeatureMixing(torch.autograd.Function):
    """A mixer along the features and its gradients; float32 on a CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "row patch dim"],
        eps: float,
        dropout: float,
        *weights: Tensor | None,
    ) -> Float[Tensor, "row patch dim"]:
        keep = _Dropout.of(dropout)
        out, kept = _features_forward(x.detach(), _detached(weights), eps, keep)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, *weights)
            ctx.kept = kept, keep
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from tsfm.models import ttm_kernels as kernels

        x, *weights = ctx.saved_tensors
        w, needs = Weights(*weights), Weights(*ctx.needs_input_grad[3:])
        kept, keep = ctx.kept
        grad, width = grad.contiguous(), x.shape[-1]
        found: dict[str, Tensor | None] = dict.fromkeys(Weights._fields)
        if kept.gates is None or w.gate is None:
            grad_y = grad.clone()
        else:
            grad_y, grad_z, bias = torch.empty_like(x), torch.empty_like(x), torch.zeros(width)
            arrays = (grad, kept.y, kept.gates, grad_z, grad_y, bias)
            kernels.gate_features_back(*(v.numpy() for v in arrays))
            found |= {"gate": _outer(grad_z, kept.y) if needs.gate else None, "gate_bias": bias}
            grad_y.view(-1, width).addmm_(grad_z.view(-1, width), w.gate)
        b2, b1 = torch.zeros(1, len(w.b2)), torch.zeros(1, len(w.b1))
        kernels.thin_back(grad_y.numpy(), kept.noise_out, keep.threshold, keep.scale, b2.numpy())
        grad_h = _product(grad_y, w.w2.t())
        kernels.activate_back(
            grad_h.numpy(), kept.h.numpy(), _np(w.b1)[None], kept.noise, keep.threshold,
            keep.scale, b1.numpy(),
        )  # fmt: skip
        found |= {
            "b1": b1[0],
            "b2": b2[0],
            "w1": _outer(grad_h, kept.u) if needs.w1 else None,
            "w2": _outer(grad_y, kept.a) if needs.w2 else None,
        }
        grad_x: Tensor | None = None
        if ctx.needs_input_grad[0] or needs.norm or needs.norm_bias:
            grad_u, grad_x = _product(grad_h, w.w1.t()), torch.empty_like(x)
            norm, norm_bias = torch.zeros(width), torch.zeros(width)
            kernels.norm_back(
                grad.numpy(), grad_u.numpy(), _np(x), kept.mean, kept.inverse, _np(w.norm),
                norm.numpy(), norm_bias.numpy(), grad_x.numpy(),
            )  # fmt: skip
            found |= {"norm": norm, "norm_bias": norm_bias}
        return grad_x, None, None, *found.values()


def _patches_forward(
    x: Tensor, w: Weights, eps: float, keep: _Dropout, *, learns: bool = False
) -> tuple[Tensor, tuple[Any, ...]]:
    from tsfm.models.ttm_kernels import MixerArrays, room_for
    from tsfm.models.ttm_patch_kernels import mix_patches

    (rows, patches, width), hidden = x.shape, len(w.b1)
    kept_rows = rows if learns else 1
    tiles = {
        name: np.repeat(_np(getattr(w, name)), width).reshape(-1, width) for name in ("b1", "b2")
    }
    gates = (
        (_NO_GATE, _NO_GATE[0])
        if w.gate is None or w.gate_bias is None
        else (_np(w.gate), _np(w.gate_bias))
    )
    arrays = MixerArrays(
        _np(w.norm), _np(w.norm_bias), _np(w.w1), tiles["b1"], _np(w.w2), tiles["b2"], *gates
    )
    wide, narrow = (kept_rows, hidden, width), (kept_rows, patches, width)
    kept = room_for(narrow, wide)
    noise = keep.noise(torch.Size((rows, *wide[1:]))), keep.noise(x.shape)
    out = torch.empty_like(x)
    values, threshold, scale = _np(x), keep.threshold, keep.scale
    mix_patches(values, arrays, np.float32(eps), *noise, threshold, scale, kept, out.numpy())
    return out, (arrays, noise, keep, kept)


class PatchMixing(torch.autograd.Function):
    """A mixer along the patches and its gradients; float32 on a CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "row patch dim"],
        eps: float,
        dropout: float,
        *weights: Tensor | None,
    ) -> Float[Tensor, "row patch dim"]:
        learns = any(ctx.needs_input_grad)
        out, kept = _patches_forward(
            x.detach(), _detached(weights), eps, _Dropout.of(dropout), learns=learns
        )
        if learns:
            ctx.save_for_backward(x, *weights)
            ctx.kept = kept
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from tsfm.models.ttm_kernels import MixerArrays
        from tsfm.models.ttm_patch_kernels import mix_patches_back

        x, *_ = ctx.saved_tensors
        arrays, noise, keep, kept = ctx.kept
        found, grad_x = MixerArrays(*(np.zeros_like(v) for v in arrays)), torch.empty_like(x)
        back: Any = mix_patches_back
        back(
            grad.contiguous().numpy(), _np(x), arrays, *noise, keep.threshold, keep.scale, kept,
            found, grad_x.numpy(),
        )  # fmt: skip
        summed = found._replace(b1=found.b1.sum(axis=1), b2=found.b2.sum(axis=1))
        needed = zip(summed, ctx.needs_input_grad[3:], strict=True)
        return grad_x, None, None, *(torch.from_numpy(v) if needs else None for v, needs in needed)


def _detached(weights: tuple[Tensor | None, ...]) -> Weights:
    return Weights(*(None if w is None else w.detach() for w in weights))  # type: ignore[arg-type]


def _np(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weightᵀ`` along the features."""
    return torch.mm(x.view(-1, x.shape[-1]), weight.t()).view(*x.shape[:-1], -1)


def _outer(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of that product's weight."""
    return torch.mm(grad.view(-1, grad.shape[-1]).t(), x.view(-1, x.shape[-1]))
