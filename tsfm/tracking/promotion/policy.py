"""The policy: what a version must show to become champion, read from YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tsfm.errors import ConfigError, one_of
from tsfm.tracking.promotion.rules import RULES, Finding, Rule

if TYPE_CHECKING:
    from tsfm.tracking.promotion.evidence import Evidence


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When a version may become champion.

    Attributes
    ----------
    vault
        Directory of the held-out tasks; ``{model}`` stands for the registered model's name.
    baseline
        The rival of the first promotion, when there is no champion.
    rules
        All of which must pass.
    replicates, seed
        Of the bootstrap.
    lease_seconds
        After which a promoter that holds the lease and does nothing loses it.
    wait_seconds
        How long a promoter waits for others.
    """

    vault: str = "vaults/{model}"
    baseline: str = "seasonal_naive"
    rules: tuple[Rule, ...] = ()
    replicates: int = 2000
    seed: int = 0
    lease_seconds: float = 120.0
    wait_seconds: float = 300.0

    def __post_init__(self) -> None:
        from tsfm.models import BASELINES

        one_of("policy.baseline", self.baseline, BASELINES)
        if not self.rules:
            raise ConfigError(
                "the policy has no rules: it would promote anything",
                remedy=f"give some of {', '.join(_by_name())}",
            )
        for name, least in (
            ("replicates", 100),
            ("seed", 0),
            ("lease_seconds", 1),
            ("wait_seconds", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"policy.{name}={getattr(self, name)} is too small",
                    remedy=f"give at least {least}",
                )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a policy.

        Raises
        ------
        ConfigError
            When the file is missing or no YAML, or a rule or a limit is unknown or not allowed.
        """
        import yaml

        try:
            record = yaml.safe_load(Path(path).read_text())
        except FileNotFoundError as error:
            raise ConfigError(
                "there is no such policy",
                where=str(path),
                remedy="give a YAML file, as experiments/conf/promotion.yaml is",
            ) from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            told = " ".join(str(error).split())
            raise ConfigError(f"the policy cannot be read: {told}", where=str(path)) from error
        try:
            return cls.of(record)
        except ConfigError as error:
            raise ConfigError(error.what, where=str(path), remedy=error.remedy) from error

    @classmethod
    def of(cls, record: object) -> Self:
        """A policy of plain values.

        Raises
        ------
        ConfigError
            As :meth:`load`.
        """
        given = _mapping("the policy", record)
        plain = _fields("policy", cls, given)
        rules = _mapping("rules", given.get("rules") or {})
        known = _by_name()
        _expect_known("rule", rules, known)
        return cls(
            **plain,
            rules=tuple(
                known[name](**_fields(f"rules.{name}", known[name], _mapping(name, limits or {})))
                for name, limits in rules.items()
            ),
        )

    def vault_of(self, model: str) -> Path:
        """Where the vault of a registered model is."""
        return Path(self.vault.replace("{model}", model)).expanduser()

    def rule(self, name: str) -> Any:
        """A rule of the policy, or None."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def judge(self, evidence: Evidence) -> tuple[Finding, ...]:
        """What every rule says; that the candidate answered at all comes first."""
        from tsfm.tracking.promotion.evidence import unanswered

        missing = unanswered(evidence.scores, evidence.candidate, evidence.rival)
        problems = [*evidence.problems, *(f"{n} bars of {task}" for task, n in missing.items())]
        answers = Finding(
            rule="answers",
            passed=not problems,
            told="; ".join(problems) or "a valid forecast of every bar",
            numbers={"unanswered_bars": float(sum(missing.values()))},
        )
        if evidence.problems:
            return (answers,)
        return (answers, *(r.check(evidence, self.seed, self.replicates) for r in self.rules))


def _by_name() -> dict[str, type[Any]]:
    return {rule.name: rule for rule in RULES}


def _mapping(what: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{what} is {value!r}, not names with values")
    return value


def _fields(where: str, schema: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields with their types checked; ``rules`` are read apart."""
    types = {field.name: type(field.default) for field in fields(schema) if field.name != "rules"}
    every = [field.name for field in fields(schema)]
    _expect_known(f"setting of {where}", given, every)
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in types:
            continue
        wanted = types[name]
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if wanted is float and isinstance(value, str):
            value = _number(value)
        if type(value) is not wanted:
            raise ConfigError(
                f"{where}.{name}={value!r} is no {wanted.__name__}",
                remedy=f"write for example {name}: {_example(schema, name)!r}",
            )
        checked[name] = value
    return checked


def _number(value: str) -> float | str:
    """YAML reads 1e-5 as text."""
    try:
        return float(value)
    except ValueError:
        return value


def _example(schema: type[Any], name: str) -> object:
    return next(field.default for field in fields(schema) if field.name == name)


def _expect_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in given:
        if name in known:
            continue
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(
            f"{what} {name!r} is not known",
            remedy=f"{meant}{'T' if meant else 't'}here are: {', '.join(known)}",
        )
