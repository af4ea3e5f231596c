"""From hidden states to the parameters of the predictive mixture, one set per bar of a patch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tsfm.models.distributions import COMPONENTS, N_PARAMETERS

_COMPONENT_FIELDS = (("df", "loc", "scale"), ("loc",), ("total_count", "logits"), ("loc", "scale"))


class PatchProjection(nn.Module):
    """One linear map per patch size, ``[size, groups · max_patch, dim]``.

    Row ``group · max_patch + bar`` gives one parameter of one bar. Rows of bars beyond the patch
    are never used; with ``reference_layout`` all rows from ``groups · patch`` on are constant.
    """

    def __init__(
        self, dim: int, patch_sizes: Sequence[int], groups: int, reference_layout: bool
    ) -> None:
        super().__init__()
        longest = max(patch_sizes)
        self.weight = nn.Parameter(torch.zeros(len(patch_sizes), groups * longest, dim))
        self.bias = nn.Parameter(torch.zeros(len(patch_sizes), groups * longest))
        used = torch.zeros(len(patch_sizes), groups, longest, 1, dtype=torch.bool)
        for k, size in enumerate(patch_sizes):
            if reference_layout:
                used[k].view(-1)[: groups * size] = True
            else:
                used[k, :, :size] = True
        self.register_buffer("used", used, persistent=False)
        self.used: Tensor
        self.patch_sizes = tuple(patch_sizes)
        self.constant_rows = reference_layout and groups > 1
        bound, live = 1 / math.sqrt(dim), used.flatten(1, 2)
        with torch.no_grad():
            self.weight.uniform_(-bound, bound).mul_(live)
            self.bias.uniform_(-bound, bound).mul_(live[..., 0])

    def rows(
        self, size_index: int, bars: int
    ) -> tuple[Float[Tensor, "group bar dim"], Float[Tensor, "group bar"]]:
        """Weights and biases of a patch's first ``bars`` bars."""
        used = self.used[size_index]
        shape = used.shape[:2]
        weight = self.weight[size_index].unflatten(0, shape)[:, :bars]
        bias = self.bias[size_index].unflatten(0, shape)[:, :bars]
        if self.constant_rows or bars > self.patch_sizes[size_index]:
            weight = weight * used[:, :bars]
        return weight, bias


class MixtureProjection(nn.Module):
    """All projections of the mixture, named as in the reference, applied as one matrix product."""

    def __init__(self, dim: int, patch_sizes: Sequence[int], reference_layout: bool) -> None:
        super().__init__()

        def projection(groups: int = 1) -> PatchProjection:
            return PatchProjection(dim, patch_sizes, groups, reference_layout)

        self.proj = nn.ModuleDict(
            {
                "weights_logits": projection(len(COMPONENTS)),
                "components": nn.ModuleList(
                    nn.ModuleDict({field: projection() for field in names})
                    for names in _COMPONENT_FIELDS
                ),
            }
        )

    def forward(
        self, hidden: Float[Tensor, "token dim"], size_index: int, bars: int
    ) -> Float[Tensor, "parameter token bar"]:
        """Raw parameters of the first ``bars`` bars of patches of one size, in float32."""
        parts = [
            module.rows(size_index, bars)
            for module in self.proj.modules()
            if isinstance(module, PatchProjection)
        ]
        weight = torch.cat([weight for weight, _ in parts]).flatten(0, 1)
        bias = torch.cat([bias for _, bias in parts]).flatten()
        with torch.autocast(hidden.device.type, enabled=False):
            raw = F.linear(hidden.float(), weight.float(), bias.float())
        return raw.unflatten(1, (N_PARAMETERS, bars)).transpose(0, 1)
