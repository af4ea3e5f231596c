"""Trajectories to train and judge on: simulated and kept in the cache, or a user's own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from tsfm.data.cache import cache_directory
from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.dynamics.ensembles import NAME, Progress, choose_systems, simulate_ensemble
from tsfm.data.dynamics.families import held_out_families, is_held_out
from tsfm.data.dynamics.systems import catalogue_version
from tsfm.data.panel import Panel
from tsfm.data.panel_state import STATE_FILE
from tsfm.data.series import Series
from tsfm.errors import ConfigError

KEPT = 5
REPORT = "report.json"

_SOURCES = Path(__file__).parents[1]


def simulated(config: EnsembleConfig, *, progress: Progress | None = None) -> tuple[Panel, Path]:
    """The ensemble's panel and its report, simulated unless they are in the cache.

    The ``KEPT`` last used ones are kept. One that other code or another catalogue made is not
    taken for this one.

    Parameters
    ----------
    progress
        As :func:`simulate_ensemble` takes it; not called when nothing is simulated.

    Raises
    ------
    ConfigError, DataError
        As :func:`simulate_ensemble` does.
    """
    home = cache_directory() / NAME / _digest(config)
    home.parent.mkdir(parents=True, exist_ok=True)
    panel, report = home / NAME, home / REPORT
    with FileLock(f"{home}.lock"):
        if not (panel.exists() and report.exists()):
            shutil.rmtree(home, ignore_errors=True)
            made = simulate_ensemble(config, out=panel, progress=progress)
            made.report.save(report)
        os.utime(home)
    _forget(home.parent)
    return Panel.open(panel), report


def expect_both_sides(config: EnsembleConfig) -> None:
    """Check, before anything is integrated, that there is something to train on and to hold out.

    Raises
    ------
    ConfigError
        When all systems are of held-out families, or none is.
    """
    apart = held_out_families(config.held_out, config.seed)
    names = choose_systems(config)
    outside = [name for name in names if is_held_out([name], apart)]
    if outside and len(outside) < len(names):
        return
    raise ConfigError(
        f"{len(outside)} of the systems {', '.join(names)} are of held-out families",
        where=f"held_out={config.held_out:g}, seed={config.seed}",
        remedy="give more systems (n_systems), or name some of both kinds",
    )


def opened(path: Path, *, name: str = NAME) -> Panel:
    """A panel of dynamical systems, or a directory of ``train/SYSTEM/0_T-1024.arrow``.

    Trajectories that do not say how much time lies between their points are taken to have one unit
    of time there; their Lyapunov exponents are then estimated, not known.

    Raises
    ------
    DataError
        When it is neither, or damaged.
    """
    from tsfm.data.dynamics.layout import read_layout

    if (path / STATE_FILE).exists():
        return Panel.open(path)
    panel = read_layout(path, name=name)
    if all("dt" in series.static for series in panel):
        return panel
    return Panel.from_series(_timed(panel), panel.info)


def _timed(panel: Panel) -> Iterator[Series]:
    for series in panel:
        known = dict(series.static)
        if "dt" not in known:
            known = {key: known[key] for key in known if key not in ("period", "lyapunov")}
            known["dt"] = 1.0
        yield replace(series, static=known)


def _digest(config: EnsembleConfig) -> str:
    """Of everything that the trajectories follow from: config, catalogue and this code."""
    told = sha256(json.dumps([asdict(config), catalogue_version()], sort_keys=True).encode())
    for path in sorted([*_SOURCES.glob("ode*.py"), *(_SOURCES / "dynamics").glob("*.*")]):
        if path.is_file() and path.suffix in (".py", ".yaml"):
            told.update(path.read_bytes())
    return told.hexdigest()[:16]


def _forget(directory: Path) -> None:
    """Remove the ensembles that have not been used for longest, unless being made."""
    found = sorted(
        (path for path in directory.iterdir() if path.is_dir()), key=lambda p: p.stat().st_mtime
    )
    for path in found[:-KEPT]:
        lock = FileLock(f"{path}.lock", blocking=False)
        with suppress(Timeout), lock:
            shutil.rmtree(path, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
