"""What a reproduction may be told, checked before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from tsfm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReproduceConfig:
    """Doing a recorded run again.

    Attributes
    ----------
    run_id
        As the MLflow UI shows it.
    tolerance
        Within which every final metric must agree.
    strict
        Refuse, before anything is run, where code, packages, machine or panels differ.
    """

    run_id: str = ""
    tolerance: float = 1e-6
    strict: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.tolerance) and self.tolerance >= 0):
            raise ConfigError(f"tolerance={self.tolerance}", remedy="give 0 or more, such as 1e-6")
