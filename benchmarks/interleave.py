"""Run a benchmark of ours and of a peer in turns, each on one thread, in CPU seconds.

The peer is a script of ``benchmarks/peers`` that runs in its own environment and answers one line
per repetition (:mod:`peers.answer`); taking turns makes both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
RECIPE = "make its environment as benchmarks/peers/README.md says, then give --peer-python PATH"


def arguments(description: str, repetitions: int) -> argparse.Namespace:
    """The flags that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--peer-python", type=Path, help="interpreter of the peer's environment")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--repetitions", type=int, default=repetitions)
    return parser.parse_args()


def cpu_seconds(
    ours: Callable[[], object],
    peer_python: Path | None,
    peer_command: list[str],
    repetitions: int,
) -> tuple[float, float | None]:
    """Median CPU seconds of one repetition, ours and the peer's (None without a peer)."""
    mine: list[float] = []
    theirs: list[float] = []
    peer = _start(peer_python, peer_command) if peer_python else None
    try:
        ours()
        for _ in range(repetitions):
            begin = time.process_time()
            ours()
            mine.append(time.process_time() - begin)
            if peer is not None:
                theirs.append(_ask(peer))
    finally:
        if peer is not None:
            peer.stdin.close()  # type: ignore[union-attr]
            peer.wait(timeout=60)
    return statistics.median(mine), statistics.median(theirs) if theirs else None


def report(result: dict[str, Any], as_json: bool) -> None:
    """Print the result for people, and as JSON in the last line if asked."""
    for name, value in result.items():
        print(f"{name:>24}: {f'{value:.4g}' if isinstance(value, float) else value}")
    if result["peer"] is None:
        print(f"the peer did not run: {RECIPE}")
    if as_json:
        print(json.dumps(result))


def _start(python: Path, command: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        [str(python), str(PEERS / command[0]), *command[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _ask(peer: subprocess.Popen[str]) -> float:
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write("again\n")
    peer.stdin.flush()
    for line in peer.stdout:
        if line.startswith("cpu_seconds "):
            return float(line.split()[1])
    raise SystemExit(f"the peer stopped with exit code {peer.wait()}: {RECIPE}")
