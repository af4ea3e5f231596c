"""What a study is of: all that a worker must know, kept in the study itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sweeps.space import Space
from sweeps.subject import Subject

SEVEREST = 3
"""Deaths of workers that one configuration survives."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a worker must know of a study; kept in the study itself.

    Attributes
    ----------
    experiment, space
        What is tuned, over what; ``space.fixed`` holds what the user fixed, too.
    trials
        That are completed, pruned or failed when the study is over.
    seed
        Of the sampler.
    register_as
        Name of the best model in the registry.
    max_retries
        Of a trial whose worker died.
    """

    experiment: str
    space: Space
    trials: int = 20
    seed: int = 0
    register_as: str = ""
    max_retries: int = SEVEREST

    @property
    def subject(self) -> Subject:
        return Subject(self.experiment)

    def described(self) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in _PLAIN}
        return {**values, "space": self.space.described()}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        plain = {key: values[key] for key in _PLAIN}
        return cls(**plain, space=Space.read(values["space"], where="the study's own space"))

    @property
    def identity(self) -> dict[str, Any]:
        """What may not change while a study goes on."""
        space = self.space.described()
        return {
            "experiment": self.experiment,
            **{key: space[key] for key in ("objectives", "parameters", "constraints", "fixed")},
        }

    @property
    def digest(self) -> str:
        text = json.dumps(self.identity, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_PLAIN = ("experiment", "trials", "seed", "register_as", "max_retries")
