"""Features of bars: causal, free of scale, equal to a pandas route of their own."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.market_bars import VALUES, largest_difference, market_bars, session_times, with_gaps

from tsfm.data.ohlcv.calendar_features import calendar_features
from tsfm.data.ohlcv.cross_section import MarketBuilder
from tsfm.data.ohlcv.features import Features
from tsfm.data.ohlcv.features_config import (
    CALENDAR_FEATURES,
    MARKET_FEATURES,
    TRANSFORMS,
    CalendarConfig,
    FeatureConfig,
)
from tsfm.errors import ConfigError, DataError

DEFAULT = FeatureConfig.load("default")
EVERYTHING = FeatureConfig.load(
    {
        "indicators": [asdict(entry) for entry in DEFAULT.indicators],
        "transforms": [{"kind": kind, "window": 12} for kind in TRANSFORMS],
        "market": {
            "window": 15,
            "features": MARKET_FEATURES,
            "ranks": [{"kind": kind, "window": 10} for kind in TRANSFORMS],
        },
        "calendar": {"features": CALENDAR_FEATURES, "timezone": "America/New_York"},
    }
)


def computed(
    bars: pl.DataFrame, directory: Path, config: FeatureConfig = EVERYTHING
) -> pl.DataFrame:
    directory.mkdir(exist_ok=True)
    builder = MarketBuilder(config.market, directory / str(len(list(directory.iterdir()))))
    builder.add(bars)
    return Features(config).compute(bars, builder.finish())


@pytest.fixture(scope="module")
def reference():
    pytest.importorskip("talib")
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "peers"))
    try:
        from lake_pandas import default_features
    finally:
        sys.path.pop(0)
    return default_features


def test_default_features_equal_the_pandas_route(reference, tmp_path: Path) -> None:
    bars = market_bars(6, 900)
    expected = pl.from_pandas(reference(bars.to_pandas()), nan_to_null=True)
    ours = computed(bars, tmp_path, DEFAULT)
    assert ours.columns == expected.columns
    assert ours.dtypes[2:] == [pl.Float32] * (len(ours.columns) - 2)
    assert largest_difference(ours, expected) < 1e-6


def test_a_bar_without_prices_has_no_features_and_spoils_no_other(tmp_path: Path) -> None:
    bars = with_gaps(market_bars(3, 600))
    seen = bars["close"].is_not_null()
    whole = computed(bars, tmp_path)
    past = list(Features(EVERYTHING).past)
    assert whole.filter(~seen).select(past).null_count().row(0) == ((~seen).sum(),) * len(past)
    dense = computed(bars.filter(seen), tmp_path)
    kept = whole.filter(seen).select("symbol", "ts", *past)
    assert kept.equals(dense.select(kept.columns))
    assert whole.tail(100).filter(seen.tail(100)).select(past).null_count().sum_horizontal()[0] == 0


@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(cutoff=st.integers(170, 350), seed=st.integers(0, 5))
def test_no_feature_knows_what_follows(
    tmp_path_factory: pytest.TempPathFactory, cutoff: int, seed: int
) -> None:
    directory = tmp_path_factory.mktemp("market")
    bars = with_gaps(market_bars(3, 430, seed), 0.03)
    moment = bars["ts"][cutoff]
    late = pl.col("ts") >= moment
    level, spread = np.exp(np.abs(np.random.default_rng(seed).normal(0, 0.4, (2, len(bars)))))
    factors = dict.fromkeys(VALUES, level) | {"high": level * spread, "low": level / spread}
    changed = bars.with_columns(
        pl.when(late).then(pl.col(name) * pl.Series(factor)).otherwise(pl.col(name)).alias(name)
        for name, factor in factors.items()
    )
    before = computed(bars, directory)
    for other in (changed, bars.filter(~late)):
        after = computed(other, directory)
        assert before.filter(~late).equals(after.filter(~late))
    after = computed(changed, directory)
    past = list(Features(EVERYTHING).past)
    one, other = (table.filter(late).select(past).fill_null(-9) for table in (before, after))
    assert [name for name in past if one[name].equals(other[name])] == []


def test_features_do_not_depend_on_the_scale_of_prices_or_volume(tmp_path: Path) -> None:
    bars = market_bars(3, 500)
    scaled = bars.with_columns(
        *(pl.col(name) * 128.0 for name in ("open", "high", "low", "close")),
        volume=pl.col("volume") * 16.0,
    )
    assert largest_difference(computed(bars, tmp_path), computed(scaled, tmp_path)) < 1e-5


def test_values_after_warm_up_do_not_depend_on_where_the_series_began(tmp_path: Path) -> None:
    bars = market_bars(4, 1500)
    features = Features(DEFAULT)
    start = pl.col("ts") >= bars["ts"][400]
    whole, late = computed(bars, tmp_path, DEFAULT), computed(bars.filter(start), tmp_path, DEFAULT)
    for symbol, rows in late.group_by("symbol", maintain_order=True):
        same = whole.filter(start, symbol=symbol[0])
        for name in features.past:
            warm_up = features.warm_ups[name]
            if not name.startswith("rank"):
                assert rows[name][:warm_up].is_null().all(), name
            difference = (same[name] - rows[name])[features.warm_up :].abs().max()
            assert difference <= 0.01 * same[name].std(), name


HOURLY = Path(__file__).parents[4] / "shared" / "data" / "ohlcv" / "us_equity_hourly.parquet"


def real_bars() -> pl.DataFrame:
    if not HOURLY.exists():
        pytest.skip(f"no {HOURLY}")
    bars = pl.read_parquet(HOURLY).filter(pl.col("ts").dt.year() == 2016)
    return bars.with_columns(pl.col("ts").dt.replace_time_zone("UTC")).sort("symbol", "ts")


@pytest.mark.parametrize("source", [lambda: market_bars(4, 1500), real_bars])
def test_default_features_are_not_redundant(source, tmp_path: Path) -> None:
    """Within a symbol no two rise and fall together, by rank correlation."""
    table = computed(source(), tmp_path, DEFAULT)
    past = list(Features(DEFAULT).past)
    within = [
        np.abs(np.corrcoef(rows.select(pl.col(past).rank()).to_numpy().T))
        for _, rows in table.drop_nulls(past).group_by("symbol")
    ]
    mean = np.mean(within, axis=0) - np.eye(len(past))
    worst = np.unravel_index(mean.argmax(), mean.shape)
    assert mean.max() < 0.95, (past[worst[0]], past[worst[1]], mean.max())


def test_an_index_without_volume_has_no_features_of_it(tmp_path: Path) -> None:
    bars = market_bars(2, 400).with_columns(
        volume=pl.when(pl.col("symbol") == "S1").then(0.0).otherwise(pl.col("volume"))
    )
    table = computed(bars, tmp_path, DEFAULT).filter(symbol="S1")
    silent = {name for name in Features(DEFAULT).past if table[name].is_null().all()}
    assert silent == {"mfi_14", "obv_20", "volume_z_60", "amihud_20", "rank_volume_z_60"}


def test_a_volume_that_is_missing_spoils_its_bar_only(tmp_path: Path) -> None:
    bars = market_bars(1, 400)
    lost = pl.col("ts") == bars["ts"][300]
    holed = bars.with_columns(volume=pl.when(~lost).then(pl.col("volume")))
    table = computed(holed, tmp_path, DEFAULT)
    missing = {name for name in Features(DEFAULT).past[:15] if table[name][300] is None}
    assert missing == {"mfi_14", "obv_20", "volume_z_60"}
    assert table[301:].select(Features(DEFAULT).past[:15]).null_count().sum_horizontal()[0] == 0


def test_the_documentation_tells_the_default_set_and_a_valid_file() -> None:
    text = (Path(__file__).parents[3] / "docs" / "features.md").read_text()
    assert [name for name in Features(DEFAULT).past if f"`{name}`" not in text] == []
    assert str(Features(DEFAULT).warm_up) in text
    example = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    assert len(Features(FeatureConfig.load(example)).past) == 9


def test_a_constant_price_gives_nulls_not_infinities(tmp_path: Path) -> None:
    bars = market_bars(2, 300).with_columns(
        pl.lit(20.0).alias(name) for name in ("open", "high", "low", "close")
    )
    table = computed(bars, tmp_path)
    values = table.select(Features(EVERYTHING).names).to_numpy()
    assert not np.isinf(values).any()
    assert table["correlation_15"].is_null().all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("volatility", lambda o, h, low, c, r: r**2),
        ("parkinson", lambda o, h, low, c, r: np.log(h / low) ** 2 / (4 * np.log(2))),
        (
            "garman_klass",
            lambda o, h, low, c, r: (
                0.5 * np.log(h / low) ** 2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2
            ),
        ),
        (
            "rogers_satchell",
            lambda o, h, low, c, r: (
                np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)
            ),
        ),
    ],
)
def test_range_volatilities_equal_their_formulas(kind: str, expected) -> None:
    bars = market_bars(1, 60)
    config = FeatureConfig.load({"transforms": [{"kind": kind, "window": 20}]})
    ours = Features(config).compute(bars)[f"{kind}_20"].to_numpy()
    prices = [bars[name].to_numpy() for name in ("open", "high", "low", "close")]
    squares = expected(*prices, np.diff(np.log(prices[3]), prepend=np.nan))
    for bar in range(20, 60):
        assert ours[bar] == pytest.approx(np.sqrt(squares[bar - 19 : bar + 1].mean()), rel=1e-6)


def test_range_volatilities_find_the_volatility_of_a_random_walk() -> None:
    rng = np.random.default_rng(0)
    path = (0.01 / np.sqrt(500) * rng.normal(size=(2000, 500))).cumsum(axis=1)
    path = np.exp(np.c_[np.zeros(2000), path])
    bars = pl.DataFrame(
        {
            "symbol": "W",
            "ts": session_times(2000),
            "open": path[:, 0],
            "high": path.max(axis=1),
            "low": path.min(axis=1),
            "close": path[:, -1],
            "volume": 1.0,
        }
    )
    kinds = ("parkinson", "garman_klass", "rogers_satchell")
    config = FeatureConfig.load({"transforms": [{"kind": k, "window": 1500} for k in kinds]})
    last = Features(config).compute(bars).row(-1, named=True)
    for kind in kinds:
        assert last[f"{kind}_1500"] == pytest.approx(0.01, rel=0.06)


def test_calendar_features_are_those_of_the_exchanges_clock() -> None:
    stamps = session_times(7 * 5 * 30, None).to_numpy()
    zone = CalendarConfig(features=CALENDAR_FEATURES, timezone="America/New_York")
    rows = dict(zip(zone.names, calendar_features(stamps, zone)))
    local = pl.Series(stamps).dt.replace_time_zone("UTC").dt.convert_time_zone(zone.timezone)
    angle = np.arctan2(rows["time_of_day_sin"], rows["time_of_day_cos"]) % (2 * np.pi)
    np.testing.assert_allclose(angle / (2 * np.pi) * 24, local.dt.hour().to_numpy(), atol=1e-4)
    weekday = np.arctan2(rows["day_of_week_sin"], rows["day_of_week_cos"]) % (2 * np.pi)
    np.testing.assert_allclose(
        weekday / (2 * np.pi) * 7 % 7, local.dt.weekday().to_numpy() - 1, atol=1e-4
    )
    remaining = rows["session_remaining"].reshape(-1, 7)
    assert np.isnan(remaining[0]).all()
    np.testing.assert_allclose(remaining[1:], np.tile(np.arange(6, -1, -1) / 7, (149, 1)))


def test_a_short_session_changes_what_is_told_of_no_earlier_bar() -> None:
    stamps = session_times(70, None).to_numpy()
    config = CalendarConfig(features=("session",))
    whole = calendar_features(stamps, config)
    for cut in (30, 33, 38):
        np.testing.assert_array_equal(calendar_features(stamps[:cut], config), whole[:, :cut])
    assert calendar_features(stamps[:0], config).shape == (1, 0)


def test_sets_are_loaded_by_name_file_or_mapping(tmp_path: Path) -> None:
    assert Features(FeatureConfig.load("none")).names == ()
    table = Features(FeatureConfig.load("none")).compute(market_bars(1, 5))
    assert table.columns == ["symbol", "ts"]
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nindicators:\n  - {function: RSI}\n")
    assert Features(FeatureConfig.load(path)).names == ("rsi",)
    assert FeatureConfig.load(DEFAULT.to_mapping()) == DEFAULT
    assert FeatureConfig.load(DEFAULT) is DEFAULT
    assert len(Features(DEFAULT).past) <= 24


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("indicator: []", "indicators"),
        ("indicators: {function: RSI}", "not a list"),
        ("indicators: [RSI]", "not a mapping"),
        ("indicators: [{parameters: {}}]", "incomplete"),
        ("indicators: [{function: RSI}, {function: RSI}]", "rsi are named twice"),
        ("transforms: [{kind: garch, window: 5}]", "garman_klass"),
        ("transforms: [{kind: log_return, window: 0}]", "whole number"),
        ("transforms: [{kind: volume_z, window: 2}]", "at least 3"),
        ("calendar: {timezone: Mars}", "America/New_York"),
        ("calendar: {features: [moon]}", "time_of_day"),
        ("indicators: [", "not a YAML file"),
        ("- 1", "not a mapping"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "features.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        FeatureConfig.load(path)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="default, none"):
        FeatureConfig.load("defualt")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda bars: bars.drop("low"), "low are missing"),
        (lambda bars: bars.reverse(), "not sorted"),
        (lambda bars: pl.concat([bars, bars]), "not sorted"),
        (lambda bars: bars.with_columns(pl.col("close").cast(pl.String)), "no numbers"),
        (lambda bars: bars.with_columns(pl.col("ts").cast(pl.Int64)), "ts is of type"),
    ],
)
def test_frames_that_are_no_bars_are_refused(change, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Features(DEFAULT).compute(change(market_bars(2, 20)))
