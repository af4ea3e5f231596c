"""Regimes: the planted ones are found, filtered as hmmlearn would on every prefix, causal."""

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hmmlearn.hmm import GaussianHMM

from tsfm.data.ohlcv.filtering import forward_filter, gaussian_log_density
from tsfm.data.ohlcv.fitted_config import RegimesConfig
from tsfm.data.ohlcv.regimes import Regimes, observe
from tsfm.errors import ConfigError, DataError

START = datetime(2020, 1, 1, tzinfo=UTC)
COLUMNS = ("log_return", "log_range")
PLAIN = RegimesConfig(states=2, season=1, window=0, clip=50.0, restarts=2)


def market(bars: int = 1500, *, symbol: str | None = None, seed: int = 0) -> pl.DataFrame:
    """Returns and log ranges whose spread switches between two values every 100 bars."""
    rng = np.random.default_rng(seed)
    wild = (np.arange(bars) // 100) % 2
    spread = np.where(wild == 1, 0.03, 0.005)
    frame = pl.DataFrame(
        {
            "ts": [START + timedelta(days=k) for k in range(bars)],
            "log_return": rng.normal(0, spread),
            "log_range": np.log(spread) + rng.normal(0, 0.3, bars),
        }
    ).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))
    return frame if symbol is None else frame.insert_column(0, pl.Series("symbol", [symbol] * bars))


def several(bars: int = 700) -> pl.DataFrame:
    return pl.concat(market(bars, symbol=name, seed=k) for k, name in enumerate("ABC"))


def probabilities(regimes: Regimes, frame: pl.DataFrame) -> np.ndarray:
    return regimes.apply(frame).select(regimes.names).to_numpy()


@pytest.mark.parametrize("covariance", ["full", "diag", "tied"])
def test_filtered_equals_hmmlearn_at_the_end_of_every_prefix(covariance: str) -> None:
    values = market(400).select(COLUMNS).to_numpy() * [100, 1]
    model = GaussianHMM(3, covariance, n_iter=20, random_state=1).fit(values)

    density = gaussian_log_density(values, model.means_, model.covars_)
    filtered = forward_filter(
        density,
        np.ones(len(values), bool),
        np.zeros(len(values), bool),
        model.startprob_,
        model.transmat_,
    )

    ends = [0, 1, 2, 50, 123, 250, 399]
    expected = [model.predict_proba(values[: end + 1])[-1] for end in ends]
    np.testing.assert_allclose(filtered[ends], expected, atol=1e-9)
    assert np.abs(filtered - model.predict_proba(values)).max() > 0.05  # which looks ahead


def test_a_missing_row_only_moves_the_belief_along_the_chain() -> None:
    transition = np.array([[0.9, 0.1], [0.3, 0.7]])
    density = np.array([[0.0, -3.0], [99.0, 0.0], [-1.0, 0.0]])
    observed = np.array([True, False, True])

    filtered = forward_filter(
        density, observed, np.zeros(3, bool), np.array([0.5, 0.5]), transition
    )

    belief = np.exp(density[0]) / np.exp(density[0]).sum()
    np.testing.assert_allclose(filtered[0], belief)
    np.testing.assert_allclose(filtered[1], belief @ transition)
    last = (belief @ transition @ transition) * np.exp(density[2])
    np.testing.assert_allclose(filtered[2], last / last.sum())


def test_extreme_rows_do_not_underflow() -> None:
    density = np.array([[-1e6, -2e6], [-5e8, -4e8]])
    filtered = forward_filter(
        density, np.ones(2, bool), np.zeros(2, bool), np.array([0.5, 0.5]), np.full((2, 2), 0.5)
    )
    np.testing.assert_allclose(filtered, [[1, 0], [0, 1]])


def test_planted_regimes_are_found_and_ordered_by_volatility() -> None:
    frame = market()
    regimes = Regimes.fit(frame, PLAIN)
    wild = (np.arange(len(frame)) // 100) % 2

    found = probabilities(regimes, frame)

    assert ((found[:, 1] > 0.5) == wild).mean() > 0.97
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert regimes.covariances[0, 0, 0] < regimes.covariances[1, 0, 0]
    assert regimes.apply(frame).schema["regime_0"] == pl.Float32


def test_the_likeliest_of_several_seeds_is_kept() -> None:
    frame = market(600)
    fits = [
        Regimes.fit(frame, RegimesConfig(states=3, season=1, window=0, restarts=n)).log_likelihood
        for n in (1, 2, 5)
    ]
    assert fits == sorted(fits)


def test_pooled_series_are_filtered_each_on_its_own() -> None:
    frame = several()
    regimes = Regimes.fit(frame, RegimesConfig(states=2, window=100))
    together = regimes.apply(frame)
    alone = pl.concat(regimes.apply(frame.filter(symbol=name)) for name in ("A", "B", "C"))
    assert together.equals(alone)
    assert together.columns == ["symbol", "ts", "regime_0", "regime_1"]


def test_units_do_not_matter_to_series_standardised_by_their_own_window() -> None:
    config = RegimesConfig(states=2, window=100)
    frame = several()
    louder = frame.with_columns(
        pl.when(pl.col("symbol") == "B").then(pl.col("log_return") * 50).otherwise("log_return")
        .alias("log_return")
    )  # fmt: skip
    np.testing.assert_allclose(
        probabilities(Regimes.fit(frame, config), frame),
        probabilities(Regimes.fit(louder, config), louder),
        atol=1e-4,
    )


def test_bars_after_the_cutoff_change_neither_the_fit_nor_what_came_before() -> None:
    frame, cutoff = several(), START + timedelta(days=500)
    after = pl.col("ts") >= cutoff
    changed = frame.with_columns(
        pl.when(after).then(-3 * pl.col(name) + 1).otherwise(name).alias(name) for name in COLUMNS
    )
    config = RegimesConfig(states=2, window=100)

    regimes = Regimes.fit(frame, config, until=cutoff)
    again = Regimes.fit(changed, config, until=cutoff)

    assert regimes.state() == again.state()
    first, second = (regimes.apply(table) for table in (frame, changed))
    assert first.filter(~after).equals(second.filter(~after))
    assert not first.filter(after).equals(second.filter(after))


def test_naive_and_aware_cutoffs_mean_the_same() -> None:
    frame = market(500)
    cutoff = datetime(2021, 1, 1)
    states = [
        Regimes.fit(table, PLAIN, until=until).state()
        for table, until in (
            (frame, cutoff),
            (frame, cutoff.replace(tzinfo=UTC)),
            (frame.with_columns(pl.col("ts").dt.replace_time_zone(None)), cutoff),
        )
    ]
    assert states[0] == states[1] == states[2]


def test_missing_values_are_tolerated_and_leave_the_belief_to_the_chain() -> None:
    frame = market(600)
    holes = frame.with_columns(
        pl.when(pl.int_range(pl.len()).is_between(300, 304)).then(value).otherwise(name).alias(name)
        for name, value in (("log_return", None), ("log_range", float("nan")))
    )
    regimes = Regimes.fit(holes, PLAIN)
    found = probabilities(regimes, holes)
    assert np.isfinite(found).all()
    for row in range(300, 305):
        np.testing.assert_allclose(found[row], found[row - 1] @ regimes.transition, atol=1e-6)


def test_time_of_day_is_no_regime() -> None:
    """Hourly bars whose openings are three times as wide as the rest, in one regime."""
    bars = 7 * 200
    rng = np.random.default_rng(0)
    opening = np.tile(np.r_[1.1, np.zeros(6)], 200)
    frame = pl.DataFrame(
        {
            "ts": [START + timedelta(days=k // 7, hours=14 + k % 7) for k in range(bars)],
            "log_return": rng.normal(0, 0.01 * np.exp(opening)),
            "log_range": opening + rng.normal(0, 0.2, bars),
        }
    )
    regimes = Regimes.fit(frame, RegimesConfig(states=2, window=0))
    assert regimes.season == 7
    wild = probabilities(regimes, frame)[7:, 1]
    assert abs(np.corrcoef(wild, opening[7:])[0, 1]) < 0.1
    blunt = Regimes.fit(frame, RegimesConfig(states=2, window=0, season=1))
    assert abs(np.corrcoef(probabilities(blunt, frame)[7:, 1], opening[7:])[0, 1]) > 0.8


def test_large_training_sets_are_sampled_by_seed() -> None:
    frame = several()
    config = RegimesConfig(states=2, window=50, max_bars=400)
    assert Regimes.fit(frame, config).state() == Regimes.fit(frame, config).state()


def test_state_is_json_and_rebuilds_the_same_model() -> None:
    frame = several()
    regimes = Regimes.fit(frame, RegimesConfig(states=2, window=100))
    rebuilt = Regimes.from_state(json.loads(json.dumps(regimes.state())))
    assert rebuilt.state() == regimes.state()
    assert rebuilt.apply(frame).equals(regimes.apply(frame))
    assert rebuilt.names == ("regime_0", "regime_1")


def test_observations_of_bars() -> None:
    bars = pl.DataFrame(
        {
            "symbol": ["A", "A", "B"],
            "ts": [START, START + timedelta(hours=1), START],
            "high": [11.0, 12.0, 5.0],
            "low": [9.0, 10.0, 5.0],
            "close": [10.0, 11.0, None],
        }
    )
    seen = observe(bars)
    np.testing.assert_allclose(seen["log_return"][1], np.log(1.1))
    assert seen["log_return"][0] is None
    assert seen["log_return"][2] is None
    np.testing.assert_allclose(seen["log_range"], np.log([np.log(11 / 9), np.log(1.2), 1e-4]))


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (market().drop("log_range"), "columns log_range are missing"),
        (market(60), "60 observed bars are too few for 2 regimes"),
        (market().with_columns(log_range=pl.lit(1.0)), "log_range do not vary"),
        (market().with_columns(log_range=pl.lit(None, pl.Float64)), "0 observed bars are too few"),
    ],
)
def test_what_cannot_be_fitted_is_told(frame: pl.DataFrame, told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        Regimes.fit(frame, PLAIN)


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Regimes.from_state({"config": {"states": 2}})


@pytest.mark.parametrize(
    "fields",
    [
        {"states": 1},
        {"columns": ()},
        {"columns": ("a", "a")},
        {"window": 5},
        {"window": -1},
        {"covariance": "round"},
        {"clip": 0.0},
        {"max_bars": 10},
        {"restarts": 0},
    ],
)
def test_bad_configs_are_refused(fields: dict) -> None:
    with pytest.raises(ConfigError):
        RegimesConfig(**fields)
