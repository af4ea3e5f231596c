"""A study made, gone on with or joined: never one that is of something else."""

from __future__ import annotations

import difflib
import json
import random
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeps.parameters import SearchParameter
from sweeps.plan import Plan
from sweeps.recipe import recipe_of
from sweeps.storage import SweepStorage
from sweeps.study import PLAN, SweepStudy
from tsfm.errors import ConfigError, one_of

SAMPLES = 300
COMPOSED = 5
OPENING = "sweep:opening"


def open_study(storage: SweepStorage, name: str, plan: Plan, *, warm_start: str = "") -> SweepStudy:
    """The study of this name: made where there is none, else gone on with.

    ``plan.trials``, seed, sampler and pruner may be others than before.

    Parameters
    ----------
    warm_start
        Name of another study in the storage, whose trials a new study learns from.

    Raises
    ------
    ConfigError
        When the storage's study is no sweep, or of other objectives, another experiment or another
        space; when ``warm_start`` is not there.
    """
    earlier = _trials_of(storage, warm_start) if warm_start else []
    return storage.alone(
        f"opening/{name}", lambda: _opened(storage, name, plan, _directions(plan), earlier)
    )


def _opened(
    storage: SweepStorage,
    name: str,
    plan: Plan,
    directions: list[StudyDirection],
    earlier: list[FrozenTrial],
) -> SweepStudy:
    try:
        study_id = storage.create_new_study(directions, name)
    except DuplicatedStudyError:
        study_id = storage.get_study_id_from_name(name)
        found = storage.get_study_user_attrs(study_id)
        if PLAN not in found and OPENING in found:  # its making was broken off
            storage.delete_study(study_id)
            return _opened(storage, name, plan, directions, earlier)
        is_new = PLAN not in found and not storage._get_trials(study_id, None, set(), -1)
        _expect_same(storage, study_id, name, found, plan, fresh=is_new)
        if not is_new:
            storage.set_study_user_attr(study_id, PLAN, plan.described())
            return SweepStudy(name, storage, plan)
    storage.set_study_user_attr(study_id, OPENING, True)
    study = SweepStudy(name, storage, plan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([one.metric for one in plan.space.objectives])
    study.learn_from(earlier)
    study.await_points()
    storage.set_study_user_attr(study_id, PLAN, plan.described())
    return study


def load_study(uri: str, name: str, *, heartbeat: int = 10, grace: int = 60) -> SweepStudy:
    """A study that is there, by its own plan; as workers open it.

    Raises
    ------
    ConfigError
        When there is no such study.
    """
    storage = SweepStorage(uri, heartbeat=heartbeat, grace=grace)
    try:
        attributes = storage.get_study_user_attrs(storage.get_study_id_from_name(name))
    except KeyError as error:
        raise _missing(storage, name) from error
    return SweepStudy(name, storage, Plan.read(attributes[PLAN]))


def check_feasible(plan: Plan, base: Mapping[str, Any]) -> None:
    """That the space holds points which its constraints and the experiment itself allow.

    Raises
    ------
    ConfigError
        Naming the constraint that no point keeps, or what the experiment says of those drawn.
    """
    space = plan.space
    storage = optuna.storages.InMemoryStorage()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    study.set_user_attr("of", "feasibility")
    kept: list[dict[str, Any]] = []
    broken: dict[str, int] = {}
    for _ in range(SAMPLES):
        trial = study.ask()
        point = space.draw(partial(SearchParameter.suggest, trial=trial), base)
        sizes = space.violations(point, base)
        for name in sizes:
            broken[name] = broken.get(name, 0) + 1
        if not sizes:
            kept.append(point)
        study.tell(trial, state=TrialState.FAIL)
    if not kept:
        worst = max(broken, key=lambda name: broken[name])
        share = "every" if broken[worst] == SAMPLES else f"{broken[worst]} of {SAMPLES}"
        raise ConfigError(
            f"no point of {SAMPLES} drawn keeps all constraints: {share} breaks "
            f"{worst}: {space.constraints[worst].text}",
            where=f"constraints.{worst}",
            remedy="loosen it, or widen the parameters",
        )
    told: ConfigError | None = None
    for point in random.Random(0).sample(kept, min(COMPOSED, len(kept))):
        try:
            recipe_of(plan.experiment).check(plan.subject.config({**space.fixed, **point}))
            return
        except ConfigError as error:
            told = error
    assert told is not None
    raise told


def _directions(plan: Plan) -> list[StudyDirection]:
    return [StudyDirection[one.upper()] for one in plan.space.directions]


def _expect_same(
    storage: SweepStorage,
    study_id: int,
    name: str,
    attributes: Mapping[str, Any],
    plan: Plan,
    *,
    fresh: bool,
) -> None:
    """That the study is the one that is meant."""
    where, other = f"study {name}", "give another study=NAME"
    if storage.get_study_directions(study_id) != _directions(plan):
        known = attributes.get(PLAN, {}).get("space", {}).get("objectives", [])
        theirs = ", ".join(f"{o['direction']} {o['metric']}" for o in known) or "others"
        ours = ", ".join(f"{o.direction} {o.metric}" for o in plan.space.objectives)
        raise ConfigError(f"its objectives are {theirs}, not {ours}", where=where, remedy=other)
    if fresh:
        return
    if PLAN not in attributes:
        raise ConfigError("it is no sweep of this project", where=where, remedy=other)
    before, now = Plan.read(attributes[PLAN]).identity, plan.identity
    differing = [key for key in now if _text(before[key]) != _text(now[key])]
    if differing:
        raise ConfigError(
            f"it is of another {_difference(before, now, differing[0])}",
            where=where,
            remedy=f"{other}, with warm_start={name} to learn from its trials",
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], key: str) -> str:
    was, is_ = before[key], now[key]
    if key == "experiment":
        return f"experiment: {was}, not {is_}"
    if not isinstance(was, Mapping):
        return f"version of the space: {key} differ"
    names = sorted(n for n in {*was, *is_} if _text(was.get(n)) != _text(is_.get(n)))
    name = names[0]
    return (
        f"version of the space: {key}.{name} was {was.get(name, 'absent')}, "
        f"now {is_.get(name, 'absent')}"
    )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _trials_of(storage: SweepStorage, name: str) -> list[FrozenTrial]:
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError as error:
        raise _missing(storage, name, "warm_start") from error
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    found: list[FrozenTrial] = storage._get_trials(study_id, states, set(), -1)
    return [one for one in found if one.system_attrs.get("sweep:free") != "infeasible"]


def _missing(storage: SweepStorage, name: str, parameter: str = "study") -> ConfigError:
    names = [one.study_name for one in storage.get_all_studies()]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.3) or names[-3:]
    return ConfigError(
        f"{parameter}={name} is not in the storage",
        remedy=f"it has {', '.join(close)}" if close else "it is empty: start a sweep first",
    )


def check_objectives(plan: Plan) -> None:
    """That the experiment measures what the trials are judged by, in time to prune by it.

    Raises
    ------
    ConfigError
        With what it does measure.
    """
    recipe = recipe_of(plan.experiment)
    for one in plan.space.objectives:
        one_of("objectives.metric", one.metric, recipe.metrics)
    if plan.space.pruner["name"] != "none":
        one_of(
            f"pruner={plan.space.pruner['name']} of objective",
            plan.space.objectives[0].metric, recipe.reported,
        )  # fmt: skip
