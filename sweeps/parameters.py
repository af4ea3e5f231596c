"""What one searched parameter may be: a range of numbers, or a choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.expressions import Expression
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

FIELDS = ("low", "high", "log", "step", "type", "choices", "grid", "when")


@dataclass(frozen=True, kw_only=True)
class SearchParameter:
    """One parameter of a space.

    Attributes
    ----------
    name
        A parameter of the experiment, or a key as in ``overrides``.
    low, high
        Ends of the range, both included.
    log
        Drawn evenly on the logarithmic scale.
    step
        Between values of the range.
    integer
        Whole numbers only.
    choices
        Values in no order, in place of a range.
    grid
        Values that a grid search tries: by default the choices, or every value of a stepped range.
    when
        Condition on parameters above it; it is searched only where that holds.
    """

    name: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    integer: bool = False
    choices: tuple[Any, ...] = ()
    grid: tuple[Any, ...] = ()
    when: Expression | None = None

    def __post_init__(self) -> None:
        where = f"parameters.{self.name}"
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.step:
                raise ConfigError("choices and a range at once", where=where)
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ConfigError("a choice is named twice", where=where)
            if any(type(one) not in (str, int, float, bool) for one in self.choices):
                raise ConfigError(
                    f"choices {list(self.choices)} are not all words or numbers",
                    where=where,
                    remedy='write lists as words: "8,16"',
                )
            return
        if self.low is None or self.high is None:
            raise ConfigError("nothing to search", where=where, remedy="give choices, or low, high")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ConfigError(f"the range {self.low} to {self.high} is empty", where=where)
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError(
                f"log with low={self.low}, step={self.step}",
                where=where,
                remedy="a logarithmic range starts above zero and has no step",
            )
        if self.step is not None and not 0 < self.step <= max(self.high - self.low, self.step):
            raise ConfigError(f"step={self.step}", where=where, remedy="give a positive step")
        if self.integer and any(
            value is not None and value != int(value) for value in (self.low, self.high, self.step)
        ):
            raise ConfigError("type: int with ends or step that are not whole", where=where)

    @classmethod
    def read(cls, name: str, given: Any) -> SearchParameter:
        """From YAML: a mapping of :data:`FIELDS`, or a list of choices.

        Raises
        ------
        ConfigError
            When a field is unknown or a value is not allowed.
        """
        where = f"parameters.{name}"
        if isinstance(given, Sequence) and not isinstance(given, str):
            given = {"choices": given}
        if not isinstance(given, Mapping):
            raise ConfigError(
                f"{given!r} cannot be searched",
                where=where,
                remedy="write {low: …, high: …} or a list of choices; single values go to fixed",
            )
        unknown = sorted(set(given) - set(FIELDS))
        if unknown:
            raise ConfigError(
                f"{', '.join(unknown)} is not known", where=where, remedy=f"use {', '.join(FIELDS)}"
            )
        ends = [given.get(key) for key in ("low", "high", "step")]
        if any(end is not None and type(end) not in (int, float) for end in ends):
            raise ConfigError(
                f"{ends} are not all numbers", where=where, remedy="write 1.0e-3, not 1e-3"
            )
        kind = given.get("type")
        if kind not in (None, "int", "float"):
            raise ConfigError(f"type: {kind}", where=where, remedy="write int or float")
        whole = all(end is None or type(end) is int for end in ends)
        when = given.get("when")
        return cls(
            name=name,
            low=given.get("low"),
            high=given.get("high"),
            log=bool(given.get("log", False)),
            step=given.get("step"),
            integer=kind == "int" or (kind is None and whole and "choices" not in given),
            choices=tuple(given.get("choices", ())),
            grid=tuple(given.get("grid", ())),
            when=None if when is None else Expression(str(when), where=f"{where}.when"),
        )

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.choices:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            step = 1 if self.step is None else int(self.step)
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return FloatDistribution(float(self.low), float(self.high), log=self.log, step=self.step)

    def suggest(self, trial: Trial) -> Any:
        """A trial's value, drawn by the study's sampler unless the trial has one."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.integer:
            step = 1 if self.step is None else int(self.step)
            ends = int(self.low), int(self.high)
            return trial.suggest_int(self.name, *ends, step=step, log=self.log)
        ends_of = float(self.low), float(self.high)
        return trial.suggest_float(self.name, *ends_of, step=self.step, log=self.log)

    def values(self) -> tuple[Any, ...]:
        """Those that a grid search tries.

        Raises
        ------
        ConfigError
            Of a range without steps.
        """
        if self.grid or self.choices:
            return self.grid or self.choices
        step = self.step or (1 if self.integer and not self.log else None)
        if step is None:
            raise ConfigError(
                "a grid search needs values",
                where=f"parameters.{self.name}",
                remedy="give grid: [ … ], or a step",
            )
        assert self.low is not None
        assert self.high is not None
        count = int((self.high - self.low) / step + 1e-9) + 1
        found = [self.low + index * step for index in range(count)]
        return tuple(int(value) if self.integer else value for value in found)

    def contains(self, value: Any) -> bool:
        """Whether a value may be tried."""
        if self.choices:
            return any(type(one) is type(value) and one == value for one in self.choices)
        assert self.low is not None
        assert self.high is not None
        if type(value) not in (int, float) or (self.integer and value != int(value)):
            return False
        return self.low <= value <= self.high

    def described(self) -> dict[str, Any]:
        """What :meth:`read` makes the same of."""
        values: dict[str, Any] = {"choices": list(self.choices)} if self.choices else {
            "low": self.low, "high": self.high, "log": self.log, "step": self.step,
            "type": "int" if self.integer else "float",
        }  # fmt: skip
        if self.grid:
            values["grid"] = list(self.grid)
        if self.when is not None:
            values["when"] = self.when.text
        return values
