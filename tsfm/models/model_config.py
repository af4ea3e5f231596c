"""What the configurations of all models share: they are made of plain values, and become them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self

from tsfm.errors import ConfigError


class ModelConfig:
    """Base of the frozen dataclasses that hold a model's fields.

    Attributes
    ----------
    label
        The model's name in messages.
    """

    label: ClassVar[str]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values, refusing unknown names.

        Raises
        ------
        ConfigError
            When a name is not a field or a value is not allowed.
        """
        known = sorted(field.name for field in fields(cls))  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(
                f"{', '.join(unknown)} is no parameter of {cls.label}",
                remedy=f"choose from: {', '.join(known)}",
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"a parameter of {cls.label} has the wrong type: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)  # type: ignore[call-overload]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
