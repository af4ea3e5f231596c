"""What a worker does beside its trial: signs of life, and signals that wait for a better moment."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from tsfm.tracking.lifecycle import Terminated

if TYPE_CHECKING:
    from sweeps.storage import SweepStorage


class Shield:
    """SIGTERM ends the training, but waits while a trial's end is being written.

    ``with shield:`` is such a moment; :class:`Terminated` is raised when it is over.
    """

    def __init__(self) -> None:
        self._depth, self._pending = 0, False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handle)

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, kind: object, *_: object) -> None:
        self._depth -= 1
        if self._pending and not self._depth and kind is None:
            raise Terminated

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self._pending = True
        if not self._depth:
            self._depth = 1  # what follows is putting away
            raise Terminated


class Pulse:
    """Signs of life of the trial at hand, from a thread of its own."""

    def __init__(self, storage: SweepStorage, interval: int) -> None:
        self._storage, self._interval = storage, interval
        self._trial: int | None = None
        self._stop = threading.Event()
        self._due = True
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def of(self, trial_id: int) -> Pulse._Of:
        return Pulse._Of(self, trial_id)

    def is_time(self) -> bool:
        """Whether an interval has passed since it last was."""
        due, self._due = self._due, False
        return due

    def _beat(self) -> None:
        while not self._stop.wait(self._interval):
            self._due = True
            trial = self._trial
            if trial is not None:
                with suppress(Exception):
                    self._storage.record_heartbeat(trial)
        self._storage.remove_session()

    class _Of:
        def __init__(self, pulse: Pulse, trial_id: int) -> None:
            self.pulse, self.trial_id = pulse, trial_id

        def __enter__(self) -> None:
            self.pulse._trial = self.trial_id

        def __exit__(self, *_: object) -> None:
            self.pulse._trial = None
