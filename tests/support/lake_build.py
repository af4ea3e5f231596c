"""Builds in processes of their own that kill themselves on the way."""

from __future__ import annotations

import os
import signal
import threading
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


def build(lake: str, out: str, finished: Any, share: float, delay: float) -> None:
    """Build, and kill this process on the way.

    Parameters
    ----------
    finished
        A shared number, set to one at the end.
    share
        Of the work, after which ``delay`` seconds more are left.
    """
    from tsfm.data.ohlcv.builder import IterativeFinancialDatasetBuilder

    killer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    killer.daemon = True

    def progress(done: int, total: int, symbols: str) -> None:
        if done >= share * total and not killer.is_alive():
            killer.start()

    progress(0, 1, "")
    IterativeFinancialDatasetBuilder(lake, out, CONFIG).build(progress)
    finished.value = 1
