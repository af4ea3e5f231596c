"""What released checkpoints were trained on, as their publishers declare it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from tsfm.errors import DataError

FILE = Path(__file__).with_name("declared.yaml")


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Of one family of checkpoints.

    Attributes
    ----------
    models
        Patterns of hub ids.
    seen, unseen
        Data sets of the suites, and what the source calls them.
    source
        Where it is declared.
    """

    family: str
    models: tuple[str, ...]
    seen: Mapping[str, str]
    unseen: Mapping[str, str]
    source: str

    def is_about(self, model: str) -> bool:
        """Whether a hub id, or a directory that is named as its last part, is of the family."""
        name = model.lower()
        patterns = [pattern.lower() for pattern in self.models]
        if "/" not in name:
            patterns = [pattern.rpartition("/")[2] for pattern in patterns]
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    def has_seen(self, dataset: str) -> bool | None:
        """Whether training bars of a data set were in the corpus; None where it is not told."""
        return True if dataset in self.seen else False if dataset in self.unseen else None


def declaration_of(model: str) -> Declaration | None:
    """The declaration about a checkpoint, by its hub id or the name of its directory."""
    return next((one for one in declarations() if one.is_about(model)), None)


@cache
def declarations() -> tuple[Declaration, ...]:
    """All that are known.

    Raises
    ------
    DataError
        When the file of this package is missing or damaged.
    """
    import yaml

    try:
        records = yaml.safe_load(FILE.read_text(encoding="utf-8"))
        return tuple(
            Declaration(**record | {"models": tuple(record["models"])}) for record in records
        )
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise DataError(
            f"declared training sets cannot be read: {error}",
            where=str(FILE),
            remedy="reinstall tsfm-lab",
        ) from error
