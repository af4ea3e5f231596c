"""Workers on other machines: the same loop for every scheduler, which only starts and stops jobs.

A job runs the worker's command as a process of its own, with its variables set before Python
starts, and holds the other end of its standard input: when the scheduler kills the job, by time,
preemption or a dead node, the worker's input closes; it puts its trial away and is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sweeps.cluster_config import ClusterConfig
from sweeps.worker import WorkerSpec, as_line
from tsfm.errors import ConfigError, TrackingError, UserError
from tsfm.tracking import store

if TYPE_CHECKING:
    from sweeps.study import Standing

DEATHS_IN_A_ROW = 4
LONGEST_TOLD = 4000


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a worker ended.

    Attributes
    ----------
    code
        Its exit status.
    told
        The last of what it printed.
    """

    code: int
    told: str = ""


class Job(Protocol):
    """One worker, wherever it is."""

    def is_done(self) -> bool: ...

    def ended(self) -> Ended:
        """How; a job that the scheduler killed has a code other than 0."""

    def cancel(self) -> None: ...


@dataclass
class ClusterLauncher(ABC):
    """Keeps so many jobs of a scheduler at work on a study until it is over.

    Parameters
    ----------
    config
        What is asked of the scheduler.
    pause
        Seconds between looks at the jobs.
    """

    config: ClusterConfig
    pause: float = 5.0

    @abstractmethod
    def check(self, storage: str, tracking: str) -> None:
        """That workers could be started, as far as can be told before.

        Raises
        ------
        ConfigError
            With what to install or to give.
        """

    @abstractmethod
    def start(self, spec: WorkerSpec) -> None:
        """Reach the scheduler.

        Raises
        ------
        ConfigError
            When it is not there.
        """

    @abstractmethod
    def submit(self, spec: WorkerSpec) -> Job:
        """Start one worker."""

    @abstractmethod
    def stop(self) -> None:
        """Leave the scheduler."""

    def run(self, spec: WorkerSpec, workers: int, progress: Callable[[], Standing]) -> None:
        """See :class:`sweeps.pool.Launcher`."""
        self.check(spec.storage, spec.tracking)
        self.start(spec)
        jobs: list[Job] = []
        deaths, finished = 0, -1
        try:
            standing = progress()
            while not standing.is_over:
                room = min(workers - len(jobs), standing.left + standing.waiting)
                jobs += [self.submit(spec) for _ in range(room)]
                time.sleep(self.pause)
                died = _collect(jobs)
                standing = progress()
                ended = standing.complete + standing.pruned + standing.failed
                deaths = died if ended > finished else deaths + died
                finished = ended
                if deaths >= DEATHS_IN_A_ROW:
                    raise TrackingError(
                        f"{deaths} workers died one after the other",
                        remedy=f"see their output in {self.config.logs}; ask for more memory or "
                        "minutes with overrides='cluster.memory_gb=… cluster.minutes=…'",
                    )
            while jobs:
                _collect(jobs)
                time.sleep(min(self.pause, 0.2))
        finally:
            for job in jobs:
                with suppress(Exception):
                    job.cancel()
            while jobs and not all(map(_is_over, jobs)):
                time.sleep(min(self.pause, 0.2))
            self.stop()
            progress()


def serve(spec: WorkerSpec) -> Ended:
    """What a job does: run the worker's command to its end.

    The worker is one process, not one of a distributed training that Slurm's variables speak of.
    """
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=spec.directory,
        env=variables | spec.environment(),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(as_line(spec))
        process.stdin.flush()
        told = process.stdout.read()
        return Ended(code=process.wait(), told=told[-LONGEST_TOLD:])
    finally:
        process.stdin.close()
        process.wait()


def expect_shared(storage: str, tracking: str) -> None:
    """That workers on other machines reach both stores.

    Raises
    ------
    ConfigError
        When one of them is a file.
    """
    for address, meaning, remedy in (
        (storage, "storage", "give storage=postgresql://user@host/database"),
        (tracking, "MLFLOW_TRACKING_URI", "set it to a server: MLFLOW_TRACKING_URI=http://…"),
    ):
        scheme = address.partition(":")[0]
        if scheme in ("sqlite", "file", ""):
            raise ConfigError(
                "a file cannot be shared by several machines",
                where=f"{meaning}={store.masked(address)}",
                remedy=remedy,
            )


def missing(package: str, extra: str) -> ConfigError:
    return ConfigError(
        f"launcher={extra} needs {package}", remedy=f"pip install 'tsfm-lab[{extra}]'"
    )


def _collect(jobs: list[Job]) -> int:
    """Take ended jobs from the list; the number that died. What one told is raised."""
    died = 0
    for job in [one for one in jobs if one.is_done()]:
        jobs.remove(job)
        ended = job.ended()
        if ended.code == UserError.exit_code:
            raise _told(ended.told)
        died += ended.code != 0
    return died


def _is_over(job: Job) -> bool:
    try:
        return job.is_done()
    except Exception:
        return True


def _told(text: str) -> UserError:
    for line in reversed(text.splitlines()):
        found: Any = None
        with suppress(ValueError):
            found = json.loads(line)
        if isinstance(found, dict) and "error" in found:
            return ConfigError(str(found["error"]).rstrip("."))
    return ConfigError(f"a worker ended: {text.strip() or 'it told nothing'}")
