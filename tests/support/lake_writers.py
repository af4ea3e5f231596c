"""Ingests in processes of their own, some of which kill themselves on the way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

CALLS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect")


def context() -> ForkServerContext:
    """Processes that start quickly: the libraries are loaded once."""
    made = get_context("forkserver")
    made.set_forkserver_preload(["pandera.polars", "pyarrow.parquet", "support.lake_writers"])
    return made


def ingest_all(
    lake: str,
    sources: Sequence[str],
    done: Any,
    calls: Any,
    kill_at: int | None = None,
    delay: float = 0.0,
) -> None:
    """Ingest one source after another.

    Parameters
    ----------
    done, calls
        Shared counters: sources finished, file operations begun.
    kill_at
        Kill this process ``delay`` seconds after that many file operations.
    """
    from tsfm.data.ohlcv.ingest import IngestConfig, ingest
    from tsfm.data.ohlcv.lake import Lake

    opened = Lake.open(lake)

    def count(event: str, _: object) -> None:
        if event in CALLS:
            calls.value += 1
            if calls.value == kill_at:
                threading.Thread(target=_kill, args=(delay,), daemon=True).start()

    sys.addaudithook(count)
    for source in sources:
        ingest(source, opened, IngestConfig(asset_class="equity", freq="1h", batch_rows=5000))
        done.value += 1


def started(
    lake: object, *sources: object, kill_at: int | None = None, delay: float = 0.0
) -> tuple[ForkServerProcess, Any, Any]:
    """A running process with its counters."""
    fork = context()
    done, calls = fork.Value("i", 0, lock=False), fork.Value("i", 0, lock=False)
    words = [str(source) for source in sources]
    process = fork.Process(target=ingest_all, args=(str(lake), words, done, calls, kill_at, delay))
    process.start()
    return process, done, calls


def _kill(delay: float) -> None:
    begin = time.perf_counter()
    while time.perf_counter() - begin < delay:
        pass
    os.kill(os.getpid(), signal.SIGKILL)
