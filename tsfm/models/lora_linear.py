"""LoRA as a change of the weight: one product with ``W + s·B·A``, for layers that are narrow.

peft's own layer adds ``s·B(A x)`` to ``W x``: three products and two sums over the activations,
which costs more than the layer itself where it is 8 to 192 wide. Here activations are multiplied
once, and what is learned is added to the weight, which is small. With dropout of the adapter's
input the two are not one product any more, and peft's own are taken.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn


class MergedLinear(Linear):
    """A linear layer whose :attr:`weight` is that of its base layer and adapter together.

    Modules that compute with ``layer.weight`` by themselves are adapted as well; they ask
    :attr:`drops` first.
    """

    @property
    def weight(self) -> Tensor:
        weight = cast(Tensor, self.base_layer.weight)
        if self._disable_adapters or self.merged_adapters:
            return weight
        for name in self.active_adapters:
            if name in self.lora_A:
                left, right = self.lora_B[name].weight, self.lora_A[name].weight
                weight = torch.addmm(
                    weight, cast(Tensor, left), cast(Tensor, right), alpha=self.scaling[name]
                )
        return weight

    @property
    def drops(self) -> bool:
        """Whether dropout is in force, so that the layer does more than :attr:`weight` says."""
        if not self.training or self._disable_adapters or self.merged_adapters:
            return False
        return any(
            isinstance(self.lora_dropout[name], nn.Dropout)
            for name in self.active_adapters
            if name in self.lora_A
        )

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Make :attr:`weight` the base layer's own, to the last bit."""
        if safe_merge or adapter_names is not None:
            super().merge(safe_merge, adapter_names)
            return
        names = [name for name in self.active_adapters if name in self.lora_A]
        cast(nn.Linear, self.get_base_layer()).weight.data = self.weight.detach().clone()
        self.merged_adapters.extend(names)

    def forward(self, x: Tensor, *_args: object, **_kwargs: object) -> Tensor:
        if self.drops:
            return super().forward(x)
        return F.linear(x, self.weight, self.bias)
