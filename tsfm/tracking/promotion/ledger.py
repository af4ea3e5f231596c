"""The ledger of a registered model: an append-only log in the tracking store, written once a line.

MLflow sets aliases without compare-and-set. What it does offer atomically, on SQLite, PostgreSQL
and behind a server alike, are names of experiments (unique) and parameters of a run (one value for
ever: whoever logs a key first wins). So the experiment ``promotion/<model>`` names one run, and the
parameters of that run are the lines of the ledger, numbered by kind: ``lease.7``, ``move.7``.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tsfm.errors import TrackingError
from tsfm.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.exceptions import MlflowException

P, R = ParamSpec("P"), TypeVar("R")
Entry = Mapping[str, Any]

HOME = "promotion"
LEDGER_TAG, MODEL_TAG = "tsfm.ledger", "tsfm.registered_model"
SECONDS_OF_PATIENCE = 60.0
LONGEST_ENTRY = 6000


def patient(method: Callable[P, R]) -> Callable[P, R]:
    """Try again while the store is busy, as SQLite is with many writers."""

    @wraps(method)
    def tried(*args: P.args, **kwargs: P.kwargs) -> R:
        from mlflow.exceptions import MlflowException

        give_up, pause = time.monotonic() + SECONDS_OF_PATIENCE, 0.05
        while True:
            try:
                return method(*args, **kwargs)
            except TrackingError as error:
                if "is locked" not in error.what or time.monotonic() > give_up:
                    raise
            except MlflowException as error:
                if not _passes(error) or time.monotonic() > give_up:
                    why = error.message.strip().partition("\n")[0]
                    raise TrackingError(
                        f"the store refuses what a promotion needs: {why}",
                        remedy="bring the tracking store back, then promote again: a promotion "
                        "that was under way is completed or undone then",
                    ) from error
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, 2.0)

    return tried


def _passes(error: MlflowException) -> bool:
    """Whether a store is only busy, or two processes set the same tag or alias at once."""
    if error.error_code == "TEMPORARILY_UNAVAILABLE":
        return True
    return bool(re.search(r"IntegrityError|UNIQUE|UniqueViolation|Duplicate entry", error.message))


class Ledger:
    """The lines about one registered model.

    Made by :meth:`of`.

    Parameters
    ----------
    run_id
        Of the run whose parameters are the lines.
    """

    def __init__(self, client: MlflowClient, model: str, run_id: str) -> None:
        self.client, self.model, self.run_id = client, model, run_id

    @classmethod
    def of(cls, client: MlflowClient, model: str) -> Ledger:
        """The one ledger of a registered model; begun when there is none.

        Raises
        ------
        TrackingError
            When it was deleted, or the store refuses.
        """
        return _begun(client, model) or _begin(client, model)

    @classmethod
    def existing(cls, client: MlflowClient, model: str) -> Ledger | None:
        """The ledger of a registered model, if it was ever begun."""
        return _begun(client, model)

    @patient
    def lines(self) -> dict[str, str]:
        """Every line by its key."""
        return dict(self.client.get_run(self.run_id).data.params)

    def entries(self, kind: str, lines: Mapping[str, str] | None = None) -> dict[int, Entry]:
        """The entries of a kind by number, ascending."""
        found = self.lines() if lines is None else lines
        pattern = re.compile(rf"{re.escape(kind)}\.(\d+)")
        numbered = [
            (int(m[1]), json.loads(found[key])) for key in found if (m := pattern.fullmatch(key))
        ]
        return dict(sorted(numbered))

    def put(self, kind: str, number: int, entry: Entry) -> Entry:
        """Write a line unless it is written, and return the one that stands there for ever."""
        text = json.dumps(entry, separators=(",", ":"))
        if len(text) > LONGEST_ENTRY:
            raise TrackingError(
                f"the entry {kind}.{number} has {len(text)} characters",
                where=f"ledger of {self.model}",
                remedy=f"MLflow keeps {LONGEST_ENTRY}: shorten names of tasks",
            )
        return self._put(f"{kind}.{number}", text)

    def append(self, kind: str, entry: Entry) -> int:
        """Write a line under the number of this nanosecond; entries must differ from each other."""
        number = time.time_ns()
        while self.put(kind, number, entry) != json.loads(json.dumps(entry)):
            number += 1
        return number

    @patient
    def tell(self, tags: Mapping[str, str], page: str) -> None:
        """Show the state on the ledger's page in the MLflow UI: tags and a note in Markdown."""
        from mlflow.entities import RunTag

        shown = {**tags, "mlflow.note.content": page[:5000]}
        self.client.log_batch(self.run_id, tags=[RunTag(k, v[:5000]) for k, v in shown.items()])

    @patient
    def _put(self, key: str, text: str) -> Entry:
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_param(self.run_id, key, text, synchronous=True)
        except MlflowException as error:
            retained = self.lines().get(key)
            if retained is None:
                raise
            if error.error_code == "INVALID_PARAMETER_VALUE" or retained == text:
                return json.loads(retained)
            raise
        return json.loads(text)


@patient
def _begun(client: MlflowClient, model: str) -> Ledger | None:
    experiment = client.get_experiment_by_name(f"{HOME}/{model}")
    if experiment is None:
        return None
    return Ledger(client, model, _named(client, experiment))


def _named(client: MlflowClient, experiment: Experiment) -> str:
    from mlflow.exceptions import MlflowException

    if experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {experiment.name} is deleted, and the record of promotions with it",
            where=store.masked(client.tracking_uri),
            remedy=f"`mlflow experiments restore -x {experiment.experiment_id}`",
        )
    run_id = experiment.tags.get(LEDGER_TAG)
    if run_id is None:
        raise TrackingError(
            f"the experiment {experiment.name} was not made by promote: it has no tag {LEDGER_TAG}",
            where=store.masked(client.tracking_uri),
            remedy="rename it, then promote again",
        )
    with suppress(MlflowException):
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return str(run_id)
    raise TrackingError(
        f"the record of promotions, run {run_id}, is deleted",
        where=f"experiment {experiment.name}",
        remedy=f"`mlflow runs restore --run-id {run_id}`",
    )


@patient
def _begin(client: MlflowClient, model: str) -> Ledger:
    """The run that gets its name into the new experiment is the ledger; others are deleted."""
    from mlflow.exceptions import MlflowException

    home = _home(client)
    tags = {MODEL_TAG: model, "tsfm.entry_point": "promote"}
    run_id = client.create_run(home, run_name=model, tags=tags).info.run_id
    try:
        client.set_terminated(run_id)
    except MlflowException:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            raise  # else another was first, and has deleted this run
    try:
        client.create_experiment(f"{HOME}/{model}", tags={LEDGER_TAG: run_id})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    ledger = _begun(client, model)
    assert ledger is not None
    quoted = model.replace("'", "\\'")
    for other in client.search_runs([home], f"tags.`{MODEL_TAG}` = '{quoted}'"):
        if other.info.run_id != ledger.run_id:
            with suppress(MlflowException):
                client.delete_run(other.info.run_id)
    return ledger


def _home(client: MlflowClient) -> str:
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        return str(client.create_experiment(HOME))
    found = client.get_experiment_by_name(HOME)
    if found is None or found.lifecycle_stage != "active":
        raise TrackingError(
            f"the experiment {HOME!r} is deleted or cannot be made",
            where=store.masked(client.tracking_uri),
            remedy="`mlflow experiments restore` it",
        )
    return str(found.experiment_id)
