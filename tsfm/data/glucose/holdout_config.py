"""How much of readings is held out."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class HoldOutConfig:
    """Who and what of readings nothing is trained on.

    Attributes
    ----------
    file
        A hold-out to honour: its file, or the name and version of one. Empty: draw one and write
        it, as ``version``.
    patient_share, time_share
        Of patients, held out altogether; of each other patient's bars, at their end.
    """

    file: str = ""
    version: int = 1
    patient_share: float = 0.2
    time_share: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.patient_share < 1 and 0 <= self.time_share < 1) or self.version < 1:
            raise ConfigError(
                f"holdout: shares {self.patient_share}, {self.time_share}, version {self.version}",
                remedy="give shares from 0 on and below 1, and versions from 1 on",
            )
