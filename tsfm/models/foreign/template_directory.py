"""A new directory of a foreign forecaster, to be filled in."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tsfm.errors import ConfigError
from tsfm.models.foreign.config import FILE_NAME

TEMPLATE = Path(__file__).with_name("template")
REQUIREMENTS = "requirements.txt"
_NAME = re.compile(r"[\w.-]+")


def write_template(directory: str | Path, python: str | None = None) -> Path:
    """Write ``worker.py``, ``foreign.yaml`` and ``requirements.txt``, all of them or nothing.

    Parameters
    ----------
    directory
        That does not exist yet; its name is the model's on leaderboards.
    python
        A version of Python, or the path of an interpreter that has the model's packages already: no
        environment is made then.

    Raises
    ------
    ConfigError
        When the directory exists or cannot be made, or there is no such interpreter.
    """
    target = Path(directory).expanduser().absolute()
    if not _NAME.fullmatch(target.name):
        raise ConfigError(
            f"{target.name!r} is no name for a model", remedy="use letters, digits, '.', '_', '-'"
        )
    if target.exists():
        raise ConfigError("the directory exists", where=str(target), remedy="give another name")
    ready = python is not None and "/" in python
    if ready and not os.access(str(python), os.X_OK):
        raise ConfigError(f"there is no interpreter at {python!r}")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copytree(TEMPLATE, temporary, ignore=shutil.ignore_patterns("__pycache__"))
        if python is not None:
            _set_python(temporary, os.path.abspath(python) if ready else python, ready)
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ConfigError(f"it cannot be written: {error.strerror}", where=str(target)) from error
    return target


def _set_python(directory: Path, python: str, ready: bool) -> None:
    path = directory / FILE_NAME
    text = re.sub(r"(?m)^python: .*$", lambda _: f'python: "{python}"', path.read_text())
    if ready:
        text = text.replace(f"requirements: {REQUIREMENTS}\n", "")
        (directory / REQUIREMENTS).unlink()
    path.write_text(text)
