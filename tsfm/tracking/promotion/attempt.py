"""The run of one promotion or rollback, among those of its registered model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tsfm.tracking.promotion.ledger import HOME, Ledger
from tsfm.tracking.promotion.standing import Standing
from tsfm.tracking.reaper import reap
from tsfm.tracking.run_record import store_client
from tsfm.tracking.runs import MlflowRun


@contextmanager
def attempt(model: str, config: Any) -> Iterator[MlflowRun]:
    """A run of the experiment ``promotion/<model>`` with config and environment on record.

    Raises
    ------
    TrackingError
        When the store cannot be used, or there is no such registered model.
    """
    client = store_client()
    Standing.read(client, model)
    Ledger.of(client, model)
    uri = client.tracking_uri
    reap(uri)
    with MlflowRun.start(f"{HOME}/{model}", entry_point="promote", uri=uri) as record:
        record.log_config(config)
        record.log_environment()
        yield record
