"""TA-Lib's functions by name: equal to TA-Lib, checked before anything runs."""

import numpy as np
import polars as pl
import pytest
from support.market_bars import market_bars

from tsfm.data.ohlcv.features_config import FeatureConfig, IndicatorConfig
from tsfm.data.ohlcv.indicators import indicator, warm_up
from tsfm.errors import ConfigError

talib = pytest.importorskip("talib")
abstract = pytest.importorskip("talib.abstract")

DEFAULT = FeatureConfig.load("default").indicators
OTHERS = (
    IndicatorConfig(function="ATR", parameters={"timeperiod": 10}, relation="spread"),
    IndicatorConfig(function="ema", parameters={"timeperiod": 20}),
    IndicatorConfig(function="SMA", inputs=("volume",), parameters={"timeperiod": 5}),
    IndicatorConfig(function="STOCH"),
    IndicatorConfig(function="CDLDOJI"),
    IndicatorConfig(function="BETA", inputs=("high", "open")),
    IndicatorConfig(function="KAMA"),
)


def computed(config: IndicatorConfig, bars: pl.DataFrame) -> pl.DataFrame:
    made = indicator(config)
    raw = bars.with_columns(value.over("symbol").alias(key) for key, value in made.raw.items())
    return raw.select("symbol", **made.columns)


def by_talib(config: IndicatorConfig, bars: pl.DataFrame) -> np.ndarray:
    """Outputs of the library itself, relative to the close as documented, ``[column, bar]``."""
    columns = {name: bars[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    function = abstract.Function(config.function)
    default = [name for value in function.input_names.values() for name in np.atleast_1d(value)]
    inputs = [columns[name] for name in config.inputs or default]
    values = getattr(talib, config.function)(*inputs, **config.parameters)
    values = values if isinstance(values, tuple) else (values,)
    outputs = dict(zip(function.output_names, values))
    close, volume = columns["close"], columns["volume"]
    if config.relation == "band":
        upper, middle, lower = outputs.values()
        made = [(close - lower) / (upper - lower), (upper - lower) / middle]
    elif config.relation == "flow":
        (total,) = outputs.values()
        span = config.span
        change = total[span:] - total[:-span]
        traded = np.lib.stride_tricks.sliding_window_view(volume, span)[1:].sum(axis=1)
        made = [np.r_[np.full(span, np.nan), change / traded]]
    else:
        chosen = [outputs[name] for name in config.outputs or outputs]
        relative = {
            "none": lambda x: x,
            "ratio": lambda x: np.log(x / close),
            "spread": lambda x: x / close,
        }
        made = [relative[config.relation](np.asarray(x, float)) for x in chosen]
    return (np.array(made) - config.offset) / config.scale


@pytest.mark.parametrize("config", [*DEFAULT, *OTHERS], ids=lambda config: config.function)
def test_values_are_talibs_own_per_symbol(config: IndicatorConfig) -> None:
    bars = market_bars(3)
    ours = computed(config, bars)
    for symbol in ("S0", "S1", "S2"):
        expected = by_talib(config, bars.filter(symbol=symbol))
        rows = ours.filter(symbol=symbol).drop("symbol")
        got = rows.select(pl.all().cast(pl.Float64)).fill_null(np.nan).to_numpy().T
        settled = max(warm_up(config).values())
        assert np.isfinite(expected[:, settled:]).all()
        np.testing.assert_allclose(got[:, settled:], expected[:, settled:], rtol=1e-9, atol=1e-12)


def test_warm_up_of_a_window_is_its_lookback() -> None:
    assert warm_up(IndicatorConfig(function="SMA", parameters={"timeperiod": 50})) == {"sma_50": 49}
    assert warm_up(IndicatorConfig(function="MFI")) == {"mfi": 14}


@pytest.mark.parametrize("name", ["RSI", "ADX", "NATR", "EMA", "MACD", "KAMA", "SAR"])
def test_values_after_warm_up_do_not_depend_on_where_the_series_began(name: str) -> None:
    config = IndicatorConfig(function=name)
    bars = market_bars(1, 3000, seed=5)
    whole, late = computed(config, bars), computed(config, bars[777:])
    for column, bars_needed in warm_up(config).items():
        spread = whole[column].drop_nans().std()
        difference = (whole[column][777 + bars_needed :] - late[column][bars_needed:]).abs().max()
        assert difference < 0.01 * spread, column


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"function": "RSII"}, "nearest are RSI"),
        ({"function": "bband"}, "BBANDS"),
        ({"function": "RSI", "parameters": {"period": 3}}, "nearest are timeperiod"),
        ({"function": "RSI", "parameters": {"timeperiod": 0}}, "out of TA-Lib's range"),
        ({"function": "RSI", "parameters": {"timeperiod": 2.5}}, "whole number"),
        ({"function": "MACD", "outputs": ["hist"]}, "nearest are macdhist"),
        ({"function": "OBV", "parameters": {"timeperiod": 3}}, "takes no parameter"),
        ({"function": "SMA", "inputs": ["close", "open"]}, "do not fit"),
        ({"function": "SMA", "relation": "band"}, "needs outputs"),
        ({"function": "MACD", "relation": "flow"}, "one output"),
        ({"function": "OBV"}, "depends on where the series began"),
    ],
)
def test_what_talib_cannot_do_is_refused_with_the_nearest(config: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        warm_up(IndicatorConfig(**config))


@pytest.mark.parametrize(
    "config",
    [
        {"function": "SMA", "inputs": ["vol"]},
        {"function": "SMA", "relation": "log"},
        {"function": "SMA", "scale": 0},
        {"function": "SMA", "scale": float("nan")},
        {"function": "SMA", "parameters": [14]},
        {"function": "SMA", "parameters": {"timeperiod": "long"}},
        {"function": "OBV", "relation": "flow", "span": 0},
    ],
)
def test_impossible_entries_are_refused(config: dict) -> None:
    with pytest.raises(ConfigError):
        IndicatorConfig(**config)


def test_names_tell_function_and_parameters() -> None:
    macd = IndicatorConfig(function="MACD", parameters={"fastperiod": 5})
    assert list(indicator(macd).columns) == ["macd_5_macd", "macd_5_macdsignal", "macd_5_macdhist"]
    named = IndicatorConfig(function="MACD", outputs=("macdhist",), name="trend")
    assert list(indicator(named).columns) == ["trend"]
    of_volume = IndicatorConfig(function="SMA", inputs=("volume",))
    assert list(indicator(of_volume).columns) == ["sma_volume"]
