"""How forecasts of glucose are judged: checked before anything is forecast."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm.data.glucose.columns import GLUCOSE
from tsfm.data.glucose.units import MG_DL, UNITS
from tsfm.errors import ConfigError, one_of


@dataclass(frozen=True, kw_only=True)
class ClinicalConfig:
    """What :mod:`tsfm.evaluation.clinical` and the modules beside it measure.

    Attributes
    ----------
    variate
        The target that is glucose.
    units
        Of the panel, ``mg/dL`` or ``mmol/L``; everything is reported in mg/dL.
    minutes
        Times after the origin at which errors are reported, beside the whole horizon.
    resolution_minutes
        Of a panel without dates; 0: told by the dates.
    low, very_low, high
        Limits of the target range and of level 2 hypoglycaemia, mg/dL (Battelino et al. 2019).
    event_minutes
        How long glucose stays below a limit for an event (15: the consensus of Battelino et al.
        2023); one reading is enough where this is no longer than the resolution.
    exclude_ongoing
        Leave out windows whose origin is already below the limit: nothing is foreseen there.
    least_observed
        Share of the horizon that must be observed to say that there was no event.
    false_alarm_rate
        Share of quiet windows with an alarm at which sensitivity and lead time are reported.
    night_start, night_end
        Hours of the local clock between which a night's forecast is made.
    night_minutes
        How far it reaches.
    confidence, replicates, seed
        Of the bootstrap over patients.

    Raises
    ------
    ConfigError
        When a value is out of its range.
    """

    variate: str = GLUCOSE
    units: str = MG_DL
    minutes: tuple[int, ...] = (15, 30, 45, 60)
    resolution_minutes: int = 0
    low: float = 70.0
    very_low: float = 54.0
    high: float = 180.0
    event_minutes: int = 15
    exclude_ongoing: bool = True
    least_observed: float = 0.7
    false_alarm_rate: float = 0.1
    night_start: float = 22.0
    night_end: float = 24.0
    night_minutes: int = 480
    confidence: float = 0.95
    replicates: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "minutes", tuple(int(one) for one in self.minutes))
        one_of("units", self.units, UNITS)
        shown = self.minutes
        if not shown or shown[0] < 1 or list(shown) != sorted(set(shown)):
            self._refuse("minutes", "increasing times after the origin, such as (15, 30, 60)")
        if not 0 < self.very_low < self.low < self.high:
            raise ConfigError(
                f"very_low={self.very_low}, low={self.low}, high={self.high} do not increase",
                where=_WHERE,
                remedy="give mg/dL, such as 54, 70 and 180",
            )
        if not 0 <= self.night_start < self.night_end <= 24:
            raise ConfigError(
                f"night_start={self.night_start}, night_end={self.night_end} are no hours of a day",
                where=_WHERE,
                remedy="give increasing hours from 0 to 24, such as 22 and 24",
            )
        least = {"event_minutes": 1, "night_minutes": 1, "replicates": 1}
        for name, least_value in (least | {"resolution_minutes": 0, "seed": 0}).items():
            if getattr(self, name) < least_value:
                self._refuse(name, f"at least {least_value}")
        for name in ("least_observed", "false_alarm_rate", "confidence"):
            if not 0 < getattr(self, name) <= 1:
                self._refuse(name, "a share, above 0 and at most 1")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ConfigError(
            f"{name}={getattr(self, name)} is out of range", where=_WHERE, remedy=f"give {allowed}"
        )


_WHERE = "judging of glucose"
