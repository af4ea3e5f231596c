"""What a virtual cohort is asked for: patients, days, how they eat, dose and measure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tsfm.errors import ConfigError, one_of

SENSORS = ("Dexcom", "GuardianRT", "Navigator", "exact")
PUMPS = ("Insulet", "Cozmo")


def _expect_range(where: str, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name}={value} lies outside {low} … {high}", where=where)


@dataclass(frozen=True, kw_only=True)
class Meal:
    """A meal of the day, eaten at about the same time.

    Attributes
    ----------
    name
        For people.
    probability
        That it is eaten: one minus the share that is skipped.
    earliest, hour, latest, spread_hours
        Its time of day: a normal of mean ``hour``, cut off at both ends.
    grams, spread_grams
        Mean and standard deviation of its carbohydrates, rounded to grams.
    """

    name: str
    probability: float
    earliest: float
    hour: float
    latest: float
    spread_hours: float
    grams: float
    spread_grams: float

    def __post_init__(self) -> None:
        where = f"meal {self.name}"
        if not 0 <= self.earliest < self.latest <= 24:
            raise ConfigError(
                f"hours {self.earliest} to {self.latest} are no part of a day",
                where=where,
                remedy="give 0 ≤ earliest < latest ≤ 24",
            )
        if not self.earliest <= self.hour <= self.latest:
            raise ConfigError(
                f"hour={self.hour} lies outside {self.earliest} to {self.latest}", where=where
            )
        _expect_range(where, "probability", self.probability, 0, 1)
        for name in ("spread_hours", "grams", "spread_grams"):
            _expect_range(where, name, getattr(self, name), 0, 1000)


def _main(name: str, earliest: float, hour: float, latest: float, grams: float) -> Meal:
    return Meal(
        name=name,
        probability=0.95,
        earliest=earliest,
        hour=hour,
        latest=latest,
        spread_hours=1.0,
        grams=grams,
        spread_grams=10.0,
    )


def _snack(name: str, earliest: float, hour: float, latest: float) -> Meal:
    return Meal(
        name=name,
        probability=0.3,
        earliest=earliest,
        hour=hour,
        latest=latest,
        spread_hours=0.5,
        grams=10.0,
        spread_grams=5.0,
    )


DAY = (
    _main("breakfast", 5, 7, 9, 45),
    _snack("morning snack", 9, 9.5, 10),
    _main("lunch", 10, 12, 14, 70),
    _snack("afternoon snack", 14, 15, 16),
    _main("dinner", 16, 18, 20, 80),
    _snack("evening snack", 20, 21.5, 23),
)
"""The day of simglucose's random scenario."""


@dataclass(frozen=True, kw_only=True)
class ScenarioConfig:
    """How days differ.

    Attributes
    ----------
    meals
        Of every day, drawn anew each day.
    variability
        Factor of all spreads of times and grams: 0 makes every day's meals alike.
    skipping
        Share of the meals that are skipped beside those that their probabilities leave out.
    """

    meals: tuple[Meal, ...] = DAY
    variability: float = 1.0
    skipping: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "meals", tuple(self.meals))
        _expect_range("scenario", "variability", self.variability, 0, 10)
        _expect_range("scenario", "skipping", self.skipping, 0, 1)


@dataclass(frozen=True, kw_only=True)
class ControllerConfig:
    """How insulin is dosed: constant basal, a bolus for what is announced at every meal.

    Attributes
    ----------
    announcement_error
        Standard deviation of announced over eaten carbohydrates; 0.2 is about what adults
        achieve (Brazeau et al., Diabetes Res. Clin. Pract. 99:19, 2013: 21 % mean error).
    announcement_bias
        Mean of that ratio, less one; negative underestimates.
    missed_boluses
        Share of the meals with neither announcement nor bolus.
    correct_above, target
        At a meal, glucose measured above ``correct_above`` adds what brings it down to
        ``target`` by the patient's correction factor. mg/dL; those of simglucose.
    rescue_below, rescue_grams, rescue_wait
        Measured glucose below this many mg/dL is treated with so many grams of carbohydrates,
        again after so many minutes (15 g every 15 min: American Diabetes Association, Standards
        of Care). ``rescue_grams=0`` leaves hypoglycaemia untreated.
    pump
        Smallest steps and largest doses: ``Insulet`` or ``Cozmo``.
    """

    announcement_error: float = 0.2
    announcement_bias: float = 0.0
    missed_boluses: float = 0.05
    correct_above: float = 150.0
    target: float = 140.0
    rescue_below: float = 70.0
    rescue_grams: float = 15.0
    rescue_wait: float = 15.0
    pump: str = "Insulet"

    def __post_init__(self) -> None:
        one_of("pump", self.pump, PUMPS)
        for name, low, high in (
            ("announcement_error", 0, 1),
            ("announcement_bias", -1, 1),
            ("missed_boluses", 0, 1),
            ("correct_above", 70, 1000),
            ("target", 70, 300),
            ("rescue_below", 0, 120),
            ("rescue_grams", 0, 100),
            ("rescue_wait", 5, 1440),
        ):
            _expect_range("controller", name, getattr(self, name), low, high)


EXACT = ControllerConfig(announcement_error=0.0, missed_boluses=0.0)
"""Basal-bolus therapy of a patient who counts carbohydrates without error and forgets none."""


@dataclass(frozen=True, kw_only=True)
class CohortConfig:
    """Virtual patients over many days; the same configuration gives the same cohort.

    Attributes
    ----------
    patients
        Names (``adult#001``) or groups (``adult``, ``adolescent``, ``child``); empty: all thirty.
    days
        Of every patient; a day before them is simulated and dropped.
    seed
        Of everything that is drawn. A patient's days do not depend on who else is in the cohort,
        nor on how many days follow.
    start
        Day of the first measurement.
    sensor
        Whose errors the measurements have: ``Dexcom``, ``GuardianRT``, ``Navigator``; ``exact``:
        none.
    scenario, controller
        Meals and doses.
    truth
        Adds past covariates ``plasma_glucose`` and ``carbohydrates_eaten``, which no real patient
        knows.
    """

    patients: tuple[str, ...] = ()
    days: int = 14
    seed: int = 0
    start: str = "2024-01-01"
    sensor: str = "Dexcom"
    scenario: ScenarioConfig = field(default_factory=ScenarioConfig)
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    truth: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "patients", tuple(self.patients))
        one_of("sensor", self.sensor, SENSORS)
        for name, low in (("days", 1), ("seed", 0)):
            value = getattr(self, name)
            if int(value) != value or value < low:
                raise ConfigError(f"{name}={value!r} is not a whole number of {low} or more")
        _expect_day(self.start)


def _expect_day(start: str) -> None:
    import pandas as pd

    try:
        moment = pd.Timestamp(start)
    except ValueError as error:
        raise ConfigError(
            f"start={start!r} is not a date", remedy="give one like 2024-01-01"
        ) from error
    if moment is pd.NaT or moment != moment.normalize() or moment.tzinfo is not None:
        raise ConfigError(f"start={start!r} is not a day", remedy="give one like 2024-01-01")
