"""A contender: a forecaster that a leaderboard can find, tell from others and load."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.provenance import FILE_NAME, Provenance
from tsfm.errors import DataError
from tsfm.evaluation.tasks import Task

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.models.base import Forecaster
    from tsfm.models.foreign.config import ForeignConfig

PRETRAINED = ("fracast",)
"""Of the baselines: on data that nobody here knows."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A baseline by its name, or a model by its directory.

    Attributes
    ----------
    name
        In every table.
    directory
        None for a baseline, which is named by ``name``.
    """

    name: str
    directory: Path | None = None

    @property
    def is_trained(self) -> bool:
        return self.directory is not None or self.name in PRETRAINED

    @cached_property
    def foreign(self) -> ForeignConfig | None:
        """Of a forecaster in an environment of its own; None of any other."""
        from tsfm.models.foreign.config import FILE_NAME as FOREIGN
        from tsfm.models.foreign.config import ForeignConfig

        if self.directory is None or not (self.directory / FOREIGN).is_file():
            return None
        return ForeignConfig.read(self.directory)

    @property
    def declared_data(self) -> frozenset[str]:
        """Names of data sets that a foreign forecaster's author says it was trained on."""
        told = () if self.foreign is None else self.foreign.training_data or ()
        return frozenset(name for name in told if "/" not in name)

    @cached_property
    def _declared_panels(self) -> Provenance | None:
        """Of the directories in a foreign forecaster's ``training_data``; None without any."""
        if self.foreign is None or self.foreign.training_data is None:
            return None
        from tsfm.data.panel import Panel

        told = (Path(name).expanduser() for name in self.foreign.training_data if "/" in name)
        return Provenance.of(*(Panel.open(self.foreign.directory / path) for path in told))

    @cached_property
    def digest(self) -> str:
        """Of the model's files, or of a baseline's code: answers of another one are not its own."""
        if self.foreign is not None:
            return foreign_digest(self.foreign)
        if self.directory is not None:
            return digest_of_files(self.directory)
        from tsfm.models import FITTED, model_class

        told = sha256(self.name.encode())
        source = Path(inspect.getfile(model_class(self.name)))
        files = sorted(source.parent.glob(f"{source.stem}*.py"))
        if self.name in FITTED:
            files.append(Path(__file__).with_name("fitting.py"))
        for path in files:
            told.update(path.read_bytes())
        return told.hexdigest()[:16]

    def load(self) -> Forecaster:
        """The forecaster, from its files."""
        from tsfm.models.source import load_local

        return load_local(self.name if self.directory is None else self.directory)

    def prepared(self, model: Forecaster, task: Task, panel: Panel) -> Forecaster:
        """As a task asks it: see :func:`tsfm.evaluation.fitting.prepared`."""
        from tsfm.evaluation.fitting import prepared

        return prepared(model, task, panel)

    def parameters(self, model: Forecaster) -> int | None:
        """How many it has, where it tells."""
        count = model.info().get("parameters")
        return None if count is None else int(count)

    def provenance(self) -> Provenance | None:
        """What it was trained on; None where its directory does not tell."""
        if self._declared_panels is not None:
            return self._declared_panels
        if self.directory is None or not (self.directory / FILE_NAME).exists():
            return None
        return Provenance.load(self.directory)


def foreign_digest(config: ForeignConfig) -> str:
    """Of a foreign forecaster's files, and of the packages of an interpreter that it was given.

    Hidden files and compiled ones are no part of it.
    """
    from tsfm.models.foreign.environment import installed

    told = sha256(digest_of_files(config.directory, own=True).encode())
    told.update("\n".join(installed(config)).encode())
    return told.hexdigest()[:16]


def digest_of_files(folder: Path, *, own: bool = False) -> str:
    """Of everything in a directory, names and contents.

    Parameters
    ----------
    own
        Leave out hidden files and compiled ones.

    Raises
    ------
    DataError
        When it cannot be read.
    """
    told = sha256()
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder)
            if own and any(part.startswith(".") or part == "__pycache__" for part in name.parts):
                continue
            told.update(name.as_posix().encode())
            told.update(sha256(path.read_bytes()).digest())
    except OSError as error:
        raise DataError(f"the model cannot be read: {error}", where=str(folder)) from error
    return told.hexdigest()[:16]
