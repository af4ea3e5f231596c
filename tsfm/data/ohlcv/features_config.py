"""Which features are made of bars: a YAML file, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self, cast

from tsfm.data.ohlcv.fitted_config import RegimesConfig, SelectionConfig
from tsfm.errors import ConfigError, one_of

PACKAGED = ("default", "none")
BAR_COLUMNS = ("open", "high", "low", "close", "volume")
RELATIONS = ("none", "ratio", "spread", "band", "flow")
TRANSFORMS = (
    "log_return",
    "volatility",
    "parkinson",
    "garman_klass",
    "rogers_satchell",
    "volume_z",
    "amihud",
)
MARKET_FEATURES = ("basket_return", "correlation", "beta")
CALENDAR_FEATURES = ("time_of_day", "day_of_week", "day_of_year", "session")
MAX_WINDOW = 100_000


@dataclass(frozen=True, kw_only=True)
class IndicatorConfig:
    """One TA-Lib function and what its values are expressed relative to.

    Attributes
    ----------
    function
        Any of TA-Lib's, upper or lower case.
    parameters
        By TA-Lib's names; the others keep TA-Lib's defaults.
    inputs
        Bar columns in the order of the function's inputs; empty: TA-Lib's own.
    outputs
        Some of a function's outputs, by TA-Lib's names; empty: all.
    name
        Of the column, or the prefix of several; empty: made of function and parameters.
    relation
        ``none``: the value itself; ``ratio``: log(value / close), for levels of price; ``spread``:
        value / close, for differences of prices; ``band``: of an upper, middle and lower band, the
        close's position between the outer two and their distance / middle; ``flow``: the change
        over ``span`` bars / volume traded in them, for running totals of volume.
    offset, scale
        The feature is (value − offset) / scale.
    span
        Bars of ``flow``.
    """

    function: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    name: str = ""
    relation: str = "none"
    offset: float = 0.0
    scale: float = 1.0
    span: int = 20

    def __post_init__(self) -> None:
        where = f"indicator {self.function}"
        object.__setattr__(self, "function", str(self.function).upper())
        object.__setattr__(self, "inputs", _names(self.inputs, f"{where}, inputs"))
        object.__setattr__(self, "outputs", _names(self.outputs, f"{where}, outputs"))
        if not isinstance(self.parameters, Mapping):
            raise ConfigError(
                f"parameters={self.parameters!r} is not a mapping",
                where=where,
                remedy="give for example {timeperiod: 14}",
            )
        object.__setattr__(self, "parameters", dict(self.parameters))
        for key, value in self.parameters.items():
            _number(value, f"{where}, {key}")
        for column in self.inputs:
            one_of(f"{where}, inputs", column, BAR_COLUMNS)
        one_of(f"{where}, relation", self.relation, RELATIONS)
        _number(self.offset, f"{where}, offset")
        _number(self.scale, f"{where}, scale")
        if self.scale == 0:
            raise ConfigError("scale=0 divides by zero", where=where)
        _window(self.span, f"{where}, span")


@dataclass(frozen=True, kw_only=True)
class TransformConfig:
    """A transform of returns, ranges or volume over the latest ``window`` bars.

    Attributes
    ----------
    kind
        ``log_return`` over ``window`` bars; ``volatility``: root mean square of one-bar log
        returns; ``parkinson``, ``garman_klass``, ``rogers_satchell``: volatility of one bar from
        ranges (Parkinson 1980, Garman and Klass 1980, Rogers and Satchell 1991); ``volume_z``: log
        volume, standardised by the window; ``amihud``: log of illiquidity (absolute return per
        traded value: Amihud 2002) over the window relative to six windows.
    """

    kind: str
    window: int

    def __post_init__(self) -> None:
        one_of("kind", self.kind, TRANSFORMS)
        _window(self.window, f"transform {self.kind}")
        if self.kind == "volume_z" and self.window < 3:
            raise ConfigError(
                f"window={self.window} bars cannot standardise volume",
                where="transform volume_z",
                remedy="give at least 3",
            )

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.window}"


@dataclass(frozen=True, kw_only=True)
class MarketConfig:
    """Features of an asset beside all others.

    Attributes
    ----------
    window
        Bars of basket return, correlation and beta.
    features
        Some of ``basket_return``, ``correlation`` and ``beta``; the basket is the equal-weighted
        mean of the other assets' log returns.
    ranks
        Transforms whose percentile rank among all assets at a time is a feature.
    """

    window: int = 60
    features: tuple[str, ...] = ()
    ranks: tuple[TransformConfig, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _names(self.features, "market.features"))
        object.__setattr__(self, "ranks", _each(TransformConfig, self.ranks, "market.ranks"))
        _window(self.window, "market")
        if self.window < 3:
            raise ConfigError(f"market.window={self.window} is too short", remedy="give at least 3")
        for name in self.features:
            one_of("market.features", name, MARKET_FEATURES)

    @property
    def names(self) -> tuple[str, ...]:
        windowed = tuple(f"{name}_{self.window}" for name in self.features)
        return (*windowed, *(f"rank_{rank.name}" for rank in self.ranks))


@dataclass(frozen=True, kw_only=True)
class CalendarConfig:
    """Known covariates: functions of timestamps alone.

    Attributes
    ----------
    features
        Some of ``time_of_day``, ``day_of_week``, ``day_of_year`` (a sine and a cosine each) and
        ``session`` (the share of the session still to come).
    timezone
        In which days begin and times are told: an exchange's, such as ``America/New_York``.
    """

    features: tuple[str, ...] = ()
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        from zoneinfo import ZoneInfo

        object.__setattr__(self, "features", _names(self.features, "calendar.features"))
        for name in self.features:
            one_of("calendar.features", name, CALENDAR_FEATURES)
        try:
            ZoneInfo(self.timezone)
        except (ValueError, TypeError, OSError, LookupError) as error:
            raise ConfigError(
                f"calendar.timezone={self.timezone!r} is not known",
                remedy="give a name such as UTC or America/New_York",
            ) from error

    @property
    def names(self) -> tuple[str, ...]:
        made: list[str] = []
        for name in self.features:
            made += ["session_remaining"] if name == "session" else [f"{name}_sin", f"{name}_cos"]
        return tuple(made)


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """A set of features.

    Attributes
    ----------
    name
        Of the set, recorded with what is made by it.
    indicators
        Of TA-Lib.
    transforms
        Of returns, ranges and volume.
    market
        Beside other assets.
    calendar
        Known ahead.
    regimes
        Fitted on the training period; none: no regimes.
    selection
        Fitted on the training period; none: every feature is kept.
    """

    name: str = "features"
    indicators: tuple[IndicatorConfig, ...] = ()
    transforms: tuple[TransformConfig, ...] = ()
    market: MarketConfig = field(default_factory=MarketConfig)
    calendar: CalendarConfig = field(default_factory=CalendarConfig)
    regimes: RegimesConfig | None = None
    selection: SelectionConfig | None = None

    def __post_init__(self) -> None:
        parts: dict[str, Any] = {
            "indicators": _each(IndicatorConfig, self.indicators, "indicators"),
            "transforms": _each(TransformConfig, self.transforms, "transforms"),
            "market": _made(MarketConfig, self.market, "market"),
            "calendar": _made(CalendarConfig, self.calendar, "calendar"),
        }
        optional = (("regimes", RegimesConfig), ("selection", SelectionConfig))
        for key, kind in optional:
            value = getattr(self, key)
            parts[key] = None if value is None else _made(cast(type, kind), value, key)
        for key, value in parts.items():
            object.__setattr__(self, key, value)

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | FeatureConfig) -> FeatureConfig:
        """A packaged set (``default``, ``none``), a YAML file, or a mapping of the same shape.

        Raises
        ------
        ConfigError
            When the file is missing or no YAML, a key is unknown, a value is out of range, or
            TA-Lib has no such function, parameter, input or output (the nearest names are told).
        """
        from tsfm.data.ohlcv.features import Features

        if isinstance(source, FeatureConfig):
            config = source
        elif isinstance(source, Mapping):
            config = cls.from_mapping(source, "features")
        else:
            config = cls.from_mapping(_read(source), str(source))
        Features(config)
        return config

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Self:
        return _made(cls, values, where)

    def to_mapping(self) -> dict[str, Any]:
        """JSON values that :meth:`from_mapping` reads."""
        return asdict(self)


def _read(source: str | Path) -> Mapping[str, Any]:
    import yaml

    packaged = Path(__file__).with_name("feature_sets")
    path = packaged / f"{source}.yaml" if str(source) in PACKAGED else Path(source)
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise ConfigError(
            f"features={str(source)!r} cannot be read: {error.strerror}",
            remedy=f"give a YAML file, or one of {', '.join(PACKAGED)}",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not a YAML file: {error}", where=str(path)) from error
    if not isinstance(values, Mapping):
        raise ConfigError(
            "the file is not a mapping",
            where=str(path),
            remedy="give the keys indicators, transforms, market, calendar",
        )
    return values


def _made(kind: type, values: Any, where: str) -> Any:
    if isinstance(values, kind):
        return values
    known = [item.name for item in fields(kind)]
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{values!r} is not a mapping", where=where, remedy=f"its keys are {', '.join(known)}"
        )
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)} is not known",
            where=where,
            remedy=f"choose from {', '.join(known)}",
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(
            f"{dict(values)} is incomplete: {error}",
            where=where,
            remedy=f"its keys are {', '.join(known)}",
        ) from error


def _each(kind: type, values: Any, where: str) -> tuple[Any, ...]:
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise ConfigError(f"{values!r} is not a list", where=where)
    return tuple(_made(kind, value, f"{where}, entry {k + 1}") for k, value in enumerate(values))


def _names(values: Any, where: str) -> tuple[str, ...]:
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise ConfigError(f"{values!r} is not a list of names", where=where)
    return tuple(str(value) for value in values)


def _number(value: Any, where: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ConfigError(f"{value!r} is not a finite number", where=where)


def _window(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WINDOW:
        raise ConfigError(
            f"{value!r} is not a number of bars",
            where=where,
            remedy=f"give a whole number from 1 to {MAX_WINDOW}",
        )
