"""TA-Lib's functions as polars expressions, relative to the price's scale.

The values are TA-Lib's own (C library, called by the polars-talib plugin); this module checks
names and parameters before anything runs, and measures how many bars a recursive function needs
until its values no longer depend on where the series began.
"""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from tsfm.data.ohlcv.features_config import BAR_COLUMNS, IndicatorConfig
from tsfm.errors import ConfigError

BANDS = ("upperband", "middleband", "lowerband")
WALK, CUTS, TOLERANCE = 6000, (1500, 2100, 2900), 1e-3


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """A checked indicator: what to compute within a symbol, and what to make of it.

    Attributes
    ----------
    raw
        Of one symbol's observed bars, by the name of the column it is kept in; TA-Lib's may hold
        several outputs.
    columns
        From the raw columns and the bars, by feature name.
    uses_volume
        Whether volume is among the inputs.
    """

    raw: Mapping[str, pl.Expr]
    columns: Mapping[str, pl.Expr]
    uses_volume: bool


def indicator(config: IndicatorConfig) -> Indicator:
    """Look a function up and check all that is asked of it.

    Raises
    ------
    ConfigError
        When TA-Lib has no such function, parameter, input or output, naming the nearest; or a
        parameter is out of TA-Lib's range.
    """
    import polars_talib

    where = f"indicator {config.function}"
    symbol = _known(config.function.lower(), polars_talib.get_functions(), "function", where, True)
    function = getattr(polars_talib, symbol)
    signature = inspect.signature(function).parameters
    inputs = [name for name, value in signature.items() if isinstance(value.default, pl.Expr)]
    allowed = [name for name in signature if name not in inputs]
    for name in config.parameters:
        _known(name, allowed, "parameter", where)
    columns = config.inputs or tuple(signature[name].default.meta.output_name() for name in inputs)
    if len(columns) != len(inputs) or not set(columns) <= set(BAR_COLUMNS):
        raise ConfigError(
            f"inputs {list(columns)} do not fit {', '.join(inputs)}",
            where=where,
            remedy=f"give {len(inputs)} of {', '.join(BAR_COLUMNS)}",
        )
    held = polars_talib.get_functions_output_struct().get(symbol, ())
    for name in config.outputs:
        _known(name, held or ("real",), "output", where)
    raw = _called(function, columns, _typed(config.parameters, signature), where)
    prefix = _prefix(config, columns)
    key = f"_ta_{prefix}"
    kept = {key: raw}
    if config.relation == "flow":
        kept[f"{key}_traded"] = pl.col("volume").rolling_sum(config.span)
    return Indicator(
        raw=kept,
        columns=_columns(config, prefix, key, held, where),
        uses_volume="volume" in columns or config.relation == "flow",
    )


def _called(
    function: Any, columns: tuple[str, ...], parameters: Mapping[str, float], where: str
) -> pl.Expr:
    """The plugin's expression, refused where TA-Lib itself would fail later."""
    from polars_talib._polars_talib import lookback

    try:
        raw = function(*(pl.col(column) for column in columns), **parameters)
        reach = lookback(function.__name__, dict(parameters) or None)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(str(error), where=where) from error
    if reach < 0:
        raise ConfigError(
            f"parameters {dict(parameters)} are out of TA-Lib's range",
            where=where,
            remedy=f"its defaults are {_defaults(function)}",
        )
    return raw


def _typed(parameters: Mapping[str, float], signature: Mapping[str, Any]) -> dict[str, float]:
    """Decimal parameters as TA-Lib's doubles; whole numbers are checked by the plugin."""
    return {
        name: float(value) if isinstance(signature[name].default, float) else value
        for name, value in parameters.items()
    }


def _defaults(function: Any) -> dict[str, Any]:
    signature = inspect.signature(function).parameters.items()
    return {name: p.default for name, p in signature if not isinstance(p.default, pl.Expr)}


def _prefix(config: IndicatorConfig, columns: tuple[str, ...]) -> str:
    if config.name:
        return config.name
    own = columns if config.inputs else ()
    numbers = [f"{value:g}" for value in config.parameters.values()]
    span = [str(config.span)] if config.relation == "flow" else []
    return "_".join([config.function.lower(), *own, *numbers, *span])


def _columns(
    config: IndicatorConfig, prefix: str, key: str, held: tuple[str, ...], where: str
) -> dict[str, pl.Expr]:
    close = pl.col("close")
    made: dict[str, pl.Expr]
    if config.relation == "flow":
        if held:
            raise ConfigError("relation=flow needs a function with one output", where=where)
        traded = pl.col(f"{key}_traded")
        change = pl.col(key) - pl.col(key).shift(config.span)
        made = {prefix: pl.when(traded > 0).then(change / traded)}
    elif config.relation == "band":
        if not set(BANDS) <= set(held):
            raise ConfigError(
                f"relation=band needs outputs {', '.join(BANDS)}",
                where=where,
                remedy="use it with BBANDS or ACCBANDS",
            )
        upper, middle, lower = (pl.col(key).struct.field(name) for name in BANDS)
        made = {
            f"{prefix}_position": (close - lower) / (upper - lower),
            f"{prefix}_width": (upper - lower) / middle,
        }
    else:
        names = config.outputs or tuple(held) or ("real",)
        values = {
            f"{prefix}_{name}" if len(names) > 1 or (held and not config.name) else prefix: (
                pl.col(key).struct.field(name) if held else pl.col(key)
            )
            for name in names
        }
        relative = {
            "ratio": lambda value: (value / close).log(),
            "spread": lambda value: value / close,
        }.get(config.relation, lambda value: value)
        made = {name: relative(value) for name, value in values.items()}
    return {name: (value - config.offset) / config.scale for name, value in made.items()}


def _known(name: str, allowed: Iterable[str], kind: str, where: str, upper: bool = False) -> str:
    options = list(allowed)
    if name in options:
        return name
    shown = (lambda text: text.upper()) if upper else (lambda text: text)
    near = difflib.get_close_matches(name, options, n=5, cutoff=0.5) or options[:10]
    nearest = ", ".join(shown(option) for option in near)
    raise ConfigError(
        f"TA-Lib has no {kind} {shown(name)!r}" + ("" if kind == "function" else " here"),
        where=where,
        remedy=f"the nearest are {nearest}" if near else f"it takes no {kind}",
    )


def warm_up(config: IndicatorConfig) -> Mapping[str, int]:
    """Bars at the start of a series whose values are not yet the function's own.

    Measured once on a seeded random walk: by then, values from series that began at three later
    bars differ from those of the whole by less than a thousandth of their standard deviation, for
    good. For functions of a window it is TA-Lib's lookback.

    Raises
    ------
    ConfigError
        When values depend on the whole past for ever, such as a running total's.
    """
    return _measured(json.dumps(asdict(config)))


@lru_cache(maxsize=512)
def _measured(text: str) -> Mapping[str, int]:
    """By the config's JSON: its dictionaries have no hash."""
    config = IndicatorConfig(**json.loads(text))
    made = indicator(config)
    whole = _values(made, _walk())
    longest = np.zeros(len(made.columns), np.int64)
    for cut in CUTS:
        longest = np.maximum(longest, _settled(whole[:, cut:], _values(made, _walk()[cut:])))
    most = (WALK - max(CUTS)) // 2
    needed = {name: int(bars) for name, bars in zip(made.columns, longest)}
    for name, bars in needed.items():
        if bars > most:
            raise ConfigError(
                f"{name} depends on where the series began for more than {most} bars",
                where=f"indicator {config.function}",
                remedy="use relation: flow for running totals of volume, or shorter periods",
            )
    return needed


def _settled(whole: np.ndarray, late: np.ndarray) -> np.ndarray:
    """The first bar from which each row of ``late`` equals ``whole`` for good."""
    spread = np.nanstd(whole, axis=1, keepdims=True)
    equal = np.abs(whole - late) <= TOLERANCE * spread + 1e-12
    unequal_from_end = np.argmax(~equal[:, ::-1], axis=1)
    return np.where(equal.all(axis=1), 0, late.shape[1] - unequal_from_end)


def _values(made: Indicator, bars: pl.DataFrame) -> np.ndarray:
    raw = bars.with_columns(**made.raw)
    columns = raw.select(value.cast(pl.Float64).alias(name) for name, value in made.columns.items())
    return columns.fill_null(np.nan).to_numpy().T


@lru_cache(maxsize=1)
def _walk() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    steps = 0.004 * rng.standard_t(4, (WALK, 4))
    path = np.exp(4 + steps.cumsum().reshape(WALK, 4))
    volume = rng.lognormal(8, 0.6, WALK)
    return pl.DataFrame(
        {
            "open": path[:, 0],
            "high": path.max(axis=1),
            "low": path.min(axis=1),
            "close": path[:, 3],
            "volume": volume,
        }
    )
