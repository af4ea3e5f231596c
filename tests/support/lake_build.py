"""Builds in processes of their own that kill themselves on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from typing import Any

from tsfm.data.ohlcv.builder_config import BuilderConfig

CONFIG = BuilderConfig(assets_per_batch=2, workers=2)


def context() -> ForkServerContext:
    """Processes that start quickly: the libraries are loaded once."""
    made = get_context("forkserver")
    made.set_forkserver_preload(["tsfm.data.ohlcv.asset_batch", "support.lake_build"])
    return made


def build(lake: str, out: str, seconds: Any, kill_after: float | None = None) -> None:
    """Build, and note the seconds it took.

    Parameters
    ----------
    seconds
        A shared number.
    kill_after
        Kill this process after so many seconds.
    """
    from tsfm.data.ohlcv.builder import IterativeFinancialDatasetBuilder

    if kill_after is not None:
        killer = threading.Timer(kill_after, os.kill, (os.getpid(), signal.SIGKILL))
        killer.daemon = True
        killer.start()
    begun = time.perf_counter()
    IterativeFinancialDatasetBuilder(lake, out, CONFIG).build()
    seconds.value = time.perf_counter() - begun
