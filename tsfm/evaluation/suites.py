"""Task suites: frozen questions that every model is asked alike.

A suite is a YAML file beside its panels, in ``suites/``. Panels were written once and are never
made again; a task names its panel's fingerprint, so that one that changed is refused, and every
result names the digest of its task, so that results of different questions are never compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import ConfigError, DataError, one_of
from tsfm.evaluation.lsf import lsf_panel
from tsfm.evaluation.tasks import Task

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

FOLDER = Path(__file__).with_name("suites")
SUITES = ("general", "ohlcv", "glucose", "dynamics", "lsf")
ALL = "all"
_TASK_FIELDS = ("context", "horizon", "stride")
_ENTRY_FIELDS = ("name", "dataset", "domain", "freq", "panel", "fingerprint", "families", "task")


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """One question of a suite.

    Attributes
    ----------
    name
        ``<suite>/<task>``; of the task in every table.
    dataset, domain, freq
        As leaderboards show them.
    panel
        Directory of the frozen panel, relative to the suites; empty for a suite of files.
    fingerprint
        Of the panel; None where the file is the user's and was never frozen here.
    families
        Static attribute whose values the bootstrap over clusters resamples; empty: items.
    fields
        Of the :class:`~tsfm.evaluation.tasks.Task`.
    source
        What makes the panel of a suite of files.
    """

    suite: str
    name: str
    dataset: str
    domain: str
    freq: str
    panel: str = ""
    fingerprint: str | None = None
    families: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: Callable[[], Panel] | None = None

    def open(self) -> tuple[Task, Panel]:
        """The question, and the panel that it is asked of.

        Raises
        ------
        DataError
            When the panel is missing, or is not the frozen one.
        """
        panel = self.source() if self.source is not None else _open(FOLDER / self.panel, self.name)
        if self.fingerprint is not None and panel.fingerprint != self.fingerprint:
            raise DataError(
                f"the panel has fingerprint {panel.fingerprint}, the task was frozen on "
                f"{self.fingerprint}",
                where=f"task {self.name}",
                remedy="results would not be comparable; restore the file, or reinstall tsfm-lab",
            )
        return Task.on(panel, name=self.name, **self.fields), panel

    def unopened(self) -> Task:
        """The question without its panel, for naming what cannot be asked."""
        described = {"targets": ("?",)} | dict(self.fields)
        return Task(name=self.name, panel_fingerprint=self.fingerprint or "missing", **described)

    def families_of(self, panel: Panel) -> dict[str, str] | None:
        """Cluster of every item by its id; None where each is its own."""
        if not self.families:
            return None
        return {
            series.item_id: str(series.static.get(self.families, series.item_id))
            for series in panel
        }


def load_suite(name: str) -> tuple[SuiteTask, ...]:
    """The tasks of a suite, of several (separated by commas) or of all; none of their data is read.

    ``<suite>/<task>`` names one task alone. ``all`` leaves out ``lsf`` where ``LSF_PATH`` is not
    set.

    Raises
    ------
    ConfigError
        When a suite or task is unknown.
    DataError
        When ``lsf`` is asked for and ``LSF_PATH`` names no directory.
    """
    wanted = [part.strip() for part in name.split(",") if part.strip()]
    if not wanted:
        raise ConfigError("tasks is empty", remedy=f"choose from: {', '.join((*SUITES, ALL))}")
    found: dict[str, SuiteTask] = {}
    for part in wanted:
        if part == ALL:
            chosen = [task for suite in _available() for task in _read(suite)]
        else:
            suite, _, single = part.partition("/")
            one_of("tasks", suite, (*SUITES, ALL))
            chosen = list(_read(suite))
            if single:
                one_of("tasks", part, [task.name for task in chosen])
                chosen = [task for task in chosen if task.name == part]
        found |= {task.name: task for task in chosen}
    return tuple(found.values())


def _available() -> tuple[str, ...]:
    import os

    return SUITES if os.environ.get("LSF_PATH") else tuple(s for s in SUITES if s != "lsf")


def _read(suite: str) -> tuple[SuiteTask, ...]:
    if suite == "lsf":
        return _lsf(_yaml(suite))
    return tuple(_entry(suite, record) for record in _yaml(suite)["tasks"])


@cache
def _yaml(suite: str) -> dict[str, Any]:
    import yaml

    path = FOLDER / f"{suite}.yaml"
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(
            f"suite {suite} cannot be read: {error}", where=str(path), remedy="reinstall tsfm-lab"
        ) from error
    return dict(record)


def _entry(suite: str, record: Mapping[str, Any]) -> SuiteTask:
    unknown = sorted(set(record) - set(_ENTRY_FIELDS))
    missing = sorted({"name", "panel", "fingerprint", "task"} - set(record))
    if unknown or missing:
        raise DataError(
            f"fields {unknown} are unknown, {missing} are missing",
            where=f"{suite}.yaml, task {record.get('name')}",
        )
    return SuiteTask(
        suite=suite,
        name=f"{suite}/{record['name']}",
        dataset=record.get("dataset", record["name"]),
        domain=record.get("domain", ""),
        freq=record.get("freq", ""),
        panel=record["panel"],
        fingerprint=record["fingerprint"],
        families=record.get("families", ""),
        fields=record["task"],
    )


def _lsf(record: Mapping[str, Any]) -> tuple[SuiteTask, ...]:
    """Every data set at every horizon; the panel begins a context before the test part."""
    from tsfm.evaluation.lsf import lsf_directory

    directory, context = lsf_directory(), int(record["context"])
    tasks = []
    for name, described in record["datasets"].items():
        for horizon in record["horizons"]:

            def source(name: str = name, described: Mapping[str, Any] = described) -> Panel:
                return lsf_panel(directory, name, described, context=context)

            tasks.append(
                SuiteTask(
                    suite="lsf",
                    name=f"lsf/{name}_{horizon}",
                    dataset=name,
                    domain=described["domain"],
                    freq=described["freq"],
                    fingerprint=described.get("fingerprint"),
                    fields={
                        "context": context,
                        "horizon": horizon,
                        "stride": int(record["stride"]),
                        "seasonality": described["seasonality"],
                        "mode": "zero_shot",
                        "cluster": "time_block",
                    },
                    source=source,
                )
            )
    return tuple(tasks)


def _open(path: Path, task: str) -> Panel:
    from tsfm.data.panel import Panel

    try:
        panel = Panel.open(path)
        panel.verify()
    except DataError as error:
        raise DataError(error.what, where=f"task {task}, {path}", remedy=error.remedy) from error
    return panel
