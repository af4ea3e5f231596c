"""How readings of glucose sensors become a panel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from tsfm.data import frequency
from tsfm.errors import ConfigError, one_of

ALL = "all"
FORMATS = ("auto", "table", "brist1d", "ohio", "dexcom", "libreview", "nightscout")
BAD_VALUES = ("repair", "refuse")
SATURATED = ("keep", "unobserved")
CARBOHYDRATE_CURVES = ("parabolic", "hovorka", "linear")
IMPUTATIONS = ("none", "mean", "median", "forward_fill", "interpolate")


@dataclass(frozen=True, kw_only=True)
class CgmConfig:
    """What is read, how it is repaired, and what is made of it.

    Attributes
    ----------
    name
        Of the panel.
    format
        Of files: ``auto`` (by a look at them) or one of :data:`FORMATS`.
    columns
        Column by role, where the guess is wrong: ``{"glucose": "bg_mM", "insulin": "dose_units"}``;
        an empty column takes a role away.
    units
        ``mg/dL``, ``mmol/L``, or ``auto``: by the column's name and values, refused if unclear.
    date_format
        Of times as text, as ``strptime`` writes it, where it cannot be told.
    timezone
        An IANA name. Times are then kept on a clock that is never changed, at the zone's offset of
        each person's first reading, so that no hour repeats or is missing. Empty: as they are.
    resolution_minutes
        Of the panel's grid; 0: the data's own, the same for everybody.
    covariates
        Kept beside glucose, in this order, as past covariates; ``("all",)``: what there is.
    known_covariates
        Those that forecasters are told of the future as well: only what is announced. Insulin and
        carbohydrates are past-only unless they are named here.
    announced
        Go on after the last reading of glucose as far as these are announced.
    insulin_minutes, insulin_peak_minutes, insulin_delay_minutes
        Of the curve of insulin action, for IOB made from doses.
    carbohydrate_curve, carbohydrate_minutes
        Of absorption, for COB made from carbohydrates: ``parabolic`` and ``linear`` end after so
        many minutes; those of ``hovorka`` are the time of the maximal rate.
    bad_values
        Cells without a number and readings outside 10–1000 mg/dL: ``repair`` makes them
        unobserved and counts them, ``refuse`` raises.
    bad_share
        Repaired up to this share of one person's readings; more is refused.
    saturated
        Readings at the sensor's limits, LOW and HIGH (39 and 401 mg/dL): ``keep``, or
        ``unobserved``.
    clock_hours
        A clock may go back so far (summer time, a corrected clock); further is refused.
    long_gap_hours
        Gaps from here on are listed one by one.
    min_readings
        People with fewer are left out, and named in the report.
    bad_people
        Whether a person who cannot be read is refused, or left out and named: ``refuse``,
        ``leave_out``.
    imputation, imputation_steps
        Of contexts, never of what is scored: see :func:`tsfm.data.glucose.imputation.impute`.
    forecast_units
        In which forecasts are handed back.

    Raises
    ------
    ConfigError
        When a value is not allowed.
    """

    name: str = "cgm"
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    units: str = "auto"
    date_format: str = ""
    timezone: str = ""
    resolution_minutes: int = 5
    covariates: tuple[str, ...] = (ALL,)
    known_covariates: tuple[str, ...] = ()
    announced: bool = False
    insulin_minutes: float = 360.0
    insulin_peak_minutes: float = 75.0
    insulin_delay_minutes: float = 10.0
    carbohydrate_curve: str = "parabolic"
    carbohydrate_minutes: float = 180.0
    bad_values: str = "repair"
    bad_share: float = 0.05
    saturated: str = "keep"
    clock_hours: float = 24.0
    long_gap_hours: float = 72.0
    min_readings: int = 24
    bad_people: str = "refuse"
    imputation: str = "none"
    imputation_steps: int = 0
    forecast_units: str = "mg/dL"

    def __post_init__(self) -> None:
        for key in ("covariates", "known_covariates"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        object.__setattr__(self, "columns", dict(self.columns))
        one_of("format", self.format, FORMATS)
        one_of("units", self.units, ("auto", "mg/dL", "mmol/L"))
        one_of("forecast_units", self.forecast_units, ("mg/dL", "mmol/L"))
        one_of("bad_values", self.bad_values, BAD_VALUES)
        one_of("saturated", self.saturated, SATURATED)
        one_of("carbohydrate_curve", self.carbohydrate_curve, CARBOHYDRATE_CURVES)
        one_of("imputation", self.imputation, IMPUTATIONS)
        one_of("bad_people", self.bad_people, ("refuse", "leave_out"))
        if not self.name:
            raise ConfigError("a panel needs a name", remedy="give name=")
        if int(self.resolution_minutes) != self.resolution_minutes or not (
            0 <= self.resolution_minutes <= 60
        ):
            raise ConfigError(
                f"resolution_minutes={self.resolution_minutes} is no resolution of a sensor",
                remedy="give 5, another number up to 60, or 0 for the data's own",
            )
        self._check_curves()
        if not 0 <= self.bad_share < 1:
            raise ConfigError(f"bad_share={self.bad_share} lies outside [0, 1)")
        if self.min_readings < 2 or self.clock_hours < 0 or self.long_gap_hours <= 0:
            raise ConfigError(
                f"min_readings={self.min_readings}, clock_hours={self.clock_hours}, "
                f"long_gap_hours={self.long_gap_hours} cannot be used",
                remedy="give at least 2 readings, 0 hours and some hours",
            )
        reaching = self.imputation in ("forward_fill", "interpolate")
        if reaching != (self.imputation_steps > 0) or self.imputation_steps < 0:
            raise ConfigError(
                f"imputation={self.imputation} with imputation_steps={self.imputation_steps}",
                remedy="give forward_fill or interpolate and the steps it may reach, or another "
                "imputation and none",
            )

    def _check_curves(self) -> None:
        peak, duration = self.insulin_peak_minutes, self.insulin_minutes
        if not 0 < 2 * peak < duration or self.insulin_delay_minutes < 0:
            raise ConfigError(
                f"insulin that peaks after {peak:g} of {duration:g} minutes has no curve",
                remedy="give a peak before half of the duration, such as 75 of 360",
            )
        if not 0 < self.carbohydrate_minutes <= 1440:
            raise ConfigError(
                f"carbohydrate_minutes={self.carbohydrate_minutes} lies outside (0, 1440]"
            )

    def with_text(self, *, columns: str = "", timezone: str = "", strict: bool = False) -> Self:
        """With what a command line says.

        Parameters
        ----------
        columns
            ``glucose:bg_mM,item_id:p_num``.
        strict
            Refuse bad values instead of repairing them.

        Raises
        ------
        ConfigError
            When the columns are not such pairs.
        """
        pairs = [pair.partition(":") for pair in columns.split(",") if pair.strip()]
        if not all(colon for _, colon, _ in pairs):
            raise ConfigError(f"columns={columns!r}", remedy="write glucose:bg_mM,item_id:id")
        given = {role.strip(): column.strip() for role, _, column in pairs}
        return replace(
            self,
            columns={**self.columns, **given},
            timezone=timezone or self.timezone,
            bad_values="refuse" if strict else self.bad_values,
        )

    @property
    def freq(self) -> str:
        """The pandas alias of the grid, where it is given."""
        alias = f"{int(self.resolution_minutes)}min"
        frequency.to_offset(alias)
        return alias
