"""Workers of this machine: started, watched, replaced when they die, never left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

from sweeps.cluster_config import ClusterConfig
from sweeps.study import Standing
from sweeps.worker import WorkerSpec, as_line
from tsfm.errors import ConfigError, TrackingError, UserError

LAUNCHERS = {
    "local": "sweeps.pool:Pool",
    "slurm": "sweeps.slurm:SlurmLauncher",
    "ray": "sweeps.ray_cluster:RayLauncher",
}
SECONDS_TO_END = 30.0
DEATHS_IN_A_ROW = 4


class Launcher(Protocol):
    """Starts workers somewhere, and stays until the study is over."""

    def run(self, spec: WorkerSpec, workers: int, progress: Callable[[], Standing]) -> None:
        """Start ``workers`` of ``spec`` and return when the study is over.

        Parameters
        ----------
        progress
            Takes back trials of dead workers, shows how far the study is and tells it; to be
            called every few seconds. While ``standing.is_over`` is false and no worker lives,
            another one is needed.

        Raises
        ------
        UserError
            What a worker told, or that workers keep dying. No worker is left then, nor after
            KeyboardInterrupt.
        """


def launcher_of(name: str, cluster: ClusterConfig) -> Launcher:
    """The launcher of this name, asking a cluster for so much."""
    module, _, attribute = LAUNCHERS[name].partition(":")
    kind = getattr(import_module(module), attribute)
    made: Launcher = kind() if name == "local" else kind(cluster)
    return made


def check_launcher(name: str, cluster: ClusterConfig, storage: str, tracking: str) -> None:
    """Raise :class:`ConfigError` where this launcher cannot start workers of these stores."""
    launcher = launcher_of(name, cluster)
    if name != "local":
        launcher.check(storage, tracking)  # type: ignore[attr-defined]


@dataclass
class Pool:
    """Local processes.

    Parameters
    ----------
    pause
        Seconds between looks at them.
    """

    pause: float = 0.5
    _living: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, spec: WorkerSpec, workers: int, progress: Callable[[], Standing]) -> None:
        """See :class:`Launcher`."""
        deaths, finished = 0, -1
        try:
            standing = progress()
            while not standing.is_over:
                room = workers - len(self._living)
                for _ in range(min(room, standing.left + standing.waiting)):
                    self._start(spec)
                self._wait()
                died = self._collect()
                standing = progress()
                ended = standing.complete + standing.pruned + standing.failed
                deaths = died if ended > finished else deaths + died
                finished = ended
                if deaths >= DEATHS_IN_A_ROW:
                    raise TrackingError(
                        f"{deaths} workers died one after the other",
                        remedy="see their messages above; is there memory for so many workers?",
                    )
        except BaseException:
            self._stop()
            progress()
            raise
        for process in self._living:
            process.wait()
        self._living.clear()

    def _start(self, spec: WorkerSpec) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=spec.directory,
            env=os.environ | spec.environment(),
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(as_line(spec))
        process.stdin.flush()
        self._living.append(process)

    def _wait(self) -> None:
        """For a worker's end, or a moment."""
        until = time.monotonic() + 4 * self.pause
        while time.monotonic() < until:
            if any(process.poll() is not None for process in self._living):
                return
            time.sleep(min(self.pause, 0.1))

    def _collect(self) -> int:
        """Number of workers that died; what one told is raised."""
        died = 0
        for process in [one for one in self._living if one.poll() is not None]:
            self._living.remove(process)
            told = process.stdout.read() if process.stdout else ""
            _close(process)
            if process.returncode == UserError.exit_code:
                raise _told(told)
            died += process.returncode != 0
        return died

    def _stop(self) -> None:
        """All of them: gently, and on a second Ctrl-C at once."""
        try:
            for process in self._living:
                process.terminate()
            until = time.monotonic() + SECONDS_TO_END
            for process in self._living:
                process.wait(timeout=max(until - time.monotonic(), 0.1))
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            pass
        finally:
            for process in self._living:
                process.kill()
                process.wait()
                _close(process)
            self._living.clear()


def _close(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _told(text: str) -> UserError:
    for line in reversed(text.splitlines()):
        try:
            return ConfigError(str(json.loads(line)["error"]).rstrip("."))
        except (ValueError, KeyError, TypeError):
            continue
    return ConfigError(f"a worker ended: {text.strip() or 'it told nothing'}")
