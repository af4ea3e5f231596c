"""Workers of a study, kept at work until it is over, wherever they are started."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tsfm.errors import ConfigError, TrackingError, UserError

if TYPE_CHECKING:
    from sweeps.cluster_config import ClusterConfig
    from sweeps.study import Standing
    from sweeps.worker import WorkerSpec

LAUNCHERS = {
    "local": "sweeps.pool:Pool",
    "slurm": "sweeps.slurm:SlurmLauncher",
    "ray": "sweeps.ray_cluster:RayLauncher",
}
DEATHS_IN_A_ROW = 4


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


J = TypeVar("J", bound=Job)


class Launcher(ABC, Generic[J]):
    """Starts workers somewhere, and stays until the study is over."""

    def run(self, spec: WorkerSpec, workers: int, progress: Callable[[], Standing]) -> None:
        """Keep ``workers`` of ``spec`` at work and return when the study is over.

        Parameters
        ----------
        progress
            Takes back trials of dead workers, shows how far the study is and tells it; called
            every few seconds. While ``standing.is_over`` is false and no worker lives, another
            one is needed.

        Raises
        ------
        UserError
            What a worker told, or that workers keep dying. No worker is left then, nor after
            KeyboardInterrupt.
        """
        from sweeps.storage import StorageLostError

        jobs: list[J] = []
        is_lost = False
        try:
            self._keep_at_work(jobs, spec, workers, progress)
            self.see_out(jobs)
        except StorageLostError:
            is_lost = True
            raise
        finally:
            self.end(jobs)
            if not is_lost:
                progress()

    @abstractmethod
    def check(self, storage: str, tracking: str) -> None:
        """That workers of these stores could be started, as far as can be told before.

        Raises
        ------
        ConfigError
            With what to install or to give.
        """

    @abstractmethod
    def submit(self, spec: WorkerSpec) -> J:
        """Start one worker."""

    @abstractmethod
    def wait(self, jobs: list[J]) -> None:
        """Until it is time to look at the workers again."""

    @abstractmethod
    def see_out(self, jobs: list[J]) -> None:
        """Wait for those that are left when the study is over: they end by themselves."""

    @abstractmethod
    def end(self, jobs: list[J]) -> None:
        """Stop all that are left; return when none is."""

    @property
    @abstractmethod
    def remedy(self) -> str:
        """What to do when workers keep dying."""

    def _keep_at_work(
        self, jobs: list[J], spec: WorkerSpec, workers: int, progress: Callable[[], Standing]
    ) -> None:
        deaths, done = 0, -1
        standing = progress()
        while not standing.is_over:
            for _ in range(min(workers - len(jobs), standing.left + standing.waiting)):
                jobs.append(self.submit(spec))
            self.wait(jobs)
            died = collect(jobs)
            standing = progress()
            deaths = died if standing.done > done else deaths + died
            done = standing.done
            if deaths >= DEATHS_IN_A_ROW:
                raise TrackingError(
                    f"{deaths} workers died one after the other", remedy=self.remedy
                )


def launcher_of(name: str, cluster: ClusterConfig) -> Launcher[Any]:
    """The launcher of this name, asking a cluster for so much."""
    module, _, attribute = LAUNCHERS[name].partition(":")
    kind = getattr(import_module(module), attribute)
    made: Launcher[Any] = kind() if name == "local" else kind(cluster)
    return made


def collect(jobs: list[J]) -> int:
    """Take ended jobs from the list; the number that died. What one told is raised."""
    died = 0
    for job in [one for one in jobs if one.is_done()]:
        jobs.remove(job)
        ended = job.ended()
        if ended.code == UserError.exit_code:
            raise _told(ended.told)
        died += ended.code != 0
    return died


def _told(text: str) -> UserError:
    for line in reversed(text.splitlines()):
        found: Any = None
        with suppress(ValueError):
            found = json.loads(line)
        if isinstance(found, dict) and "error" in found:
            return ConfigError(str(found["error"]).rstrip("."))
    return ConfigError(f"a worker ended: {text.strip() or 'it told nothing'}")
