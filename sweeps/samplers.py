"""Samplers by name, drawing the same for a trial however often the study was interrupted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.space import Space
from tsfm.errors import ConfigError, one_of

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

OPTIONS: dict[str, dict[str, type]] = {
    "tpe": {
        "n_startup_trials": int, "n_ei_candidates": int, "multivariate": bool, "group": bool,
        "constant_liar": bool,
    },
    "gp": {"n_startup_trials": int, "deterministic_objective": bool},
    "cmaes": {
        "sigma0": float, "n_startup_trials": int, "popsize": int, "consider_pruned_trials": bool,
        "use_separable_cma": bool, "with_margin": bool, "lr_adapt": bool,
    },
    "random": {},
    "grid": {},
    "nsga2": {
        "population_size": int, "mutation_prob": float, "crossover_prob": float,
        "swapping_prob": float,
    },
}  # fmt: skip
SEVERAL_OBJECTIVES = ("tpe", "gp", "random", "grid", "nsga2")


def check_sampler(spec: Mapping[str, Any], n_objectives: int) -> None:
    """Raise :class:`ConfigError` unless a sampler can be made of the specification."""
    check_options("sampler", spec, OPTIONS)
    if n_objectives > 1 and spec["name"] not in SEVERAL_OBJECTIVES:
        raise ConfigError(
            f"sampler={spec['name']} is for one objective, not {n_objectives}",
            remedy=f"choose one of {', '.join(SEVERAL_OBJECTIVES)}",
        )
    if spec["name"] == "cmaes":
        from importlib.util import find_spec

        if find_spec("cmaes") is None:
            raise ConfigError("sampler=cmaes needs cmaes", remedy="pip install 'tsfm-lab[sweeps]'")


def check_options(
    kind: str, spec: Mapping[str, Any], known: Mapping[str, Mapping[str, type]]
) -> None:
    """Raise :class:`ConfigError` unless name and options are known, and of their types."""
    one_of(kind, spec["name"], known)
    types = known[spec["name"]]
    for name, value in spec.items():
        if name == "name":
            continue
        one_of(f"{kind} {spec['name']}, option", name, types)
        allowed = (int, float) if types[name] is float else (types[name],)
        if type(value) not in allowed:
            raise ConfigError(
                f"{kind} {spec['name']}, {name}={value!r} is not of type {types[name].__name__}"
            )


def make_sampler(
    space: Space, spec: Mapping[str, Any], base: Mapping[str, Any], seed: int
) -> BaseSampler:
    """The sampler of a specification; TPE is multivariate and grouped unless told otherwise.

    Parameters
    ----------
    base
        Values of what is not searched, for the conditions of a grid.

    Raises
    ------
    ConfigError
        When an option is not allowed.
    """
    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    check_sampler(spec, len(space.objectives))
    options = {key: value for key, value in spec.items() if key != "name"}
    if spec["name"] == "grid":
        return _grid(space.grid(base), seed)
    made: dict[str, Callable[..., BaseSampler]] = {
        "tpe": samplers.TPESampler,
        "gp": samplers.GPSampler,
        "cmaes": samplers.CmaEsSampler,
        "random": samplers.RandomSampler,
        "nsga2": samplers.NSGAIISampler,
    }
    if spec["name"] == "tpe":
        options = {"multivariate": True, "group": True, **options}
    if spec["name"] in ("cmaes", "gp"):
        options["warn_independent_sampling"] = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return made[spec["name"]](seed=seed, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sampler={dict(spec)}: {error}") from error


def reseed(sampler: BaseSampler, seed: int, number: int) -> None:
    """Every generator of a sampler, set for one trial.

    A trial then draws the same whether the study went on without a break or was taken up again, and
    workers that share a study never draw alike.
    """
    from optuna.samplers import BaseSampler
    from optuna.samplers._lazy_random_state import LazyRandomState

    state = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])

    def visit(holder: Any, seen: set[int]) -> None:
        if id(holder) in seen:
            return
        seen.add(id(holder))
        for value in vars(holder).values():
            if isinstance(value, LazyRandomState):
                value.rng.seed(state)
            elif isinstance(value, BaseSampler) or "_strategy" in type(value).__module__:
                visit(value, seen)

    visit(sampler, set())


def _grid(points: Sequence[Mapping[str, Any]], seed: int) -> BaseSampler:
    """A sampler that gives every point of a grid once, in an order drawn by the seed."""
    from optuna.samplers import BaseSampler

    if not points:
        raise ConfigError("the grid has no point that the constraints allow")
    order = np.random.default_rng(seed).permutation(len(points))

    class GridOfPoints(BaseSampler):
        """Points by a trial's ``place`` among those that count."""

        def __init__(self) -> None:
            self.points = [points[int(index)] for index in order]
            self.place: Callable[[Any], int] = lambda trial: int(trial.number)

        def infer_relative_search_space(self, *_: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, *_: Any) -> dict[str, Any]:
            return {}

        def sample_independent(
            self, _study: Any, trial: Any, param_name: str, _distribution: Any
        ) -> Any:
            return self.points[self.place(trial) % len(self.points)][param_name]

    return GridOfPoints()
