"""Workers as tasks of a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from sweeps.cluster import KILLED, ClusterLauncher, expect_shared, missing, serve
from sweeps.launcher import Ended, Job
from sweeps.worker import WorkerSpec
from tsfm.errors import ConfigError


@dataclass
class RayLauncher(ClusterLauncher):
    """Each worker is one task, with cores and cards reserved; Ray starts it where they are free."""

    _task: Any = field(default=None, repr=False)
    _began_here: bool = False

    def check(self, storage: str, tracking: str) -> None:  # noqa: ARG002
        if find_spec("ray") is None:
            raise missing("ray", "ray")

    def start(self, spec: WorkerSpec) -> None:
        import ray

        if not ray.is_initialized():
            variables = {"PYTHONPATH": spec.environment()["PYTHONPATH"]}
            try:
                ray.init(
                    address=self.config.address or None,
                    log_to_driver=False,
                    runtime_env={"env_vars": variables},
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ConfigError(
                    f"Ray cannot be reached: {' '.join(str(error).split())[:300]}",
                    where=f"cluster.address={self.config.address}",
                    remedy="give overrides=cluster.address=ray-head:6379, or none for Ray here",
                ) from error
            self._began_here = True
        if sum(bool(node["Alive"]) for node in ray.nodes()) > 1:
            expect_shared(spec.storage, spec.tracking)
        asked: dict[str, Any] = {"num_cpus": self.config.cpus or spec.threads}
        if self.config.memory_gb:
            asked["memory"] = int(self.config.memory_gb * 2**30)
        self._expect_room({"CPU": asked["num_cpus"], "GPU": self.config.gpus})
        self._task = ray.remote(num_gpus=self.config.gpus, max_retries=0, **asked)(serve)

    def submit(self, spec: WorkerSpec) -> Job:
        return _RayJob(self._task.remote(spec))

    def stop(self) -> None:
        if self._began_here:
            import ray

            ray.shutdown()
            self._began_here = False

    def _expect_room(self, asked: dict[str, float]) -> None:
        """That some machine is large enough: Ray would wait for ever."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for name, amount in asked.items():
            largest = max((node.get(name, 0) for node in alive), default=0)
            if amount > largest:
                self.stop()
                raise ConfigError(
                    f"a worker asks for {amount:g} {name}, the largest machine has {largest:g}",
                    remedy=f"give less: cluster.{name.lower()}s, or threads",
                )


@dataclass
class _RayJob:
    reference: Any

    def is_done(self) -> bool:
        import ray

        done, _ = ray.wait([self.reference], timeout=0)
        return bool(done)

    def ended(self) -> Ended:
        import ray

        try:
            found: Ended = ray.get(self.reference)
        except ray.exceptions.RayError:
            return KILLED
        return found

    def cancel(self) -> None:
        import ray

        ray.cancel(self.reference, force=True)
