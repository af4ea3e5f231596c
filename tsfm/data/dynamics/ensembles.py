"""Ensembles: systems, their parameters and initial conditions, and skew products, as a panel.

One item is one trajectory: ``Lorenz/<parameter draw>/<initial condition>``, or
``Lorenz->Rossler/<coupling>/<parameter draw>/<initial condition>`` with the driver's states before
the response's. Variates are called ``x0``, ``x1`` …; a panel has as many as its widest item, and
those that an item lacks are NaN throughout, which is how every model tells an absent variate.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tsfm.data.dynamics.dynamics_report import EnsembleReport
from tsfm.data.dynamics.ensemble_config import EnsembleConfig
from tsfm.data.dynamics.families import PROVENANCE, family_of, held_out_families, is_held_out
from tsfm.data.dynamics.instances import Instance, Trial, make_instances
from tsfm.data.dynamics.skew import Pair, draw_pairs, skew_product
from tsfm.data.dynamics.subjects import Subject
from tsfm.data.dynamics.systems import catalogue_version, load_system, system_names
from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import DataError

__all__ = ["Ensemble", "EnsembleConfig", "EnsembleReport", "simulate_ensemble"]

NAME = "dynamics"
Progress = Callable[[int, int, str], None]
Made = tuple[list[Instance], list[Trial]]
Done = TypeVar("Done")
Given = TypeVar("Given")


class Ensemble(NamedTuple):
    """Trajectories, and what became of all that was tried."""

    panel: Panel
    report: EnsembleReport


def simulate_ensemble(
    config: EnsembleConfig | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Ensemble:
    """Integrate an ensemble; what fails is dropped, counted and named in the report.

    Parameters
    ----------
    out
        Directory of the panel, written as trajectories are made; by default it is in memory.
    overwrite
        Replace a panel that is there.
    progress
        Called with systems and skew products done, their number, and the name of the last one.
    workers
        Threads, by default as many as the process may use; the panel does not depend on it.

    Raises
    ------
    ConfigError
        When no pair of systems can be coupled but skew products are asked for.
    DataError
        When not one trajectory was kept, or none of perturbed parameters; when the panel cannot be
        written.
    """
    config = config or EnsembleConfig()
    began = time.perf_counter()
    if out is not None and Path(out).exists() and not overwrite:
        raise DataError(
            "the path exists already", where=str(out), remedy="choose another or overwrite"
        )
    report = EnsembleReport(config)
    subjects = make_subjects(config)
    info = panel_info(config, max(subject.dimension for subject in subjects))
    series = _series(subjects, config, info, report, progress, workers)
    first = next(series, None)
    if first is None:
        raise nothing_kept(report)
    whole = chain([first], series)
    if out is None:
        panel = Panel.from_series(whole, info)
    else:
        panel = Panel.write(out, whole, info, overwrite=overwrite)
    report.seconds = time.perf_counter() - began
    return Ensemble(panel, report)


def choose_systems(config: EnsembleConfig) -> list[str]:
    """The config's systems, or as many as it says, drawn with held-out ones at their share."""
    if config.systems:
        return list(config.systems)
    names = system_names()
    count = min(config.n_systems, len(names))
    apart = held_out_families(config.held_out, config.seed)
    outside = np.array([is_held_out([name], apart) for name in names])
    rng = np.random.default_rng([config.seed, len("systems")])
    order = rng.permutation(len(names))
    wanted = round(count * outside.mean())
    chosen = [*order[outside[order]][:wanted], *order[~outside[order]][: count - wanted]]
    return [names[place] for place in sorted(chosen)]


def choose_pairs(config: EnsembleConfig, systems: Sequence[str]) -> list[tuple[Pair, str]]:
    """Pairs of systems and the coupling of each."""
    pairs = draw_pairs(
        systems,
        config.n_skew,
        seed=config.seed,
        held_out=held_out_families(config.held_out, config.seed),
        max_dimension=config.max_dimension,
    )
    count = len(config.couplings)
    return [(pair, config.couplings[place % count]) for place, pair in enumerate(pairs)]


def make_subjects(config: EnsembleConfig) -> list[Subject]:
    """What the ensemble integrates, compiled one after the other."""
    systems = choose_systems(config)
    bound = config.validity.max_value
    skew = choose_pairs(config, systems) if config.n_skew else []
    return [Subject.of(load_system(name), bound) for name in systems] + [
        skew_product(
            load_system(driver),
            load_system(response),
            coupling,
            strength=config.coupling_strength,
            seed=config.seed,
            bound=bound,
        )
        for (driver, response), coupling in skew
    ]


def panel_info(config: EnsembleConfig, width: int, name: str = NAME) -> PanelInfo:
    """Names and provenance of an ensemble's panel."""
    return PanelInfo(
        name=name,
        variates=tuple(f"x{k}" for k in range(width)),
        licence="simulated; equations of dysts, Apache-2.0",
        provenance={
            "catalogue": catalogue_version(),
            "config": json.loads(json.dumps(asdict(config))),
            PROVENANCE: sorted(held_out_families(config.held_out, config.seed)),
        },
    )


def as_series(subject: Subject, instance: Instance, config: EnsembleConfig, width: int) -> Series:
    """An item: the trajectory, and how to integrate it again."""
    target = np.full((width, instance.target.shape[1]), np.nan, np.float32)
    target[: len(instance.target)] = instance.target
    names = dict(zip(subject.parameter_names, instance.parameters.tolist()))
    return Series(
        item_id=f"{subject.name}/{instance.draw}/{instance.start}",
        target=target,
        static={
            "system": "->".join(subject.members),
            "members": ",".join(subject.members),
            "family": "->".join(map(family_of, subject.members)),
            "role": subject.role,
            "coupling": subject.coupling,
            "dimension": subject.dimension,
            "draw": instance.draw,
            "start": instance.start,
            "parameters": json.dumps(names),
            "initial": json.dumps(instance.initial.tolist()),
            "period": subject.period,
            "lyapunov": subject.lyapunov,
            "lyapunov_estimated": instance.lyapunov,
            "dt": subject.period / config.points_per_period,
            "points_per_period": config.points_per_period,
            "seed": config.seed,
        },
    )


def nothing_kept(report: EnsembleReport, what: str = "") -> DataError:
    """The error for an ensemble of which nothing is left, or nothing of some kind."""
    reasons = Counter(report.dropped_draws) + Counter(report.dropped_trajectories)
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return DataError(
        f"not one {what}trajectory is left of {len(report.trials)} tried parameter draws and"
        f" trajectories: {told}",
        where=f"ensemble with parameter_scale={report.config.parameter_scale:g}",
        remedy="lower parameter_scale or coupling_strength, raise attempts, or name other systems",
    )


def _series(
    subjects: Sequence[Subject],
    config: EnsembleConfig,
    info: PanelInfo,
    report: EnsembleReport,
    progress: Progress | None,
    workers: int | None,
) -> Iterator[Series]:
    def make(subject: Subject) -> tuple[Subject, Made]:
        return subject, make_instances(subject, config)

    threads = workers or len(os.sched_getaffinity(0))
    for done, (subject, (kept, trials)) in enumerate(in_order(make, subjects, threads), start=1):
        report.add(subject.name, len(kept), trials)
        for instance in kept:
            yield as_series(subject, instance, config, len(info.variates))
        if progress is not None:
            progress(done, len(subjects), subject.name)
    if report.trajectories and not report.perturbs:
        raise nothing_kept(report, "perturbed ")


def in_order(make: Callable[[Given], Done], given: Iterable[Given], threads: int) -> Iterator[Done]:
    """Results of several threads in the order of what was given, few of them waiting."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for one in given:
            waiting.append(pool.submit(make, one))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
