"""The experiment that a sweep is over: its parameters, and its config at a point of the space."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

from experiments.cli import Parameter, compose_config
from experiments.config import model_name
from sweeps.space import Space
from tsfm.errors import ConfigError, one_of

EXPERIMENTS = {
    "pretrain": ("experiments.pretrain", "experiments.config:PretrainConfig"),
    "finetune": ("experiments.finetune", "experiments.finetune_config:FinetuneConfig"),
    "dynamics": ("experiments.dynamics", "experiments.dynamics_config:DynamicsConfig"),
    "rehearsal": ("sweeps.rehearsal", "sweeps.rehearsal:RehearsalConfig"),
}
"""Module with ``PARAMETERS``, and config, of every experiment that can be swept."""

RESERVED = {"resume": "a trial never resumes", "register_as": "give register_as of the sweep"}


@dataclass(frozen=True)
class Subject:
    """One experiment by name."""

    name: str

    def __post_init__(self) -> None:
        one_of("experiment", self.name, EXPERIMENTS)

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Its parameters, as ``-P`` knows them."""
        found: Mapping[str, Parameter] = import_module(EXPERIMENTS[self.name][0]).PARAMETERS
        return found

    def config(self, values: Mapping[str, Any]) -> Any:
        """Its config with some parameters or override keys given.

        Raises
        ------
        ConfigError
            When a name is unknown or a value is not allowed.
        """
        module, _, attribute = EXPERIMENTS[self.name][1].partition(":")
        schema = getattr(import_module(module), attribute)
        return compose_config(self.name, schema, self.parameters, self.words(values))

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """``parameter=value`` for each, and ``overrides=…`` for the rest."""
        named = [f"{key}={spelled(value)}" for key, value in values.items() if self.owns(key)]
        rest = [f"{key}={spelled(value)}" for key, value in values.items() if not self.owns(key)]
        return [*named, f"overrides={shlex.join(rest)}"] if rest else named

    def command(self, values: Mapping[str, Any]) -> str:
        """The command that trains with these values."""
        words = " ".join(f"-P {shlex.quote(word)}" for word in self.words(values))
        return f"mlflow run . -e {self.name} {words}"

    def owns(self, name: str) -> bool:
        return name in self.parameters

    def base(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """What every parameter and key is where nothing is searched: for conditions, constraints.

        Raises
        ------
        ConfigError
            As :meth:`config`.
        """
        config = self.config(fixed)
        keys = flattened(config)
        named = {
            name: keys[parameter.key]
            for name, parameter in self.parameters.items()
            if parameter.key in keys
        }
        return {**keys, **named, **fixed}

    def check(self, space: Space, base: Mapping[str, Any]) -> None:
        """That every name in a space is a parameter, or a key of the config.

        Raises
        ------
        ConfigError
            With the closest names.
        """
        searched = [*space.by_name, *space.fixed]
        for name in searched:
            if name in RESERVED:
                raise ConfigError(f"{name} cannot be searched or fixed", remedy=RESERVED[name])
        model_varies = "model" in space.by_name
        for name in searched:
            if self.owns(name) or name in base or (model_varies and name.startswith("model.")):
                continue
            if name in ("model.preset",) or name.startswith("load."):
                continue
            raise self._unknown(name, base)
        known = {**base, **dict.fromkeys(space.by_name)}
        known |= {name.rpartition(".")[2]: None for name in known}
        for place, expression in [
            *((f"constraints.{name}", one) for name, one in space.constraints.items()),
            *((f"parameters.{one.name}.when", one.when) for one in space.parameters if one.when),
        ]:
            for name in sorted(expression.names - set(known)):
                raise ConfigError(str(self._unknown(name, base)).rstrip("."), where=place)

    def _unknown(self, name: str, base: Mapping[str, Any]) -> ConfigError:
        names = sorted({*self.parameters, *base})
        lasts = {one.rpartition(".")[2]: one for one in names}
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        close += [
            lasts[one]
            for one in difflib.get_close_matches(name.rpartition(".")[2], lasts, n=3, cutoff=0.6)
        ]
        found = ", ".join(list(dict.fromkeys(close))[:3])
        return ConfigError(
            f"{self.name} has no parameter {name!r}",
            remedy=f"the closest are {found}"
            if found
            else f"its parameters are {', '.join(self.parameters)}, and keys as in overrides",
        )


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """A config's fields under dotted keys; lists as they are."""
    values = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
    if not prefix and is_dataclass(getattr(config, "model", None)):
        values["model"] = {"name": model_name(config.model), **values["model"]}
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def spelled(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(spelled, value))
    return repr(value) if isinstance(value, float) else str(value)
