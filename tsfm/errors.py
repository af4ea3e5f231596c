"""Errors that a user can act on.

Every command of the project turns a :class:`UserError` into one readable line and exit code 2;
anything else is a defect of ours and keeps its traceback.
"""

from collections.abc import Iterable


class UserError(ValueError):
    """A bad argument, file or address, told as *what*, *where* and *what to do*.

    Parameters
    ----------
    what
        The problem, naming the bad value.
    where
        The file, column, item, parameter or address it was found in.
    remedy
        What the user can do about it, naming the allowed values.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        location = f" [{where}]" if where else ""
        advice = f". {remedy[0].upper()}{remedy[1:]}." if remedy else "."
        super().__init__(f"{what.rstrip('.')}{location}{advice.replace('..', '.')}")


class ConfigError(UserError):
    """A parameter or configuration value is not allowed."""


class DataError(UserError):
    """Data violate the schema, or cannot be read."""


class CheckpointError(UserError):
    """A model directory or training checkpoint is missing, damaged or of another kind."""


class TrackingError(UserError):
    """The tracking server or its storage cannot be used."""


def one_of(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``allowed``."""
    options = list(allowed)
    if value not in options:
        listed = ", ".join(str(option) for option in options)
        raise ConfigError(f"{name}={value!r} is not known", remedy=f"choose one of: {listed}")
