"""What a result depends on besides its configuration: code, packages, machine, process."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import psutil

LARGEST_UNTRACKED_FILE = 256 * 2**10


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of one host, told apart from later ones that get the same number.

    Attributes
    ----------
    host
        Name of the machine and, on Linux, its process-number space (containers have their own).
    started
        Seconds since the epoch.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> Process:
        pid = os.getpid()
        return cls(host=host_name(), pid=pid, started=psutil.Process(pid).create_time())

    def is_alive(self) -> bool:
        """Whether it still runs here; only meaningful when ``host`` is this host."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.started) < 5
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


@dataclass(frozen=True, kw_only=True)
class Code:
    """The state of the source.

    Attributes
    ----------
    commit, branch
        None outside a git repository.
    diff
        Everything that differs from the commit, small untracked files included; ``git apply``
        on the commit restores it.
    sources
        SHA-256 of the package's own ``.py`` files: known without git as well.
    """

    commit: str | None
    branch: str | None
    diff: str
    sources: str

    @property
    def is_dirty(self) -> bool:
        return bool(self.diff)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Everything of the surroundings that a run records."""

    code: Code
    packages: dict[str, str]
    machine: dict[str, Any]
    command: tuple[str, ...]
    seeds: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the diff and the packages (they get files of their own)."""
        values = asdict(self)
        del values["packages"], values["code"]["diff"]
        return {**values, "dirty": self.code.is_dirty, "command": list(self.command)}

    def requirements(self) -> str:
        """One ``name==version`` a line."""
        return "".join(f"{name}=={version}\n" for name, version in self.packages.items())


def describe(**seeds: int) -> Environment:
    """Look at code, packages and machine; takes about a quarter of a second."""
    return Environment(
        code=describe_code(Path(__file__).resolve().parents[2]),
        packages=installed_packages(),
        machine=describe_machine(),
        command=tuple(sys.orig_argv),
        seeds=seeds,
    )


def describe_code(root: Path) -> Code:
    """Commit, branch and difference of the repository that holds ``root``."""
    return Code(
        commit=_git_line(root, "rev-parse", "HEAD"),
        branch=_git_line(root, "rev-parse", "--abbrev-ref", "HEAD"),
        diff=_difference(root),
        sources=_digest_of_sources(root / "tsfm"),
    )


def installed_packages() -> dict[str, str]:
    """Versions of every installed distribution."""
    found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def describe_machine() -> dict[str, Any]:
    """Hardware and operating system."""
    machine: dict[str, Any] = {
        "host": socket.gethostname(),
        "user": user_name(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        machine["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            count = torch.cuda.device_count()
            machine["gpus"] = [torch.cuda.get_device_name(k) for k in range(count)]
    return machine


def host_name() -> str:
    """The machine's name, with its process-number space where the system tells it."""
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{space}"


def user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _git(root: Path, *arguments: str, **environment: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=30, env={**os.environ, **environment}, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def _git_line(root: Path, *arguments: str) -> str | None:
    output = _git(root, *arguments)
    return output.strip() if output is not None else None


def _difference(root: Path) -> str:
    """``git diff`` against the commit, through a copy of the index that also knows new files."""
    index = _git_line(root, "rev-parse", "--path-format=absolute", "--git-path", "index")
    if index is None or not Path(index).exists():
        return ""
    top = Path(_git_line(root, "rev-parse", "--show-toplevel") or root)
    listed = _git(top, "ls-files", "--others", "--exclude-standard", "-z") or ""
    new = [name for name in listed.split("\0") if name and _is_small(top / name)]
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(index, Path(folder) / "index")
        if new:
            _git(top, "add", "--intent-to-add", "--", *new, GIT_INDEX_FILE=str(copy))
        return _git(top, "diff", "--binary", "HEAD", GIT_INDEX_FILE=str(copy)) or ""


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST_UNTRACKED_FILE


def _digest_of_sources(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
