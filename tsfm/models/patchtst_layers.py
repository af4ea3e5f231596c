"""Encoder of patches: attention over time and, apart from it, between channels.

Hidden states are ``[batch, variate, patch, dim]`` throughout: heads are split by views, so that
neither attention copies or transposes anything.
Source: Nie et al. 2023, *A Time Series is Worth 64 Words*; channel attention with its own weights
and partial rotation as in Lai, Bao & Gilpin 2025, *Panda*; rotation: Su et al. 2021, partial:
Barbero et al. 2024, *Round and Round We Go!*.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from tsfm.models.layers import RMSNorm
from tsfm.models.patchtst_config import PatchTSTConfig
from tsfm.models.patchtst_gradients import AttentionSublayer, FeedForwardSublayer

_FEW_VARIATES = 8  # so many are attended to one by one


@dataclass(frozen=True)
class Visible:
    """Which tokens attention may look at, where not all are real.

    A sequence without a real token sees itself, so that nothing becomes NaN; it is never scored.
    """

    in_time: Bool[Tensor, "series 1 1 patch"]
    between: Bool[Tensor, "batch place 1 variate"]

    @classmethod
    def of(cls, real: Bool[Tensor, "batch variate patch"], heads: int) -> Visible:
        between = real.transpose(1, 2)
        between = between | ~between.any(-1, keepdim=True)
        return cls(
            in_time=pooled_over(real).flatten(0, 1)[:, None, None],
            between=between.repeat_interleave(heads, dim=1)[:, :, None],
        )


def pooled_over(real: Bool[Tensor, "batch variate patch"]) -> Bool[Tensor, "batch variate patch"]:
    """The real patches of each variate; all of them where it has none."""
    return real | ~real.any(-1, keepdim=True)


def turns(
    patches: int, head_dim: int, fraction: float, wavelength: float, device: torch.device
) -> Complex[Tensor, "patch 1 pair"]:
    """Rotation of the pairs of a head's features by the patch's position; the last pairs stand."""
    pairs = head_dim // 2
    turning = int(fraction * head_dim // 2)
    exponent = 2.0 * torch.arange(turning, device=device) / head_dim
    rate = F.pad(wavelength**-exponent, (0, pairs - turning))
    angles = torch.arange(patches, device=device)[:, None] * rate
    return torch.polar(torch.ones_like(angles), angles)[:, None]


def turned(
    x: Float[Tensor, "*batch patch head dim"], turn: Complex[Tensor, "patch 1 pair"]
) -> Float[Tensor, "*batch patch head dim"]:
    """Turn neighbouring pairs of features."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    """What both attentions share: projections, heads, and how weights are inspected."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    @property
    def projections(self) -> tuple[Tensor, ...]:
        """Weight and bias of queries, keys, values and output."""
        parts = (self.q_proj, self.k_proj, self.v_proj, self.out_proj)
        return tuple(tensor for part in parts for tensor in (part.weight, part.bias))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of ``[series, step, head, dim]``, in that layout."""
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return mixed.transpose(1, 2)


class TimeAttention(Attention):
    """Attention of a variate's patches to each other, which know their distance in time."""

    def forward(
        self,
        x: Float[Tensor, "batch variate patch dim"],
        turn: Complex[Tensor, "patch 1 pair"],
        visible: Visible | None,
    ) -> Float[Tensor, "batch variate patch dim"]:
        shape = (x.shape[0] * x.shape[1], x.shape[2], self.heads, -1)
        q, k, v = (project(x).view(shape) for project in (self.q_proj, self.k_proj, self.v_proj))
        mask = None if visible is None else visible.in_time
        mixed = self._attend(turned(q, turn), turned(k, turn), v, mask)
        return self.out_proj(mixed.reshape(x.shape))


class ChannelAttention(Attention):
    """Attention of the variates of one patch to each other, which have no order."""

    def forward(
        self, x: Float[Tensor, "batch variate patch dim"], visible: Visible | None
    ) -> Float[Tensor, "batch variate patch dim"]:
        q, k, v = self._heads(x)
        mixed = self._attend(q, k, v, None if visible is None else visible.between)
        return self.out_proj(mixed.reshape(x.shape))

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values ``[batch, variate, patch · head, dim]``."""
        shape = (x.shape[0], x.shape[1], x.shape[2] * self.heads, -1)
        return self.q_proj(x).view(shape), self.k_proj(x).view(shape), self.v_proj(x).view(shape)

    def weights(
        self, x: Float[Tensor, "batch variate patch dim"], visible: Visible | None
    ) -> Float[Tensor, "batch patch head variate variate"]:
        """How much each variate (row) looks at each other one."""
        q, k, _ = self._heads(x)
        scores = torch.einsum("bvpd,bwpd->bpvw", q, k) * q.shape[-1] ** -0.5
        if visible is not None:
            scores = scores.masked_fill(~visible.between, -torch.inf)
        return scores.softmax(-1).unflatten(1, (x.shape[2], self.heads))


class FeedForward(nn.Module):
    """``fc2(gelu(fc1(x)))``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self.fc2(F.gelu(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Pre-norm attention over time, between channels where they mix, and feed-forward."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        dim, eps = config.d_model, config.norm_eps
        self.time_attention = TimeAttention(dim, config.heads, config.attention_dropout)
        self.time_norm = RMSNorm(dim, eps)
        self.channel_attention: ChannelAttention | None = None
        if config.channel_mixing == "attention":
            self.channel_attention = ChannelAttention(dim, config.heads, config.attention_dropout)
            self.channel_norm = RMSNorm(dim, eps)
        self.ff = FeedForward(dim, config.d_ff)
        self.ff_norm = RMSNorm(dim, eps)
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout

    def forward(
        self,
        x: Float[Tensor, "batch variate patch dim"],
        turn: Complex[Tensor, "patch 1 pair"],
        visible: Visible | None,
        maps: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch variate patch dim"]:
        """Encode; with ``maps``, the weights between channels are appended to it."""
        x = self._over_time(x, turn, visible)
        if self.channel_attention is not None:
            if maps is not None:
                maps.append(self.channel_attention.weights(self.channel_norm(x), visible))
            x = self._between_variates(x, self.channel_attention, visible)
        if self._is_plain(x, self.ff):
            fc1, fc2, norm = self.ff.fc1, self.ff.fc2, self.ff_norm
            return FeedForwardSublayer.apply(
                x, norm.weight, norm.eps, fc1.weight, fc1.bias, fc2.weight, fc2.bias
            )
        return x + self._drop(self.ff(self.ff_norm(x)))

    def _over_time(self, x: Tensor, turn: Tensor, visible: Visible | None) -> Tensor:
        attention, norm = self.time_attention, self.time_norm
        if visible is None and self._is_plain(x, attention):
            return AttentionSublayer.apply(
                x, norm.weight, norm.eps, attention.heads, turn, *attention.projections
            )
        return x + self._drop(attention(norm(x), turn, visible))

    def _between_variates(
        self, x: Tensor, attention: ChannelAttention, visible: Visible | None
    ) -> Tensor:
        norm = self.channel_norm
        if visible is None and x.shape[1] <= _FEW_VARIATES and self._is_plain(x, attention):
            return AttentionSublayer.apply(
                x, norm.weight, norm.eps, attention.heads, None, *attention.projections
            )
        return x + self._drop(attention(norm(x), visible))

    def _is_plain(self, x: Tensor, sublayer: nn.Module) -> bool:
        """Whether the hand-derived sublayers apply: in single precision on a processor, without
        dropout, adapters or compilation."""
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return False
        if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return False
        if self.training and (self.dropout or self.attention_dropout):
            return False
        return all(
            type(part) is nn.Linear and part.weight.dtype == torch.float32
            for part in sublayer.children()
        )

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Encoder(nn.Module):
    """The stack of layers, without a norm at the end: released weights have none."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.heads = config.heads
        self.rotation = (
            config.d_model // config.heads,
            config.rope_fraction,
            config.rope_wavelength,
        )

    def forward(
        self,
        x: Float[Tensor, "batch variate patch dim"],
        real: Bool[Tensor, "batch variate patch"] | None = None,
        maps: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch variate patch dim"]:
        """Encode; ``real`` None says that every token is real."""
        turn = turns(x.shape[2], *self.rotation, device=x.device)
        visible = None if real is None else Visible.of(real, self.heads)
        for layer in self.layers:
            x = layer(x, turn, visible, maps)
        return x
