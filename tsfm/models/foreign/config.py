"""``foreign.yaml``: how a foreign forecaster is started, how long it may take, what it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from tsfm.errors import CheckpointError, ConfigError

FILE_NAME = "foreign.yaml"
WORKER = "worker.py"


@dataclass(frozen=True, kw_only=True)
class ForeignConfig:
    """What a directory says of its model.

    Attributes
    ----------
    directory
        That holds ``foreign.yaml`` and ``worker.py``.
    python
        A version (``3.11``) or an interpreter's path, relative ones from ``directory``.
    requirements
        File of the packages that an environment is made of on that Python; None: the interpreter
        at ``python`` has them.
    install_arguments
        Further words of ``uv pip install``, e.g. ``--no-deps``.
    start_seconds, request_seconds, setup_seconds
        How long loading the model, answering a batch and making the environment may take.
    batch_size
        Series in a question at most.
    environment
        Names of the environment variables that the worker is given, if they are set; others are
        not.
    reads_history
        Whether it may be given as many bars as the statistical baselines, beyond a task's context.
    training_data
        Names of the data sets that it was trained on, and directories of panels; None: not known.
    """

    directory: Path
    python: str
    requirements: str | None = None
    install_arguments: tuple[str, ...] = ()
    start_seconds: float = 300.0
    request_seconds: float = 300.0
    setup_seconds: float = 1800.0
    batch_size: int = 64
    environment: tuple[str, ...] = ()
    reads_history: bool = False
    training_data: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("install_arguments", "environment", "training_data"):
            given = getattr(self, name)
            if given is None and name == "training_data":
                continue
            if isinstance(given, str) or not isinstance(given, list | tuple):
                raise self._bad(name, given, "give a list of names")
            object.__setattr__(self, name, tuple(str(word) for word in given))
        for name in ("start_seconds", "request_seconds", "setup_seconds", "batch_size"):
            given = getattr(self, name)
            if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
                raise self._bad(name, given, "give a positive number")
        if int(self.batch_size) != self.batch_size:
            raise self._bad("batch_size", self.batch_size, "give a whole number")
        if not isinstance(self.reads_history, bool):
            raise self._bad("reads_history", self.reads_history, "give true or false")
        if not isinstance(self.python, str) or not self.python:
            remedy = "give an interpreter's path or a version in quotation marks, e.g. '3.11'"
            raise self._bad("python", self.python, remedy)
        if self.requirements is None and not self.is_path:
            remedy = "name a requirements file, or give python as the path of an interpreter"
            raise self._bad("requirements", None, remedy)
        if self.requirements is not None and not (self.directory / self.requirements).is_file():
            raise self._bad("requirements", self.requirements, "there is no such file")

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def is_path(self) -> bool:
        """Whether ``python`` is an interpreter rather than a version."""
        return "/" in self.python

    @property
    def interpreter(self) -> Path:
        """``python`` as a path."""
        return self.directory / Path(self.python).expanduser()

    @classmethod
    def read(cls, directory: str | Path, **overrides: Any) -> Self:
        """Of a directory.

        Raises
        ------
        CheckpointError
            When a file is missing or cannot be read.
        ConfigError
            When a value is not allowed.
        """
        import yaml

        directory = Path(directory).expanduser().absolute()
        path = directory / FILE_NAME
        try:
            told = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(
                f"the directory holds no {FILE_NAME}",
                where=str(directory),
                remedy="write one with: tsfm foreign init NAME",
            ) from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            what = " ".join(str(error).split())
            raise CheckpointError(f"{FILE_NAME} cannot be read: {what}", where=str(path)) from error
        if not isinstance(told, Mapping):
            raise CheckpointError(f"{FILE_NAME} holds no settings", where=str(path))
        if not (directory / WORKER).is_file():
            raise CheckpointError(
                f"the directory holds no {WORKER}",
                where=str(directory),
                remedy="it defines forecast(request); see: tsfm foreign init NAME",
            )
        known = {field.name for field in fields(cls)} - {"directory"}
        unknown = sorted({*map(str, told), *overrides} - known)
        if unknown:
            raise ConfigError(
                f"settings {unknown} are unknown",
                where=str(path),
                remedy=f"known are {', '.join(sorted(known))}",
            )
        if "python" not in told:
            raise ConfigError("python is missing", where=str(path), remedy="give a version or path")
        return cls(directory=directory, **{**told, **overrides})

    def _bad(self, name: str, value: object, remedy: str) -> ConfigError:
        where = str(self.directory / FILE_NAME)
        return ConfigError(f"{name}: {value!r} is not allowed", where=where, remedy=remedy)
