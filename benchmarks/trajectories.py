"""Chaotic trajectories, ours beside dysts.

    python benchmarks/trajectories.py --json [--peer-python PATH]

Every system of the catalogue from dysts' own initial state, 1,024 points at dysts' own resampling
(100 per period), DOP853 at rtol 1e-9 and atol 1e-10 on both sides, in turns, one thread. Dysts
makes one trajectory; ours a batch of 64 from states within 0.1 % of it. Compilation is left out on
both sides. Errors are the largest distance, in standard deviations, from scipy's DOP853 at rtol
1e-13 over the first two Lyapunov times. dysts is a dependency of ours, so by default the peer runs
in this environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from interleave import PEERS, RECIPE, arguments, report

from tsfm.data.dynamics.systems import System, load_system, refused_systems, system_names
from tsfm.data.ode import Status, Tolerance, integrate

POINTS, BATCH, SPREAD = 1024, 64, 1e-3
TOLERANCE = Tolerance(rtol=1e-9, atol=1e-10)
LYAPUNOV_TIMES = 2.0


@dataclass(frozen=True)
class Row:
    """One system: CPU seconds per trajectory and errors of both sides."""

    name: str
    ours: float
    peer: float
    steps: float
    our_error: float
    peer_error: float

    @property
    def ratio(self) -> float:
        return self.peer / self.ours

    def __str__(self) -> str:
        return (
            f"{self.name:>24} {self.ours * 1e3:10.4f} {self.peer * 1e3:10.1f} {self.ratio:9.0f}"
            f" {self.steps:9.0f} {self.our_error:10.1e} {self.peer_error:10.1e}"
        )


class Peer:
    """Dysts in a process of its own."""

    def __init__(self, python: Path) -> None:
        self.process = subprocess.Popen(
            [str(python), str(PEERS / "dysts_trajectories.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.folder = tempfile.TemporaryDirectory()
        self._answer(("ready",))

    def integrate(
        self, name: str, rtol: float, atol: float
    ) -> tuple[float, np.ndarray, np.ndarray] | str:
        """CPU seconds, times and states, or why there are none."""
        path = Path(self.folder.name) / f"{name}.npz"
        request = {"name": name, "n": POINTS, "method": "DOP853", "rtol": rtol, "atol": atol}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request | {"path": str(path)}) + "\n")
        self.process.stdin.flush()
        kind, _, value = self._answer(("cpu_seconds", "failed")).partition(" ")
        if kind == "failed":
            return value
        with np.load(path) as file:
            return float(value), file["times"], file["states"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.folder.cleanup()

    def _answer(self, kinds: tuple[str, ...]) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.split(" ")[0].strip() in kinds:
                return line.strip()
        raise SystemExit(f"the peer stopped with exit code {self.process.wait()}: {RECIPE}")


def our_trajectories(
    system: System, times: np.ndarray, repetitions: int
) -> tuple[float, np.ndarray, float] | str:
    """CPU seconds per trajectory, the first trajectory and mean steps, or why there are none."""
    noise = np.random.default_rng(0).standard_normal((BATCH, system.dimension))
    noise[0] = 0.0
    initial = system.initial * (1 + SPREAD * noise)
    seconds = []
    for _ in range(repetitions + 1):
        begin = time.process_time()
        solution = integrate(
            system.rhs,
            initial,
            system.vector,
            times,
            tolerance=TOLERANCE,
            bound=None,
            workers=1,
        )
        seconds.append((time.process_time() - begin) / BATCH)
    if not solution.ok[0]:
        return f"status {Status(solution.status[0]).name}"
    return float(np.median(seconds[1:])), solution.states[0], float(solution.steps.mean())


def compare(system: System, peer: Peer, repetitions: int) -> Row | str:
    """One row of the table, or why there is none."""
    theirs = peer.integrate(system.name, TOLERANCE.rtol, float(np.min(TOLERANCE.atol)))
    if isinstance(theirs, str):
        return f"the peer: {theirs}"
    peer_seconds, times, peer_states = theirs
    ours = our_trajectories(system, times, repetitions)
    if isinstance(ours, str):
        return f"ours: {ours}"
    seconds, states, steps = ours
    reference = peer.integrate(system.name, 1e-13, 1e-14)
    if isinstance(reference, str):
        return f"the reference: {reference}"
    exact = reference[2]
    early = times <= LYAPUNOV_TIMES / system.lyapunov if system.lyapunov > 0 else times >= 0
    scale = exact.std(axis=0).clip(1e-300)
    our_error, peer_error = (
        max(float(np.abs((found - exact) / scale)[early].max()), 1e-16)
        for found in (states, peer_states)
    )
    return Row(system.name, seconds, peer_seconds, steps, our_error, peer_error)


def print_rows(title: str, rows: list[Row], key: Callable[[Row], float], count: int) -> None:
    print(
        f"{title:>24} {'ours ms':>10} {'peer ms':>10} {'ratio':>9} {'steps':>9}"
        f" {'our error':>10} {'its error':>10}"
    )
    for row in sorted(rows, key=key)[:count]:
        print(row)


def geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def main() -> None:
    args = arguments("chaotic trajectories, ours beside dysts", repetitions=3)
    peer = Peer(args.peer_python or Path(sys.executable))
    rows, refused = [], dict(refused_systems())
    try:
        for name in system_names():
            row = compare(load_system(name), peer, args.repetitions)
            if isinstance(row, Row):
                rows.append(row)
            else:
                refused[name] = row
    finally:
        peer.close()
    print_rows("the slowest ten of ours", rows, lambda row: -row.ours, 10)
    print_rows("the least gain", rows, lambda row: row.ratio, 10)
    print_rows("the worst error ratio", rows, lambda row: -row.our_error / row.peer_error, 5)
    for name, reason in refused.items():
        print(f"{name:>24} refused: {reason}")
    pairs = [(row.our_error, row.peer_error) for row in rows]
    report(
        {
            "ours": 1 / geometric_mean([row.ours for row in rows]),
            "peer": 1 / geometric_mean([row.peer for row in rows]),
            "ratio": geometric_mean([row.ratio for row in rows]),
            "unit": "trajectories of 1,024 points per CPU-second, geometric mean over systems",
            "goal": "ratio ≥ 200, error_ratio ≤ 1",
            "error_ratio": geometric_mean([mine / theirs for mine, theirs in pairs]),
            "share_no_less_exact": float(np.mean([mine <= theirs for mine, theirs in pairs])),
            "systems": len(rows),
            "refused": refused,
        },
        args.json,
    )


if __name__ == "__main__":
    main()
