"""How much of a base model is trained, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tsfm.errors import ConfigError, one_of

MODES = ("zero_shot", "linear_probe", "lora", "full")


@dataclass(frozen=True, kw_only=True)
class AdaptationConfig:
    """What is trained.

    Attributes
    ----------
    mode
        ``zero_shot`` trains nothing, ``linear_probe`` the output projection, ``lora`` low-rank
        adapters, ``full`` every weight. Weights that the checkpoint lacks are trained in each but
        the first.
    lora_rank
        Capped per layer below its width.
    lora_alpha
        The adapters' output is scaled by ``lora_alpha / lora_rank``.
    lora_dropout
        Share of an adapter's input that is dropped while it learns.
    lora_targets
        Suffixes of linear layers' names; empty: the model's own choice.
    freeze_backbone
        Leave the backbone as it is: of ``full`` everything else is trained, of ``lora`` the layers
        outside it are adapted.
    """

    mode: str = "lora"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ()
    freeze_backbone: bool = False

    def __post_init__(self) -> None:
        one_of("mode", self.mode, MODES)
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        if self.lora_rank < 1 or not 0 < self.lora_alpha < math.inf:
            raise ConfigError(
                f"lora_rank={self.lora_rank}, lora_alpha={self.lora_alpha} must be > 0"
            )
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout={self.lora_dropout} lies outside [0, 1)")
