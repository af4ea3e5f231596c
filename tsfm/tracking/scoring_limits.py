"""What one request to a scoring server may ask for, so that no request exhausts its memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from tsfm.errors import ConfigError, DataError

PREFIX = "TSFM_SERVING_"


@dataclass(frozen=True, kw_only=True)
class ServingLimits:
    """Set by environment variables: ``TSFM_SERVING_HORIZON=10000`` and so on.

    Attributes
    ----------
    body_mb
        Megabytes of a request's body.
    rows
        Of a request's table.
    horizon
        Bars of every item.
    levels
        Quantile levels.
    values
        Items × horizon × (quantile levels + 1).

    Raises
    ------
    ConfigError
        When one is not positive.
    """

    body_mb: int = 256
    rows: int = 5_000_000
    horizon: int = 4096
    levels: int = 199
    values: int = 2_000_000

    def __post_init__(self) -> None:
        for one in fields(self):
            if getattr(self, one.name) < 1:
                raise ConfigError(
                    f"{getattr(self, one.name)} is no limit",
                    where=PREFIX + one.name.upper(),
                    remedy="give a positive whole number",
                )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The defaults, but for the variables that are set.

        Raises
        ------
        ConfigError
            When one is no positive whole number.
        """
        given = {}
        for one in fields(cls):
            text = environment.get(PREFIX + one.name.upper())
            if text is None:
                continue
            if not text.isdecimal():
                raise ConfigError(
                    f"{text!r} is no limit",
                    where=PREFIX + one.name.upper(),
                    remedy="give a positive whole number",
                )
            given[one.name] = int(text)
        return cls(**given)

    def expect_body(self, size: int) -> None:
        """Raise :class:`DataError` when a body has too many bytes."""
        if size > self.body_mb * 10**6:
            raise _beyond("body_mb", f"a body of {size / 1e6:.0f} MB", self.body_mb)

    def expect_rows(self, rows: int) -> None:
        """Raise :class:`DataError` when a table has too many rows."""
        if rows > self.rows:
            raise _beyond("rows", f"{rows} rows", self.rows)

    def expect_forecast(self, horizon: int, items: int, levels: int) -> None:
        """Raise :class:`DataError` when a forecast is too large for one answer."""
        if horizon > self.horizon:
            raise _beyond("horizon", f"horizon={horizon}", self.horizon)
        if levels > self.levels:
            raise _beyond("levels", f"{levels} quantile levels", self.levels)
        values = horizon * items * (levels + 1)
        if values > self.values:
            told = f"{items} items × horizon {horizon} × {levels + 1} numbers = {values}"
            raise _beyond("values", told, self.values)


def _beyond(name: str, what: str, limit: int) -> DataError:
    return DataError(
        f"{what} is more than this server answers at once ({limit})",
        remedy="ask for less, in several requests or with python -m tsfm.tracking.batch_prediction;"
        f" whoever runs the server can set {PREFIX}{name.upper()}",
    )
