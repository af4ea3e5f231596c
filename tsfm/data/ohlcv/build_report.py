"""What a build made of a lake: kept beside the panel's data as ``build.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tsfm.data.panel import Panel
from tsfm.errors import DataError

FILE_NAME = "build.json"


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """The outcome of a build.

    Attributes
    ----------
    out
        The panel's directory.
    digest
        Of all that the result depends on.
    assets, bars
        In the panel; bars without prices count.
    counts
        What cleaning found, by kind (:data:`tsfm.data.ohlcv.cleaning_config.KINDS`).
    counts_by_symbol
        The same of every symbol with findings.
    dropped
        Symbols that are not in the panel, and why.
    problems
        What could not be read, or happened to the lake meanwhile.
    past_covariates, known_covariates
        Features of the panel.
    selection
        How features were chosen: scores, and the reasons of those left out.
    fitted_until
        Regimes and the choice of features know bars before this date.
    seconds
        Of wall time; of the last start, where the build was killed before.
    resumed_batches
        Batches that an earlier, killed start had finished.
    notes
        What the user may want to know of the start.
    """

    out: Path
    digest: str
    assets: int
    bars: int
    counts: Mapping[str, int] = field(default_factory=dict)
    counts_by_symbol: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    past_covariates: tuple[str, ...] = ()
    known_covariates: tuple[str, ...] = ()
    selection: Mapping[str, Any] | None = None
    fitted_until: str | None = None
    seconds: float = 0.0
    resumed_batches: int = 0
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Everything in the lake could be read."""
        return not self.problems

    @cached_property
    def panel(self) -> Panel:
        """What was built, mapped into memory when it is asked for."""
        return Panel.open(self.out)

    @property
    def path(self) -> Path:
        """The report's file."""
        return self.out / FILE_NAME

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without the place."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {key: value for key, value in values.items() if key != "out"}

    @classmethod
    def read(cls, out: Path) -> Self:
        """The report of a panel that was built before.

        Raises
        ------
        DataError
            When it has none.
        """
        path = out / FILE_NAME
        try:
            values = json.loads(path.read_text())
            tuples = ("problems", "past_covariates", "known_covariates", "notes")
            values |= {key: tuple(values[key]) for key in tuples}
            return cls(out=out, **values)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"the panel has no report of its build: {error}",
                where=str(path),
                remedy="build it again",
            ) from error
