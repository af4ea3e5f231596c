"""Workers of this machine: started, watched, replaced when they die, never left behind."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass

from sweeps.launcher import Ended, Launcher
from sweeps.worker import WorkerSpec, as_process

SECONDS_TO_END = 30.0


@dataclass
class LocalWorker:
    """A process of this machine; its standard input is held open while it is wanted."""

    process: subprocess.Popen[str]

    def is_done(self) -> bool:
        return self.process.poll() is not None

    def ended(self) -> Ended:
        told = self.process.stdout.read() if self.process.stdout else ""
        self.close()
        return Ended(code=self.process.returncode, told=told)

    def cancel(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass
class Pool(Launcher[LocalWorker]):
    """Local processes.

    Parameters
    ----------
    pause
        Seconds between looks at the study; the end of a worker is seen at once.
    """

    pause: float = 2.0

    @property
    def remedy(self) -> str:
        return "see their messages above; is there memory for so many workers?"

    def check(self, storage: str, tracking: str) -> None:
        """Processes can always be started here."""

    def submit(self, spec: WorkerSpec) -> LocalWorker:
        return LocalWorker(as_process(spec, os.environ, own_session=True))

    def wait(self, jobs: list[LocalWorker]) -> None:
        until = time.monotonic() + self.pause
        while time.monotonic() < until and not any(job.is_done() for job in jobs):
            time.sleep(0.1)

    def see_out(self, jobs: list[LocalWorker]) -> None:
        for job in jobs:
            job.process.wait()

    def end(self, jobs: list[LocalWorker]) -> None:
        """Gently, and on a second Ctrl-C at once."""
        try:
            for job in jobs:
                job.cancel()
            until = time.monotonic() + SECONDS_TO_END
            for job in jobs:
                job.process.wait(timeout=max(until - time.monotonic(), 0.1))
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            pass
        finally:
            for job in jobs:
                job.kill()
