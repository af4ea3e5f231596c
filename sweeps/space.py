"""A search space: parameters, conditions, constraints between them, objectives; read from YAML."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from sweeps.expressions import Expression
from sweeps.parameters import SearchParameter
from tsfm.errors import ConfigError, one_of

HERE = Path(__file__).parent
FIELDS = (
    "parameters", "constraints", "fixed", "objectives", "sampler", "pruner", "enqueue",
)  # fmt: skip
KINDS: dict[str, tuple[type, ...]] = {
    "objectives": (list,), "enqueue": (list,), "sampler": (str, dict), "pruner": (str, dict),
}  # fmt: skip
DIRECTIONS = ("minimize", "maximize")
LARGEST_GRID = 100_000

Draw = Callable[[SearchParameter], Any]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One number that a trial is judged by: a metric of its recipe, and where it should go."""

    metric: str
    direction: str = "minimize"

    def __post_init__(self) -> None:
        one_of("objectives.direction", self.direction, DIRECTIONS)


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched, and what for.

    Attributes
    ----------
    parameters
        In the order in which they are drawn: conditions look at those above.
    constraints
        By name; a point that breaks one is never trained.
    fixed
        Parameters of the experiment that all trials share.
    objectives
        One, or several for a Pareto front.
    sampler, pruner
        ``name`` and options.
    enqueue
        Configurations that are tried first.
    """

    parameters: tuple[SearchParameter, ...]
    constraints: Mapping[str, Expression] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = (Objective(metric="validation_crps"),)
    sampler: Mapping[str, Any] = field(default_factory=lambda: {"name": "tpe"})
    pruner: Mapping[str, Any] = field(default_factory=lambda: {"name": "none"})
    enqueue: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ConfigError(
                "the space is empty", where="parameters", remedy="name something to search"
            )
        both = sorted({one.name for one in self.parameters} & set(self.fixed))
        if both:
            raise ConfigError(f"{', '.join(both)} is both searched and fixed")
        if not self.objectives:
            raise ConfigError("no objective", where="objectives", remedy="name at least one metric")
        names = [one.metric for one in self.objectives]
        if len(set(names)) < len(names):
            raise ConfigError(f"an objective is named twice: {', '.join(names)}")
        above: set[str] = set(self.fixed)
        searched = {one.name for one in self.parameters}
        for one in self.parameters:
            late = one.when.names & (searched - above) if one.when else ()
            if late:
                raise ConfigError(
                    f"the condition looks at {', '.join(sorted(late))}, which is not above it",
                    where=f"parameters.{one.name}.when",
                )
            above.add(one.name)
        for number, point in enumerate(self.enqueue):
            for name, value in point.items():
                known = {one.name: one for one in self.parameters}
                where = f"enqueue[{number}]"
                one_of(f"{where} parameter", name, known)
                if not known[name].contains(value):
                    raise ConfigError(f"{name}={value!r} lies outside the space", where=where)

    @property
    def by_name(self) -> dict[str, SearchParameter]:
        return {one.name: one for one in self.parameters}

    @property
    def directions(self) -> list[str]:
        return [one.direction for one in self.objectives]

    def draw(self, draw: Draw, base: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for every parameter whose condition holds, in order.

        Parameters
        ----------
        base
            Values of what is not searched, which conditions may look at.
        """
        found: dict[str, Any] = {}
        for one in self.parameters:
            if one.when is None or one.when.holds(scope(base, found)):
                found[one.name] = draw(one)
        return found

    def violations(self, point: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, float]:
        """The constraints that a point breaks, and by how much."""
        values = scope(base, point)
        every = {name: one.violation(values) for name, one in self.constraints.items()}
        return {name: size for name, size in every.items() if size > 0}

    def grid(self, base: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Every point of the grid that breaks no constraint, each once.

        Raises
        ------
        ConfigError
            When a range has no steps, or the grid is huge.
        """
        axes = {one.name: one.values() for one in self.parameters}
        size = 1
        for values in axes.values():
            size *= len(values)
        if size > LARGEST_GRID:
            raise ConfigError(f"a grid of {size:,} points", remedy="give fewer values, or sampler=")
        return list(self._points(axes, base))

    def _points(
        self, axes: Mapping[str, tuple[Any, ...]], base: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        seen = set()
        for values in itertools.product(*axes.values()):
            whole = dict(zip(axes, values, strict=True))
            point = self.draw(partial(value_of, whole), base)
            key = tuple(point.items())
            if key not in seen and not self.violations(point, base):
                seen.add(key)
                yield point

    def described(self) -> dict[str, Any]:
        """Plain values that :meth:`read` makes the same of."""
        return {
            "parameters": {one.name: one.described() for one in self.parameters},
            "constraints": {name: one.text for name, one in self.constraints.items()},
            "fixed": dict(self.fixed),
            "objectives": [
                {"metric": one.metric, "direction": one.direction} for one in self.objectives
            ],
            "sampler": dict(self.sampler),
            "pruner": dict(self.pruner),
            "enqueue": [dict(point) for point in self.enqueue],
        }

    @classmethod
    def read(cls, values: Any, *, where: str) -> Space:
        """From plain values, as YAML holds them.

        Raises
        ------
        ConfigError
            When something is unknown or not allowed.
        """
        if not isinstance(values, Mapping):
            raise ConfigError("no search space", where=where, remedy="write parameters: …")
        unknown = sorted(set(values) - set(FIELDS))
        if unknown:
            raise ConfigError(
                f"{', '.join(map(str, unknown))} is not known",
                where=where,
                remedy=f"a space has {', '.join(FIELDS)}",
            )
        parts = {name: values[name] for name in FIELDS if values.get(name)}
        for name, part in parts.items():
            if not isinstance(part, KINDS.get(name, (dict,))):
                raise ConfigError(f"{name} is a {type(part).__name__}", where=where)
        try:
            return cls(
                parameters=tuple(
                    SearchParameter.read(str(name), given)
                    for name, given in parts.pop("parameters", {}).items()
                ),
                constraints={
                    str(name): Expression(str(text), where=f"constraints.{name}")
                    for name, text in parts.pop("constraints", {}).items()
                },
                objectives=tuple(map(_objective, parts.pop("objectives", ["validation_crps"]))),
                sampler=named(parts.pop("sampler", "tpe")),
                pruner=named(parts.pop("pruner", "none")),
                enqueue=tuple(parts.pop("enqueue", ())),
                **parts,
            )
        except ConfigError as error:
            raise ConfigError(str(error).rstrip("."), where=where) from error

    @classmethod
    def load(cls, source: str | Path) -> Space:
        """A YAML file, or the one of that name beside this module.

        Raises
        ------
        ConfigError
            When it is not there, no YAML, or no space.
        """
        path = HERE / f"{source}.yaml"
        if not path.is_file():
            path = Path(source).expanduser()
        if not path.is_file():
            ours = ", ".join(sorted(one.stem for one in HERE.glob("*.yaml")))
            raise ConfigError(
                f"space={str(source)!r} is no file", remedy=f"give a YAML file, or one of {ours}"
            )
        try:
            return cls.read(yaml.safe_load(path.read_text()), where=str(path))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            told = re.sub(r"\s+", " ", str(error))
            raise ConfigError(f"no YAML: {told}", where=str(path)) from error


def value_of(values: Mapping[str, Any], one: SearchParameter) -> Any:
    """A parameter's value in a point that is there already."""
    return values.get(one.name)


def named(given: Any) -> dict[str, Any]:
    """``tpe`` or ``{name: tpe, …}``."""
    values = {"name": given} if isinstance(given, str) else dict(given)
    if "name" not in values:
        raise ConfigError(f"{values} has no name", remedy="write name: tpe")
    return values


def _objective(given: Any) -> Objective:
    if isinstance(given, str):
        return Objective(metric=given)
    if not isinstance(given, Mapping) or not {"metric"} <= set(given) <= {"metric", "direction"}:
        raise ConfigError(f"objective {given!r}", remedy="write metric: … and direction: …")
    return Objective(**{str(key): str(value) for key, value in given.items()})


def scope(base: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """What expressions see: values of the point before those of the base, lists as lists; a dotted
    name also by its last part, where no other name is that."""
    values = {name: _listed(value) for name, value in {**base, **point}.items()}
    short = {
        name.rpartition(".")[2]: value
        for source in (base, point)
        for name, value in ((key, values[key]) for key in source)
        if "." in name and name.rpartition(".")[2] not in {**base, **point}
    }
    return {**short, **values}


def _listed(value: Any) -> Any:
    """Words like ``8,16`` as the numbers they are."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.strip("[]()").split(",")]
    try:
        numbers = [float(part) if "." in part or "e" in part else int(part) for part in parts]
    except ValueError:
        return value
    return numbers if "," in value or value.startswith("[") else numbers[0]
