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


def is_killed(lake: Lake, out: Path, share: float, delay: float) -> bool:
    """Build in another process, unless it ends before it is killed."""
    processes = context()
    finished = processes.Value("i", 0)
    arguments = (str(lake.path), str(out), finished, share, delay)
    process = processes.Process(target=build, args=arguments)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return not finished.value


def test_twenty_kills(lake: Lake, tmp_path: Path):
    built = tmp_path / "built"
    whole = IterativeFinancialDatasetBuilder(lake, built / "whole", CONFIG).build().panel
    rng = np.random.default_rng(0)
    killed, resumed = 0, 0
    for number, share in enumerate(rng.uniform(0, 1, KILLS)):
        out = built / f"panel-{number}"
        killed += is_killed(lake, out, share, delay=rng.uniform(0, 0.02))
        report = IterativeFinancialDatasetBuilder(lake, out, CONFIG).build()
        report.panel.verify()
        assert report.panel.fingerprint == whole.fingerprint
        assert [path.name for path in built.glob(f"{out.name}*")] == [out.name]
        resumed += report.resumed_batches > 0
    assert killed >= KILLS * 3 // 4
    assert resumed >= KILLS // 5
