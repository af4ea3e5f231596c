"""How a parameter or an objective lies along an axis: linear, logarithmic, or by category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sweeps.parameters import SearchParameter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

GRID = 48
DECADES_FOR_LOG = 2.0
REACH = 3.0
"""Ranges between the best half's ends to which an axis of values reaches beyond them."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Ends, kind and ticks of an axis.

    Attributes
    ----------
    low, high
        What is shown of a number.
    categories
        In order, where it is no number; at 0, 1, 2 …
    """

    name: str
    low: float
    high: float
    log: bool = False
    categories: tuple[Any, ...] = ()

    @classmethod
    def of_parameter(cls, parameter: SearchParameter, trials: Sequence[FrozenTrial]) -> Self:
        """Over all that was tried of a parameter."""
        found = [one.params[parameter.name] for one in trials if parameter.name in one.params]
        if parameter.choices:
            shown = tuple(one for one in parameter.choices if one in found)
            last = max(len(shown) - 1, 0)
            return cls(name=parameter.name, low=-0.5, high=last + 0.5, categories=shown)
        return cls(
            name=parameter.name, low=float(min(found)), high=float(max(found)), log=parameter.log
        )

    @classmethod
    def of_values(cls, values: np.ndarray, *, name: str = "") -> Self:
        """Over values, of which a few may lie far away; logarithmic where they span decades."""
        finite = values[np.isfinite(values)]
        if not len(finite):
            return cls(name=name, low=0.0, high=1.0)
        low, first, middle, third, high = np.quantile(finite, [0, 0.25, 0.5, 0.75, 1])
        if low > 0 and np.log10(third / low) > DECADES_FOR_LOG:
            return cls(name=name, low=float(low), high=float(high), log=True)
        spread = max(third - first, middle - low, high - middle if len(finite) < 5 else 0.0)
        below, above = first - REACH * spread, third + REACH * spread
        return cls(name=name, low=float(max(low, below)), high=float(min(high, above)))

    def position(self, value: Any) -> float:
        """Where a value lies in the axis's own units; NaN where there is none."""
        if value is None:
            return float("nan")
        if not self.categories:
            return float(value)
        return float(next(at for at, one in enumerate(self.categories) if one == value))

    def unit(self, positions: np.ndarray) -> np.ndarray:
        """Positions between 0 (low) and 1 (high)."""
        turn = np.log if self.log else np.asarray
        low, high = turn(self.low), turn(self.high)
        if high <= low:
            return np.full(np.shape(positions), 0.5)
        return np.asarray((turn(np.asarray(positions, dtype=float)) - low) / (high - low))

    def place(self, value: Any) -> float:
        """A value between 0 and 1, at an end where it lies beyond."""
        at = float(self.unit(np.array(self.position(value))))
        return at if np.isnan(at) else min(max(at, 0.0), 1.0)

    def grid(self) -> np.ndarray:
        """Positions to draw a surface at."""
        if self.categories:
            return np.arange(len(self.categories), dtype=float)
        space = np.geomspace if self.log else np.linspace
        return np.asarray(space(self.low, self.high, GRID))

    def ticks(self) -> list[tuple[float, str]]:
        """A few places between 0 and 1 with their labels."""
        if self.categories:
            return [(self.place(one), str(one)) for one in self.categories]
        space = np.geomspace if self.log else np.linspace
        shown = space(self.low, self.high, 4) if self.high > self.low else [self.low]
        return [(self.place(one), f"{one:.3g}") for one in shown]

    def limit(self, axis: Axes, which: str) -> tuple[float, float]:
        """Set limits, kind and ticks of one side of a plot; its limits are returned."""
        get = getattr(axis, f"set_{which}lim")
        side = getattr(axis, f"{which}axis")
        if self.categories:
            limits = self.low, self.high
            side.set_ticks(range(len(self.categories)), [_told(one) for one in self.categories])
            if which == "x" and sum(len(_told(one)) for one in self.categories) > 22:
                axis.tick_params(axis="x", rotation=25)
        elif self.log:
            getattr(axis, f"set_{which}scale")("log")
            room = (self.high / self.low) ** 0.04 if self.high > self.low else 1.5
            limits = self.low / room, self.high * room
        else:
            room = 0.05 * (self.high - self.low) or 0.1 * abs(self.low) or 1.0
            limits = self.low - room, self.high + room
            if which == "x":
                axis.locator_params(axis="x", nbins=5)
        get(*limits)
        return limits


def _told(category: Any) -> str:
    text = str(category)
    return text if len(text) <= 12 else f"{text[:11]}…"
