"""Do a recorded run again from its own record, and compare every final metric.

mlflow run . -e reproduce -P run_id=<run id>
mlflow run . -e reproduce -P run_id=<run id> -P tolerance=1e-9 -P strict=true

Exit codes: 0 equal, 2 error or refused, 3 different.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from experiments.cli import Parameter, run
from experiments.reproduce_config import ReproduceConfig
from tsfm.errors import ConfigError, TrackingError

if TYPE_CHECKING:
    from tsfm.tracking.run_record import RunRecord

PARAMETERS = {
    "run_id": Parameter("run_id", "of the run to do again"),
    "tolerance": Parameter("tolerance", "within which every final metric must agree"),
    "strict": Parameter("strict", "refuse where code, packages, machine or panels differ"),
}
DIFFERENT = 3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An experiment that can be done again.

    Attributes
    ----------
    schema
        ``module:Class`` of its config.
    changes
        Fields that must not be as they were: nothing is registered or overwritten.
    caches
        Whether it keeps answers, which would be compared with themselves.
    """

    schema: str
    changes: dict[str, Any]
    caches: bool = False


TRAINING = {"resume": "", "register_as": ""}
ENTRIES = {
    "pretrain": Entry(schema="experiments.config:PretrainConfig", changes=TRAINING),
    "finetune": Entry(schema="experiments.finetune_config:FinetuneConfig", changes=TRAINING),
    "dynamics": Entry(schema="experiments.dynamics_config:DynamicsConfig", changes=TRAINING),
    "evaluate": Entry(schema="experiments.evaluate_config:EvaluateConfig", changes={}, caches=True),
    "forecast": Entry(schema="experiments.forecast_config:ForecastConfig", changes={"out": ""}),
}


def main(config: ReproduceConfig) -> None:
    import torch

    from tsfm.tracking.environment import describe
    from tsfm.tracking.experiment import is_first_process
    from tsfm.tracking.reproduction import changes, compare_runs, rerun_commands
    from tsfm.tracking.reproduction_report import record_reproduction, show_changes, show_result

    record = find(config.run_id)
    entry = ENTRIES[record.entry_point]
    stored = recorded_config(entry, record)
    threads = record.environment.get("machine", {}).get("threads")
    if threads:
        torch.set_num_threads(int(threads))
    if not is_first_process():
        import_module(f"experiments.{record.entry_point}").main(stored)
        return
    found = changes(record, describe(seed=0))
    show_changes(record, found, rerun_commands(record))
    if config.strict and found:
        raise TrackingError(
            f"strict: {len(found)} things differ: {'; '.join(map(str, found))}",
            where=f"run {record.run_id}",
            remedy="bring them back as they were, or leave strict out",
        )
    with fresh_run(record) as run_id, own_cache(needed=entry.caches):
        import_module(f"experiments.{record.entry_point}").main(stored)
    again = type(record).read(record.client, run_id)
    result = compare_runs(record, again, tolerance=config.tolerance)
    record_reproduction(again, result, found)
    show_result(record, again, result, config.tolerance)
    if not result.is_equal:
        sys.exit(DIFFERENT)


def find(run_id: str) -> RunRecord:
    """The run to do again.

    Raises
    ------
    TrackingError
        When it is not there, not finished, a part of another, or of no experiment.
    """
    from tsfm.tracking.run_record import RunRecord, store_client

    if not run_id:
        raise ConfigError("run_id is empty", remedy="give the id that the MLflow UI shows")
    record = RunRecord.read(store_client(), run_id)
    where = f"run {record.name}"
    if record.parent:
        raise TrackingError(
            f"{run_id} is a part of run {record.parent}",
            where=where, remedy=f"reproduce the whole: run_id={record.parent}",
        )  # fmt: skip
    if record.entry_point not in ENTRIES:
        raise TrackingError(
            f"a run of {record.entry_point or 'other software'} cannot be done again",
            where=where, remedy=f"give a run of {', '.join(ENTRIES)}",
        )  # fmt: skip
    if record.run.info.status != "FINISHED":
        why = f": {record.failure}" if record.failure else ""
        raise TrackingError(
            f"the run is {record.run.info.status}, so it has no final metrics{why}",
            where=where, remedy=f"finish it first: -e {record.entry_point} -P resume={run_id}",
        )  # fmt: skip
    return record


def recorded_config(entry: Entry, record: RunRecord) -> Any:
    """The config that the run recorded, not today's defaults."""
    from experiments.config import stored_config

    module, _, name = entry.schema.partition(":")
    return stored_config(getattr(import_module(module), name), record.run_id, **entry.changes)


@contextmanager
def fresh_run(record: RunRecord) -> Iterator[str]:
    """A new run for the experiment to adopt: that of ``mlflow run``, else one beside the old."""
    from tsfm.tracking.reproduction import REPRODUCES_TAG

    client, run_id = record.client, os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        name = f"{record.name}-again"
        run_id = client.create_run(record.run.info.experiment_id, run_name=name).info.run_id
        os.environ["MLFLOW_RUN_ID"] = run_id
    client.set_tag(run_id, REPRODUCES_TAG, record.run_id)
    try:
        yield run_id
    finally:
        os.environ.pop("MLFLOW_RUN_ID", None)
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "FAILED")


@contextmanager
def own_cache(*, needed: bool) -> Iterator[None]:
    """An empty cache, where answers kept from the first time would be compared with themselves."""
    from tsfm.data.cache import VARIABLE

    if not needed:
        yield
        return
    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before


if __name__ == "__main__":
    run("reproduce", ReproduceConfig, PARAMETERS, main, title="Do a recorded run again.")
