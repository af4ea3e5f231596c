"""What may be asked about lineage, checked before anything is looked up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsfm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LineageConfig:
    """One question.

    Attributes
    ----------
    model
        A registered model's name (its champion), ``models:/…``, a directory or a hub id.
    panel
        A panel's directory, or the first characters of a fingerprint.
    run_id
        As the MLflow UI shows it.
    out
        A JSON file to write the answer to; empty: it is printed alone.
    """

    model: str = ""
    panel: str = ""
    run_id: str = ""
    out: str = ""

    def __post_init__(self) -> None:
        given = [name for name in ("model", "panel", "run_id") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} at once", remedy="ask about one of them")
        if self.out and Path(self.out).suffix.lower() != ".json":
            raise ConfigError(f"out={self.out!r} is no JSON file", remedy="end it in .json")

    @property
    def asked(self) -> tuple[str, str]:
        """Which kind of thing, and which one.

        Raises
        ------
        ConfigError
            When nothing is asked.
        """
        for name in ("model", "panel", "run_id"):
            if getattr(self, name):
                return name, str(getattr(self, name))
        raise ConfigError(
            "nothing is asked", remedy="give model=NAME, panel=DIRECTORY or run_id=ID"
        )
