"""kill -9 at random points of a build: the next start completes it, and nothing is left behind."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from support.lake_build import CONFIG, build, context
from support.lakes import bars_of_market, make_lake

from tsfm.data.ohlcv.builder import IterativeFinancialDatasetBuilder
from tsfm.data.ohlcv.lake import Lake

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KILLS = 20


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return make_lake(tmp_path / "lake", equity_1h=bars_of_market(60, 700))


def seconds_of(lake: Lake, out: Path, kill_after: float | None = None) -> float:
    """What a build took; 0 where it was killed."""
    processes = context()
    seconds = processes.Value("d", 0.0)
    process = processes.Process(target=build, args=(str(lake.path), str(out), seconds, kill_after))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return seconds.value


def test_twenty_kills(lake: Lake, tmp_path: Path):
    built = tmp_path / "built"
    seconds = seconds_of(lake, built / "whole")
    whole = IterativeFinancialDatasetBuilder(lake, built / "whole", CONFIG).build().panel
    killed, resumed = 0, 0
    for number, delay in enumerate(np.random.default_rng(0).uniform(0, seconds, KILLS)):
        out = built / f"panel-{number}"
        killed += seconds_of(lake, out, delay) == 0
        report = IterativeFinancialDatasetBuilder(lake, out, CONFIG).build()
        report.panel.verify()
        assert report.panel.fingerprint == whole.fingerprint
        assert [path.name for path in built.glob(f"{out.name}*")] == [out.name]
        resumed += report.resumed_batches > 0
    assert killed >= KILLS // 2
    assert resumed >= 1
