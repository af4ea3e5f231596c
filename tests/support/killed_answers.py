"""A process that answers a task and kills itself before one of its forecasts."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.evaluation.answers import Answer, answers
from tsfm.evaluation.contender import Contender
from tsfm.evaluation.suites import SuiteTask
from tsfm.models.base import Forecaster
from tsfm.models.statistical import SeasonalNaive


class Mortal(SeasonalNaive):
    """Writes down every call; the process dies before the one that is too many."""

    def forecast(self, *arguments: Any, **options: Any) -> Any:
        path, most = Path(os.environ["CALLS"]), int(os.environ["MOST"])
        made = int(os.environ.get("MADE", "0")) + 1
        if made > most:
            os.kill(os.getpid(), signal.SIGKILL)
        os.environ["MADE"] = str(made)
        with path.open("a") as file:
            file.write(f"{arguments[0].batch_size}\n")
        return super().forecast(*arguments, **options)


class Doomed(Contender):
    @property
    def digest(self) -> str:  # type: ignore[override]
        return "doomed"

    def load(self) -> Forecaster:
        return Mortal()


def main(kept: str, calls: str, most: str) -> Answer:
    """Answer 80 windows, four at a time, in chunks of eight."""
    os.environ.update(CALLS=calls, MOST=most, MADE="0")
    values = np.random.default_rng(0).standard_normal((1, 200)).cumsum(axis=1)
    panel = Panel.from_series(
        [Series(item_id="a", target=values.astype(np.float32))],
        PanelInfo(name="walk", variates=("x",), seasonality=5),
    )
    task = SuiteTask(
        suite="s", name="s/t", dataset="t", domain="", freq="", source=lambda: panel,
        fields={"context": 30, "horizon": 6, "max_windows": 80},
    )  # fmt: skip
    (answer,) = answers(
        [Doomed(name="doomed")], [task], metric="sql", kept=Path(kept), batch_size=4, windows=8
    )
    return answer
