"""The night's task: forecasts made in the evening that reach to the morning."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from tsfm.data.frequency import step_nanoseconds
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.tasks import Task

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

_MINUTE_NS = 60_000_000_000
_DAY_NS = 1440 * _MINUTE_NS
NIGHT = "night"


@dataclass(frozen=True, kw_only=True)
class NightTask(Task):
    """A task whose forecasts are made at some hours of the day only.

    Attributes
    ----------
    start_hour, end_hour
        The first bar forecast begins in ``[start_hour, end_hour)`` of the series' own clock.
    """

    start_hour: float = 22.0
    end_hour: float = 24.0

    def _origins(self, panel: Panel, item: int) -> np.ndarray:
        stamps = panel.timestamps(item)
        if stamps is None:
            raise DataError(
                "a night has hours, the panel has no dates",
                where=f"task {self.name}, item {panel.item_ids[item]!r}",
                remedy="date the panel",
            )
        first, last = self.context, int(panel.lengths[item]) - self.horizon
        if self.first_origin is not None:
            first = max(first, int(np.searchsorted(stamps, np.datetime64(self.first_origin, "ns"))))
        bars = np.arange(first, last + 1)
        moments = stamps[bars].astype(np.int64) - int(self.start_hour * 60 * _MINUTE_NS)
        evening = moments % _DAY_NS < int((self.end_hour - self.start_hour) * 60 * _MINUTE_NS)
        bars, nights = bars[evening], (moments // _DAY_NS)[evening]
        begun = np.flatnonzero(np.diff(nights, prepend=-1) != 0)
        place = np.arange(len(bars)) - np.repeat(begun, np.diff(np.append(begun, len(bars))))
        origins = bars[place % self.stride == 0]
        if self.max_windows is None or len(origins) <= self.max_windows:
            return origins
        return origins[np.linspace(0, len(origins) - 1, self.max_windows).round().astype(int)]


def night_task(task: Task, panel: Panel, config: ClinicalConfig | None = None) -> NightTask:
    """The same question asked every evening, of the night that follows: ``<name>/night``.

    One forecast per night, at the first bar between the config's hours; as many nights as there
    are. Models forecast horizons longer than their own by rolling.

    Raises
    ------
    ConfigError
        When the panel's resolution does not divide the night.
    DataError
        When the panel has no regular grid.
    """
    config = config or ClinicalConfig()
    if panel.info.freq is None or not (step := step_nanoseconds(panel.info.freq)):
        raise DataError(
            "a night needs a regular grid", where=f"panel {panel.info.name}", remedy="give freq"
        )
    horizon, rest = divmod(config.night_minutes * _MINUTE_NS, step)
    if rest:
        raise ConfigError(
            f"night_minutes={config.night_minutes} is no whole number of bars of {panel.info.freq}",
            where=f"task {task.name}",
            remedy="give a multiple of the panel's resolution",
        )
    kept = {one.name: getattr(task, one.name) for one in fields(Task)}
    evening = int((config.night_end - config.night_start) * 60 * _MINUTE_NS)
    return NightTask(
        **kept
        | {
            "name": f"{task.name}/{NIGHT}",
            "horizon": int(horizon),
            "stride": max(-(-evening // step), 1),
            "max_windows": None,
        },
        start_hour=config.night_start,
        end_hour=config.night_end,
    )
