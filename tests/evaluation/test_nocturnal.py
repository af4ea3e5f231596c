from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from support.glucose_backtests import glucose_panel, glucose_task

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.nocturnal import night_task
from tsfm.models.statistical import RandomWalk


@pytest.fixture(scope="module")
def panel() -> Panel:
    return glucose_panel(people=3, days=5)


def test_one_forecast_each_evening_of_the_night_that_follows(panel: Panel) -> None:
    task = night_task(glucose_task(panel), panel)
    assert task.name == "cgm/unseen patients/night"
    assert task.horizon == 96
    windows = task.windows(panel)
    for item in range(len(panel)):
        stamps = pd.DatetimeIndex(panel.timestamps(item))
        evenings = [
            bar for bar in range(48, len(stamps) - 96 + 1)
            if stamps[bar].hour == 22 and stamps[bar].minute < 5
        ]  # fmt: skip
        assert [origin for one, origin in windows if one == item] == evenings
        assert len(evenings) == (4 if item == 0 else 5)
    result = backtest(RandomWalk(), task, panel)
    assert result.actual.shape == (len(windows), 96, 1)
    assert set(pd.DatetimeIndex(result.timestamps[:, 0]).hour) == {22}
    assert set(pd.DatetimeIndex(result.timestamps[:, -1]).hour) == {5}


def test_later_nights_only_and_hours_by_config(panel: Panel) -> None:
    task = glucose_task(panel, first_origin="2024-03-04")
    early = ClinicalConfig(night_start=0, night_end=1.5, night_minutes=60)
    night = night_task(task, panel, early)
    first = [panel.timestamps(item)[origin] for item, origin in night.windows(panel)]
    assert night.horizon == 12
    assert min(first) >= np.datetime64("2024-03-04")
    clock = pd.DatetimeIndex(first)
    assert set(clock.hour) == {0}
    every = replace(night, stride=3)
    stamps = pd.DatetimeIndex([panel.timestamps(k)[o] for k, o in every.windows(panel)])
    minutes = stamps.hour * 60 + stamps.minute
    assert set(minutes) == {2, 17, 32, 47, 62, 77}
    some = replace(every, max_windows=5)
    assert len(some.windows(panel)) == 15
    assert set(some.windows(panel)) <= set(every.windows(panel))


def test_what_has_no_night_is_refused(panel: Panel) -> None:
    task = glucose_task(panel)
    with pytest.raises(ConfigError, match="whole number of bars"):
        night_task(task, panel, ClinicalConfig(night_minutes=483))
    info = PanelInfo(name="x", variates=("glucose",))
    loose = Panel.from_series([Series(item_id="a", target=np.ones((1, 99), np.float32))], info)
    with pytest.raises(DataError, match="regular grid"):
        night_task(glucose_task(loose), loose)
