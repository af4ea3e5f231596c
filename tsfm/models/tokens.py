"""The real tokens of a packed batch: where they are, which of them see each other, their scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_CACHED_TOKENS = 3072  # tokens whose activations stay in a processor's cache
_SPREAD = 1.25  # longest sample of a block over its shortest


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Tokens of several samples as one rectangle ``[sample, length]``.

    ``index`` says which token fills each place of the rectangle and ``filled`` which places are
    filled; both are None when the tokens fill it exactly.
    """

    samples: int
    length: int
    index: Int[Tensor, "sample*length"] | None = None
    filled: Int[Tensor, " token"] | None = None

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device) -> Rows:
        samples, longest = len(lengths), max(lengths)
        if samples * longest == sum(lengths):
            return cls(samples=samples, length=longest)
        count = torch.tensor(lengths, device=device)
        place = torch.arange(longest, device=device)
        real = place < count[:, None]
        first = torch.cumsum(count, 0) - count
        return cls(
            samples=samples,
            length=longest,
            index=torch.where(real, first[:, None] + place, 0).flatten(),
            filled=real.flatten().nonzero().squeeze(1),
        )

    def pad(self, x: Float[Tensor, "token head dim"]) -> Float[Tensor, "sample head length dim"]:
        if self.index is not None:
            x = x[self.index]
        return x.unflatten(0, (self.samples, self.length)).transpose(1, 2)

    def unpad(self, x: Float[Tensor, "sample length head dim"]) -> Float[Tensor, "token head dim"]:
        x = x.flatten(0, 1)
        return x if self.filled is None else x[self.filled]

    def table(self, ids: Int[Tensor, " token"]) -> Int[Tensor, "sample length"]:
        return (ids if self.index is None else ids[self.index]).view(self.samples, self.length)

    def mask(self) -> Bool[Tensor, "sample 1 1 length"] | None:
        if self.filled is None or self.index is None:
            return None
        mask = torch.zeros_like(self.index, dtype=torch.bool)
        mask[self.filled] = True
        return mask.view(self.samples, 1, 1, self.length)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Whole samples of similar length: who asks, who is asked, and which pairs are allowed.

    Attributes
    ----------
    position
        Time id of each token.
    asking
        Which tokens ask; None for all of them.
    same_variate
        One where both are of one variate, zero elsewhere.
    allowed
        ``[sample, 1, 1, key]``; None when every key is a token.
    """

    position: Int[Tensor, " token"]
    asking: Int[Tensor, " query"] | None
    queries: Rows
    keys: Rows
    same_variate: Float[Tensor, "sample query key"]
    allowed: Bool[Tensor, "sample 1 1 key"] | None


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Some tokens' values, all of one patch size; ``rows`` says which tokens."""

    rows: Int[Tensor, " row"]
    values: Float[Tensor, "row bar"]
    observed: Bool[Tensor, "row bar"]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """The real tokens of a packed batch, sample after sample, shorter samples first.

    Attributes
    ----------
    index
        Position of each token in the flattened ``[batch · token]`` slots.
    sample, group
        Which sample and which (sample, variate) pair a token belongs to.
    position
        Time id.
    size
        Bars in its patch.
    predicted
        Masked tokens, whose values are to be predicted.
    """

    index: Int[Tensor, " token"]
    sample: Int[Tensor, " token"]
    group: Int[Tensor, " token"]
    variate: Int[Tensor, " token"]
    position: Int[Tensor, " token"]
    size: Int[Tensor, " token"]
    predicted: Bool[Tensor, " token"]
    n_groups: int
    sample_lengths: tuple[int, ...]

    @classmethod
    def from_batch(cls, batch: Mapping[str, Tensor]) -> Tokens:
        """Sort the tokens whose ``sample_id`` is positive."""
        sample_id = batch["sample_id"]
        rows = torch.arange(sample_id.shape[0], device=sample_id.device)[:, None]
        key = (rows * (sample_id.max() + 1) + sample_id).flatten()
        slots = (sample_id.flatten() > 0).nonzero().squeeze(1)
        _, sample, lengths = torch.unique(key[slots], return_inverse=True, return_counts=True)
        by_length = torch.argsort(lengths, stable=True)
        rank = torch.argsort(by_length)
        order = torch.argsort(rank[sample], stable=True)
        index, sample = slots[order], rank[sample][order]
        variate = batch["variate_id"].flatten()[index]
        pairs, group = torch.unique(
            sample * (batch["variate_id"].max() + 1) + variate, return_inverse=True
        )
        return cls(
            index=index,
            sample=sample,
            group=group,
            variate=variate,
            position=batch["time_id"].flatten()[index],
            size=batch["patch_size"].flatten()[index],
            predicted=batch["prediction_mask"].flatten()[index],
            n_groups=len(pairs),
            sample_lengths=tuple(lengths[by_length].tolist()),
        )

    def by_size(
        self, sizes: Sequence[int], chosen: Bool[Tensor, " token"]
    ) -> dict[int, Int[Tensor, " row"]]:
        """The chosen tokens of each patch size, by the size's index, for the sizes that occur."""
        found = {
            k: (chosen & (self.size == size)).nonzero().squeeze(1) for k, size in enumerate(sizes)
        }
        return {k: rows for k, rows in found.items() if len(rows)}

    def blocks(
        self, wanted: Bool[Tensor, " token"]
    ) -> tuple[tuple[int, ...], list[tuple[Block, Block]]]:
        """Cut into blocks of whole samples.

        Returns
        -------
        sizes, blocks
            Tokens in each block; each block twice: all its tokens asking, only ``wanted`` ones.
        """
        asking = torch.bincount(self.sample[wanted], minlength=len(self.sample_lengths)).tolist()
        limit = _CACHED_TOKENS if self.index.device.type == "cpu" else 32 * _CACHED_TOKENS
        sizes, blocks, start = [], [], 0
        for first, last in _similar(self.sample_lengths, limit):
            lengths = self.sample_lengths[first:last]
            here = slice(start, start + sum(lengths))
            keys = Rows.of(lengths, self.index.device)
            queries = Rows.of(tuple(asking[first:last]), self.index.device)
            full = self._block(here, keys, keys, None)
            last_asking = wanted[here].nonzero().squeeze(1)
            blocks.append((full, self._block(here, keys, queries, last_asking)))
            sizes.append(sum(lengths))
            start = here.stop
        return tuple(sizes), blocks

    def _block(
        self, here: slice, keys: Rows, queries: Rows, asking: Int[Tensor, " query"] | None
    ) -> Block:
        variate = self.variate[here]
        asking_variate = variate if asking is None else variate[asking]
        query_ids, key_ids = queries.table(asking_variate), keys.table(variate)
        return Block(
            position=self.position[here],
            asking=asking,
            queries=queries,
            keys=keys,
            same_variate=(query_ids[:, :, None] == key_ids[:, None, :]).float(),
            allowed=keys.mask(),
        )

    def location_scale(
        self, patches: Iterable[Patches], minimum_variance: float
    ) -> tuple[Float[Tensor, " token"], Float[Tensor, " token"]]:
        """Mean and standard deviation of each token's (sample, variate) over observed patches.

        In float64, where no square of a float32 overflows. ``minimum_variance`` is added to the
        (unbiased) variance, as in the reference, so that a constant series keeps a finite scale.
        """
        patches = list(patches)
        count = self.patch_sum((p.rows, p.observed.float()) for p in patches)
        total = self.patch_sum((p.rows, p.values.where(p.observed, 0.0)) for p in patches)
        location = total / count.clamp_min(1)
        deviations = (
            (p.rows, (p.values - location[self.group[p.rows], None]).where(p.observed, 0.0))
            for p in patches
        )
        squares = self.patch_sum((rows, x.square_()) for rows, x in deviations)
        variance = squares / (count - 1).clamp_min(1)
        scale = (variance + minimum_variance).sqrt()
        return location[self.group].float(), scale[self.group].float()

    def patch_sum(
        self, patches: Iterable[tuple[Int[Tensor, " row"], Float[Tensor, "row bar"]]]
    ) -> Float[Tensor, " group"]:
        """Sum over the patches of each (sample, variate), in float64."""
        total = torch.zeros(self.n_groups, dtype=torch.float64, device=self.index.device)
        for rows, values in patches:
            total.index_add_(0, self.group[rows], values.sum(-1, dtype=torch.float64))
        return total


def _similar(lengths: tuple[int, ...], limit: int) -> list[tuple[int, int]]:
    """Cut sorted lengths into runs of at most ``limit`` tokens and similar lengths."""
    cuts, tokens = [0], 0
    for k, length in enumerate(lengths):
        too_long = length > lengths[cuts[-1]] * _SPREAD + 2
        if k > cuts[-1] and (too_long or tokens + length > limit):
            cuts.append(k)
            tokens = 0
        tokens += length
    return list(zip(cuts, [*cuts[1:], len(lengths)])) if lengths else []
