"""Building blocks of the masked encoder: norms, gated feed-forward, rotary any-variate attention.

Everything works on the tokens ``[token, d_model]`` of one :class:`~tsfm.models.tokens.Block` of
whole samples, which says who sees whom: no work is spent on padding or on pairs of tokens of
different samples, and a block small enough for the processor's cache runs at its full speed.
Parameter names follow the reference implementation, so that released weights load by name.
Source: Woo et al. 2024, *Unified Training of Universal Time Series Forecasting Transformers*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tsfm.models.gradients import (
    BiasedAttention,
    GatedProjection,
    RMSNormFunction,
    TurnedNormFunction,
)
from tsfm.models.tokens import Block

HEAD_DIM = 64
ROTARY_DIM = HEAD_DIM // 2
ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Rotary:
    """Rotary angles of some tokens, as complex numbers (Su et al. 2021).

    The first half of each head's features turns with the token's position, the other half stands.
    """

    turn: Complex[Tensor, "token head pair"]
    back: Complex[Tensor, "token head pair"]

    @classmethod
    def at(cls, positions: Int[Tensor, " token"], heads: int) -> Rotary:
        exponent = torch.arange(0, ROTARY_DIM, 2, device=positions.device) / ROTARY_DIM
        angles = positions[:, None].float() * (1 / ROTARY_BASE**exponent)
        angles = F.pad(angles, (0, (HEAD_DIM - ROTARY_DIM) // 2))
        turn = torch.complex(angles.cos(), angles.sin())[:, None].expand(-1, heads, -1)
        return cls(turn=turn.contiguous(), back=turn.conj().resolve_conj().contiguous())

    def __getitem__(self, tokens: Int[Tensor, " query"]) -> Rotary:
        return Rotary(turn=self.turn[tokens], back=self.back[tokens])


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned gain (Zhang & Sennrich 2019)."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(
        self, x: Float[Tensor, "*batch dim"], rotary: Rotary | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """Normalise in float32 and, with ``rotary``, turn ``[token, head, dim]`` by position."""
        if rotary is None:
            return RMSNormFunction.apply(x.float(), self.weight, self.eps).to(x.dtype)
        turned = TurnedNormFunction.apply(
            x.float(), self.weight, self.eps, rotary.turn, rotary.back
        )
        return turned.to(x.dtype)


class SwiGLU(nn.Module):
    """Gated feed-forward, ``fc2(silu(fc_gate(x)) · fc1(x))`` (Shazeer 2020)."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        hidden = (int(4 * dim * 2 / 3) + 7) // 8 * 8
        self.fc1 = nn.Linear(dim, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, dim, bias=False)
        self.fc_gate = nn.Linear(dim, hidden, bias=False)
        self.dropout = dropout

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        gate, up = self.fc_gate(x), self.fc1(x)
        plain = type(self.fc2) is nn.Linear and gate.dtype == self.fc2.weight.dtype
        if plain and not (self.training and self.dropout):
            return GatedProjection.apply(gate, up, self.fc2.weight)
        hidden = F.silu(gate) * up
        return self.fc2(F.dropout(hidden, self.dropout, self.training))


class PatchEmbedding(nn.Module):
    """One linear map per patch size, stored side by side and padded to the largest size."""

    def __init__(self, patch_sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.patch_sizes = tuple(patch_sizes)
        self.weight = nn.Parameter(torch.zeros(len(patch_sizes), dim, max(patch_sizes)))
        self.bias = nn.Parameter(torch.zeros(len(patch_sizes), dim))
        with torch.no_grad():
            for k, size in enumerate(self.patch_sizes):
                bound = 1 / math.sqrt(size)
                self.weight[k, :, :size].uniform_(-bound, bound)
                self.bias[k].uniform_(-bound, bound)

    def forward(
        self, patches: Mapping[int, Float[Tensor, "token size"]]
    ) -> list[Float[Tensor, "token dim"]]:
        """Embed patches by the index of their size."""
        weights, biases = self.weight.unbind(0), self.bias.unbind(0)
        return [
            F.linear(x, weights[k][:, : self.patch_sizes[k]], biases[k]) for k, x in patches.items()
        ]


class VariateBias(nn.Module):
    """Learned attention bias per head: row 0 between variates, row 1 within one."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(2, heads)

    def forward(self, block: Block) -> Float[Tensor, "sample head query key"]:
        between, within = self.emb.weight[:, None, :, None, None]
        same = block.same_variate[:, None]
        bias = between + (within - between) * same
        return bias if block.allowed is None else bias.masked_fill(~block.allowed, -math.inf)


class VariateAttention(nn.Module):
    """Any-variate self-attention within each sample, with query / key normalisation."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.heads = dim // HEAD_DIM
        self.dropout = dropout
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)
        self.q_norm = RMSNorm(HEAD_DIM)
        self.k_norm = RMSNorm(HEAD_DIM)
        self.var_attn_bias = VariateBias(self.heads)

    def forward(
        self,
        query: Float[Tensor, "query dim"],
        token: Float[Tensor, "token dim"],
        block: Block,
        query_rotary: Rotary,
        token_rotary: Rotary,
    ) -> Float[Tensor, "query dim"]:
        shape = (-1, self.heads, HEAD_DIM)
        q = self.q_norm(self.q_proj(query).view(shape), query_rotary)
        k = self.k_norm(self.k_proj(token).view(shape), token_rotary)
        v = self.v_proj(token).view(shape)
        mixed = self._attend(block.queries.pad(q), block.keys.pad(k), block.keys.pad(v), block)
        return self.out_proj(block.queries.unpad(mixed).flatten(1))

    def _attend(
        self,
        q: Float[Tensor, "sample head query dim"],
        k: Float[Tensor, "sample head key dim"],
        v: Float[Tensor, "sample head key dim"],
        block: Block,
    ) -> Float[Tensor, "sample query head dim"]:
        dropout = self.dropout if self.training else 0.0
        if q.device.type == "cpu" and q.dtype == torch.float32 and not dropout:
            return BiasedAttention.apply(
                q, k, v, self.var_attn_bias.emb.weight, block.same_variate, block.allowed
            )
        bias = self.var_attn_bias(block).to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return mixed.transpose(1, 2)


class EncoderLayer(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, dim: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.self_attn = VariateAttention(dim, attention_dropout)
        self.ffn = SwiGLU(dim, dropout)
        self.norm1 = RMSNorm(dim)
        self.norm2 = RMSNorm(dim)
        self.dropout = dropout

    def forward(
        self, x: Float[Tensor, "token dim"], block: Block, rotary: Rotary
    ) -> Float[Tensor, "query dim"]:
        normed = self.norm1(x)
        wanted, query_rotary = normed, rotary
        if block.asking is not None:
            x, wanted = x[block.asking], normed[block.asking]
            query_rotary = rotary[block.asking]
        x = x + self._drop(self.self_attn(wanted, normed, block, query_rotary, rotary))
        return x + self._drop(self.ffn(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Encoder(nn.Module):
    """The stack of layers; the last one works on the tokens that are asked for only."""

    def __init__(
        self, dim: int, layers: int, dropout: float, attention_dropout: float, checkpointing: bool
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(dim, dropout, attention_dropout) for _ in range(layers)
        )
        self.norm = RMSNorm(dim)
        self.heads = dim // HEAD_DIM
        self.checkpointing = checkpointing

    def forward(
        self, x: Float[Tensor, "token dim"], block: Block, last: Block
    ) -> Float[Tensor, "query dim"]:
        """Encode one block; ``last`` is the same block with the queries that are wanted."""
        rotary = Rotary.at(block.position, self.heads)
        for k, layer in enumerate(self.layers, start=1):
            here = block if k < len(self.layers) else last
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, here, rotary, use_reentrant=False)
            else:
                x = layer(x, here, rotary)
        return self.norm(x)
