"""What a sweep may be told, checked before anything is trained."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sweeps.cluster_config import ClusterConfig
from sweeps.launcher import LAUNCHERS
from sweeps.subject import EXPERIMENTS
from tsfm.errors import ConfigError, one_of
from tsfm.tracking.registry import check_name

if TYPE_CHECKING:
    from sweeps.space import Space


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A study over the parameters of an experiment.

    Attributes
    ----------
    experiment
        What is tuned; ``rehearsal`` is a function that costs nothing, to try things out.
    space
        A YAML file, or the name of one in ``sweeps/``; empty: the experiment's.
    trials
        That are completed, pruned or failed when the study is over.
    workers
        Processes on this machine (or of this launcher).
    storage
        ``sqlite:///…``, ``postgresql://…`` or ``mysql://…``; empty: ``sweeps.db`` here.
    study
        Its name; empty: the space's. One that is there is gone on with.
    sampler, pruner
        In place of the space's: ``tpe``, ``gp``, ``cmaes``, ``random``, ``grid``, ``nsga2``;
        ``asha``, ``hyperband``, ``median``, ``wilcoxon``, ``none``; with options as
        ``tpe,n_startup_trials=5``.
    warm_start
        Name of a study in the storage that a new one learns from.
    join
        Work beside others on the study.
    launcher
        Who starts the workers.
    threads
        Of a worker; 0: its share of the cores.
    fixed
        Parameters of the experiment for all trials: ``"max_steps=600 model.d_model=64"``.
    seed
        Of the sampler.
    register_as
        Name of the best model in the registry; empty: the experiment's, ``none``: not at all.
    heartbeat, grace
        Seconds between signs of life of a trial, and without one until it is tried again.
    max_retries
        Of a trial whose worker died.
    cluster
        What Slurm or Ray is asked for, per worker.
    """

    experiment: str = "pretrain"
    space: str = ""
    trials: int = 20
    workers: int = 1
    storage: str = ""
    study: str = ""
    sampler: str = ""
    pruner: str = ""
    warm_start: str = ""
    join: bool = False
    launcher: str = "local"
    threads: int = 0
    fixed: str = ""
    seed: int = 0
    register_as: str = ""
    heartbeat: int = 10
    grace: int = 60
    max_retries: int = 3
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        one_of("experiment", self.experiment, EXPERIMENTS)
        one_of("launcher", self.launcher, LAUNCHERS)
        for name, least in {
            "trials": 1, "workers": 1, "threads": 0, "seed": 0, "heartbeat": 1, "max_retries": 0,
        }.items():  # fmt: skip
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}", remedy=f"give at least {least}")
        if self.grace < 2 * self.heartbeat:
            raise ConfigError(
                f"grace={self.grace} is shorter than two heartbeats of {self.heartbeat}",
                remedy="give a longer one: a busy machine may miss a beat",
            )
        if self.study and not re.fullmatch(r"[\w.\-]{1,100}", self.study):
            raise ConfigError(f"study={self.study!r}", remedy="use letters, digits, . _ and -")
        if self.register_as not in ("", "none"):
            check_name(self.register_as)
        self.givens()

    @property
    def name(self) -> str:
        """Of the study."""
        from pathlib import Path

        return self.study or Path(self.space or self.experiment).stem

    def givens(self) -> dict[str, str]:
        """``fixed`` as parameters."""
        try:
            words = shlex.split(self.fixed)
        except ValueError as error:
            raise ConfigError(f"fixed: {error}", remedy="close the quotation marks") from error
        for word in words:
            if "=" not in word:
                raise ConfigError(f"fixed has {word!r}", remedy="write parameter=value")
        return dict(word.split("=", 1) for word in words)

    def search_space(self) -> Space:
        """The space, with what is given here in place of what it says.

        Raises
        ------
        ConfigError
            When it cannot be read, or a sampler or pruner is not as it should be.
        """
        from sweeps.pruners import check_pruner
        from sweeps.samplers import check_sampler
        from sweeps.space import Space

        space = Space.load(self.space or self.experiment)
        givens = self.givens()
        kept = tuple(one for one in space.parameters if one.name not in givens)
        enqueue = tuple(
            {name: value for name, value in point.items() if name not in givens}
            for point in space.enqueue
        )
        space = replace(space, parameters=kept, fixed={**space.fixed, **givens}, enqueue=enqueue)
        if self.sampler:
            space = replace(space, sampler=_with_options(self.sampler))
        if self.pruner:
            space = replace(space, pruner=_with_options(self.pruner))
        check_sampler(space.sampler, len(space.objectives))
        check_pruner(space.pruner, len(space.objectives))
        return space


def _with_options(text: str) -> dict[str, Any]:
    """``tpe,n_startup_trials=5`` as a specification."""
    import yaml

    name, *options = [word.strip() for word in text.split(",")]
    pairs = [option.partition("=") for option in options]
    return {"name": name, **{key: yaml.safe_load(value or "null") for key, _, value in pairs}}
