"""What a trial does: the experiment's own training, fed by a config, told to a trial's run."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from tsfm.data.sources import Source, SourceConfig
    from tsfm.tracking.registry import LoggedForecaster
    from tsfm.tracking.runs import MlflowRun
    from tsfm.tracking.sweep_record import TrialRun

RECIPES = {
    "pretrain": "sweeps.pretraining:Pretraining",
    "finetune": "sweeps.finetuning:Finetuning",
    "dynamics": "sweeps.dynamics:Dynamics",
    "rehearsal": "sweeps.rehearsal:Rehearsal",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a trial.

    Attributes
    ----------
    metrics
        Of validation, size and cost; objectives are chosen from them. None is of a test task.
    model
        The saved model, where there is one.
    steps
        That it was trained for.
    """

    metrics: Mapping[str, float]
    model: Path | None = None
    steps: int = 0


class Recipe(ABC):
    """How the trials of one experiment are trained."""

    metrics: tuple[str, ...] = ()
    """Those that objectives may name."""

    reported: tuple[str, ...] = ()
    """Those of them that are known at every validation, so that pruning can go by them."""

    uses_torch = True

    def check(self, config: Any) -> None:  # noqa: B027
        """Raise :class:`ConfigError` unless a trial can be trained by such a config."""

    @abstractmethod
    def run(self, config: Any, record: TrialRun, cache: Cache) -> Outcome:
        """Train by a config. Metrics reach the sweep through ``record.log_metrics``."""

    @abstractmethod
    def publish(
        self, config: Any, record: MlflowRun, model: Path, cache: Cache, tags: Mapping[str, str]
    ) -> LoggedForecaster:
        """Judge the best trial's model on the test tasks, log it, and register it as
        ``config.register_as`` says."""


def recipe_of(experiment: str) -> Recipe:
    """The recipe of an experiment."""
    module, _, name = RECIPES[experiment].partition(":")
    made: Recipe = getattr(import_module(module), name)()
    return made


@dataclass
class Cache:
    """What trials of one process share; sources also among the processes of a machine.

    Parameters
    ----------
    directory
        Where panels are kept that are made in memory (simulated ones), to be mapped by all.
    """

    directory: Path
    _made: dict[str, Any] = field(default_factory=dict)

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made once for equal keys (compared by their ``repr``)."""
        name = repr(key)
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def source(self, config: SourceConfig) -> Source:
        """A source's panels, memory-mapped."""
        return self.get(("source", config), lambda: self._mapped(config))

    def _mapped(self, config: SourceConfig) -> Source:
        from tsfm.data.sources import load_source

        place = self.directory / sha256(repr(config).encode()).hexdigest()[:16]
        self.directory.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not (place / "source.json").exists():
                source = load_source(config)
                if any(panel.path is not None for panel in source.panels):
                    return source
                _save(source, place)
        return _open(place)


def _save(source: Source, place: Path) -> None:
    from tsfm.data.panel import Panel

    place.mkdir(exist_ok=True)
    for number, panel in enumerate(source.panels):
        Panel.write(place / f"{number}", panel, panel.info, overwrite=True)
    source.preparation.save(place)
    source.example.to_parquet(place / "example.parquet")
    written = place / "source.json.new"
    written.write_text(json.dumps({"weights": source.weights}))
    written.rename(place / "source.json")


def _open(place: Path) -> Source:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.data.preparation import load_preparation
    from tsfm.data.sources import Source

    weights = tuple(json.loads((place / "source.json").read_text())["weights"])
    return Source(
        panels=tuple(Panel.open(place / f"{number}") for number in range(len(weights))),
        weights=weights,
        preparation=load_preparation(place),
        example=pd.read_parquet(place / "example.parquet"),
    )
