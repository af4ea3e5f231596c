"""Whether a version, loaded from the registry again, forecasts the same.

    python -m tsfm.tracking.promotion.reload ohlcv 3 VAULT WINDOWS OUT.npz

is what the fresh process runs: it knows nothing of the first but the version's number.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsfm.errors import UserError

if TYPE_CHECKING:
    from tsfm.models.base import Forecaster
    from tsfm.tracking.promotion.contestant import Contestant
    from tsfm.tracking.promotion.rules import ReloadRule
    from tsfm.tracking.promotion.vault import Vault

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Reloaded:
    """How far two loadings of one version are apart.

    Attributes
    ----------
    difference
        Largest one between their forecasts, relative to the size of these; NaN with a problem.
    problem
        Why there is none.
    """

    difference: float
    problem: str = ""


def reloaded(candidate: Contestant, vault: Vault, rule: ReloadRule) -> Reloaded:
    """Forecast the first windows of every task twice, as the rule says."""
    first = forecasts(candidate.load(), vault, rule.windows)
    if not rule.fresh_process:
        return _compared(first, forecasts(candidate.load(), vault, rule.windows))
    with tempfile.TemporaryDirectory(prefix="tsfm-reload-") as folder:
        out = Path(folder) / "forecasts.npz"
        problem = _run(candidate, vault, rule, out)
        if problem:
            return Reloaded(difference=float("nan"), problem=problem)
        with np.load(out) as stored:
            return _compared(first, [stored[name] for name in stored.files])


def forecasts(model: Forecaster, vault: Vault, windows: int) -> list[np.ndarray]:
    """Quantiles ``[window, horizon, variate, level]`` of the first windows of every task."""
    found = []
    for task, panel in vault.tasks:
        history = task.history if model.reads_history else task.context
        context = next(iter(task.contexts(panel, windows, history)))
        found.append(model.predict(context, task.horizon, task.quantile_levels).quantiles)
    return found


def _run(candidate: Contestant, vault: Vault, rule: ReloadRule, out: Path) -> str:
    """Why the fresh process left no forecasts; empty where it did."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    words = (candidate.model, candidate.version, str(vault.path), str(rule.windows), str(out))
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__, *words],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            timeout=rule.seconds,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"a fresh process did not load and forecast within {rule.seconds:g} s"
    except OSError as error:
        return f"a fresh process cannot be started: {error}"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"a fresh process cannot load it and forecast: {last[:500]}"


def _compared(first: list[np.ndarray], second: list[np.ndarray]) -> Reloaded:
    differences = [_difference(a, b) for a, b in zip(first, second, strict=True)]
    return Reloaded(difference=float(np.max(differences)))


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """NaN where one has a value and the other has none; what neither forecasts is equal."""
    known = ~(np.isnan(first) & np.isnan(second))
    if not known.any():
        return 0.0
    size = float(np.nanmax(np.abs(first[known]))) if np.isfinite(first[known]).any() else 0.0
    return float(np.max(np.abs(first[known] - second[known]))) / max(size, 1e-12)


def main(model: str, version: str, vault: str, windows: str, out: str) -> None:
    """In the fresh process: load, forecast, write."""
    from tsfm.models.source import load_local
    from tsfm.tracking.promotion.contestant import located
    from tsfm.tracking.promotion.vault import Vault

    found = forecasts(load_local(located(model, version)), Vault.open(vault), int(windows))
    np.savez(out, *found)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"{type(error).__name__}: {error}")
