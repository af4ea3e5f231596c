"""The environment of a foreign forecaster: a given interpreter, or one made once by uv."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tsfm.data.cache import cache_directory
from tsfm.errors import CheckpointError
from tsfm.models.foreign.config import FILE_NAME, ForeignConfig

NEEDED = ("numpy", "pyarrow>=14")
"""What the worker's side of the pipe imports; added to every environment."""


def interpreter(config: ForeignConfig, *, show: bool = False) -> Path:
    """The Python that runs the model; its environment is made where that has not been done.

    Parameters
    ----------
    show
        Let the installer write to the terminal.

    Raises
    ------
    CheckpointError
        When there is no such interpreter, or the packages cannot be installed.
    """
    if config.is_path and not os.access(config.interpreter, os.X_OK):
        raise CheckpointError(
            f"there is no interpreter at {config.interpreter}",
            where=str(config.directory / FILE_NAME),
            remedy="correct python, or give a version and a requirements file",
        )
    if config.requirements is None:
        return config.interpreter
    home = environment_directory(config)
    if not home.is_dir():
        _make_once(config, home, show)
    return _python_in(home)


def environment_directory(config: ForeignConfig) -> Path:
    """Where the environment of these requirements is kept: one for all models that share them."""
    told = {
        "python": str(config.interpreter) if config.is_path else config.python,
        "requirements": _requirements(config),
        "arguments": config.install_arguments,
        "machine": f"{sys.platform} {platform.machine()}",
    }
    digest = sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return cache_directory() / "foreign" / digest


def installed(config: ForeignConfig) -> tuple[str, ...]:
    """Names and versions of the packages beside a given interpreter; none where uv makes one."""
    if config.requirements is not None or not config.is_path:
        return ()
    libraries = config.interpreter.parent.parent / "lib"
    found = libraries.glob("python3*/site-packages/*.dist-info")
    return tuple(sorted(path.stem for path in found))


def _requirements(config: ForeignConfig) -> str:
    path = config.directory / str(config.requirements)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"requirements cannot be read: {error}", where=str(path)) from error
    kept = (line.partition(" #")[0].strip() for line in lines)
    return "\n".join(line for line in kept if line and not line.startswith("#"))


def _make_once(config: ForeignConfig, home: Path, show: bool) -> None:
    """Whoever comes second waits; what a killed process left is made again."""
    from filelock import FileLock

    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(f"{home.name}.lock")):
        if home.is_dir():
            return
        temporary = home.with_name(f".{home.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            for command in _commands(config, temporary):
                _run(command, config, show)
            (temporary / "requirements.txt").write_text(_requirements(config) + "\n")
            temporary.rename(home)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _commands(config: ForeignConfig, home: Path) -> list[list[str]]:
    """Make an empty environment and fill it: by uv, or by the given interpreter itself."""
    python = str(config.interpreter) if config.is_path else config.python
    packages = ["-r", str(config.directory / str(config.requirements)), *NEEDED]
    arguments = [*config.install_arguments, *packages]
    uv = _uv()
    if uv is not None:
        into = ["--python", str(_python_in(home))]
        return [
            [uv, "venv", "--relocatable", "--no-project", "--python", python, str(home)],
            [uv, "pip", "install", "--compile-bytecode", *into, *arguments],
        ]
    if not config.is_path:
        raise CheckpointError(
            f"uv is not installed, which makes an environment on Python {config.python}",
            where=str(config.directory / FILE_NAME),
            remedy="pip install uv, or give python as the path of an interpreter",
        )
    install = [str(_python_in(home)), "-m", "pip", "install", *arguments]
    return [[python, "-m", "venv", str(home)], install]


def _run(command: list[str], config: ForeignConfig, show: bool) -> None:
    output = None if show else subprocess.PIPE
    try:
        done = subprocess.run(
            command,
            cwd=config.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output if show else subprocess.STDOUT,
            timeout=config.setup_seconds,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _unmade(config, f"it took longer than {config.setup_seconds:g} s") from error
    except OSError as error:
        raise _unmade(config, f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stdout or "").splitlines() if line.strip()]
        told = " | ".join(lines[-3:]) or f"{Path(command[0]).name} failed, see above"
        raise _unmade(config, told)


def _unmade(config: ForeignConfig, why: str) -> CheckpointError:
    return CheckpointError(
        f"the environment of {config.name} cannot be made: {why}",
        where=str(config.directory / str(config.requirements)),
        remedy=f"correct the requirements and try: tsfm foreign setup {config.directory}",
    )


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _python_in(home: Path) -> Path:
    return home / "bin" / "python"
