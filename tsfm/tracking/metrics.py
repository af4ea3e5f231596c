"""Metrics on their way to the store: collected, sent in batches, never twice for one step."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

LARGEST_BATCH = 1000
SECONDS_BETWEEN_FLUSHES = 5.0
LARGEST_SHARE_OF_TIME = 0.01


def metric_key(name: str) -> str:
    """A name as MLflow allows it: panels and variates are named by users."""
    return re.sub(r"[^/\w.\- :]", "_", name)


class MetricBuffer:
    """Collects the metrics of one run.

    They leave when a batch is full or some seconds old; after a slow flush the next one waits until
    flushing takes less than 1 % of the time. A flush that fails keeps its metrics for the next one.

    Parameters
    ----------
    logged
        The last step already in the store for each key; steps up to it are not sent again.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, logged: Mapping[str, int] | None = None
    ) -> None:
        self._client, self._run_id = client, run_id
        self._logged = dict(logged or {})
        self._waiting: list[Metric] = []
        self._due = time.monotonic() + SECONDS_BETWEEN_FLUSHES
        self._failed = False

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [
            Metric(key, float(value), now, step)
            for key, value in zip(map(metric_key, metrics), metrics.values(), strict=True)
            if step > self._logged.get(key, -1)
        ]
        is_full = len(self._waiting) >= LARGEST_BATCH and not self._failed
        if is_full or time.monotonic() >= self._due:
            self._try_flush()

    def flush(self) -> None:
        """Send everything; what could not be sent stays."""
        while self._waiting:
            self._client.log_batch(self._run_id, metrics=self._waiting[:LARGEST_BATCH])
            del self._waiting[:LARGEST_BATCH]

    def _try_flush(self) -> None:
        began = time.monotonic()
        try:
            self.flush()
            self._failed = False
        except Exception as error:
            self._failed = True
            warnings.warn(
                f"{len(self._waiting)} metrics wait for the tracking store: {error}", stacklevel=4
            )
        now = time.monotonic()
        self._due = now + max(SECONDS_BETWEEN_FLUSHES, (now - began) / LARGEST_SHARE_OF_TIME)
