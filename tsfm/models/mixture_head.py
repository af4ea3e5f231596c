"""From hidden states to the parameters of the predictive mixture, one set per bar of a patch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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

    def by_size(
        self, sizes: Sequence[int], bars: int | None
    ) -> list[tuple[Float[Tensor, "group bar dim"], Float[Tensor, "group bar"]]]:
        """Weights and biases of each patch size's bars, ``bars`` of them if given."""
        rows = []
        weights, biases = self.weight.unbind(0), self.bias.unbind(0)
        for k in sizes:
            used = self.used[k]
            n = bars or self.patch_sizes[k]
            weight = weights[k].unflatten(0, used.shape[:2])[:, :n]
            if self.constant_rows or n > self.patch_sizes[k]:
                weight = weight * used[:, :n]
            rows.append((weight, biases[k].unflatten(0, used.shape[:2])[:, :n]))
        return rows


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
        self, hidden: Mapping[int, Float[Tensor, "token dim"]], bars: int | None = None
    ) -> list[Float[Tensor, "parameter token bar"]]:
        """Raw parameters, in float32, of every bar (or ``bars`` of them) of patches by size index.

        Sizes are handled together so that the backward pass touches each weight once.
        """
        modules = [module for module in self.proj.modules() if isinstance(module, PatchProjection)]
        tables = [module.by_size(list(hidden), bars) for module in modules]
        raw = []
        for x, parts in zip(hidden.values(), zip(*tables), strict=True):
            weight = torch.cat([weight for weight, _ in parts])
            bias = torch.cat([bias for _, bias in parts])
            with torch.autocast(x.device.type, enabled=False):
                flat = F.linear(x.float(), weight.flatten(0, 1).float(), bias.flatten().float())
            raw.append(flat.unflatten(1, (N_PARAMETERS, -1)).transpose(0, 1))
        return raw
