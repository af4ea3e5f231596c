"""Selection finds the informative, drops noise and copies, and never sees the test period."""

import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_selection import mutual_info_regression
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LassoCV
from sklearn.model_selection import TimeSeriesSplit
from sklearn.preprocessing import StandardScaler

from tsfm.data.ohlcv.fitted_config import SELECTION_METHODS, SelectionConfig
from tsfm.data.ohlcv.selection import Selection, future
from tsfm.errors import ConfigError, DataError

START = datetime(2020, 1, 1, tzinfo=UTC)
NAMES = ("noise_0", "signal", "noise_1", "copy", "weak", "noise_2", "empty", "still")


def bars(count: int = 700, symbols: str = "AB", seed: int = 0) -> pl.DataFrame:
    """Each bar's range is set by ``signal`` and, a little, by ``weak`` of the bar before."""
    rng = np.random.default_rng(seed)
    tables = []
    for symbol in symbols:
        signal, weak = rng.normal(size=count), rng.normal(size=count)
        spread = np.exp(-5 + 0.8 * np.roll(signal, 1) + 0.4 * np.roll(weak, 1))
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
        tables.append(
            pl.DataFrame(
                {
                    "symbol": [symbol] * count,
                    "ts": [START + timedelta(days=k) for k in range(count)],
                    "high": close * np.exp(spread),
                    "low": close * np.exp(-spread),
                    "close": close,
                    "signal": signal,
                    "weak": weak,
                    "copy": 3 * signal + 0.01 * rng.normal(size=count),
                    "empty": np.where(np.arange(count) % 3, np.nan, signal),
                    "still": np.ones(count),
                    **{f"noise_{k}": rng.normal(size=count) for k in range(3)},
                }
            )
        )
    return pl.concat(tables)


@pytest.mark.parametrize("method", SELECTION_METHODS)
def test_signals_are_found_and_noise_and_copies_are_not(method: str) -> None:
    chosen = Selection.fit(bars(), NAMES, SelectionConfig(method=method))
    best, second = chosen.names
    assert best in ("signal", "copy")
    assert second == "weak"
    assert chosen.dropped["empty"] == "missing in 67% of the rows"
    assert chosen.dropped["still"] == "does not vary"
    follower = "copy" if best == "signal" else "signal"
    assert chosen.dropped[follower] in (f"follows {best}", "no better than noise")
    assert all(chosen.dropped[f"noise_{k}"] == "no better than noise" for k in range(3))
    assert set(chosen.names) | set(chosen.dropped) == set(NAMES)


def reference_rows() -> tuple[np.ndarray, np.ndarray]:
    """Features and the log range of the next bar, by loops, in the order of time."""
    rows = []
    for table in bars().partition_by("symbol"):
        for k in range(len(table) - 1):
            here, after = table.row(k, named=True), table.row(k + 1, named=True)
            target = np.log(max(np.log(after["high"] / after["low"]), 1e-4))
            rows.append((here["ts"], here["symbol"], here["signal"], here["noise_0"], target))
    ordered = np.array([row[2:] for row in sorted(rows, key=lambda row: row[:2])])
    return ordered[:, :2], ordered[:, 2]


@pytest.mark.parametrize("method", SELECTION_METHODS)
def test_scores_are_those_of_scikit_learn(method: str) -> None:
    features, target = reference_rows()
    config = SelectionConfig(method=method, shadows=0, seed=3)

    scores = Selection.fit(bars(), ["signal", "noise_0"], config).scores

    if method == "mutual_information":
        expected = mutual_info_regression(features, target, random_state=3)
    elif method == "permutation":
        cut = len(features) * 3 // 4
        model = HistGradientBoostingRegressor(random_state=3).fit(features[:cut], target[:cut])
        expected = permutation_importance(
            model, features[cut:], target[cut:], n_repeats=3, random_state=3
        ).importances_mean
    else:
        model = LassoCV(eps=0.01, cv=TimeSeriesSplit(5), random_state=3)
        standard = (target - target.mean()) / target.std()
        expected = np.abs(model.fit(StandardScaler().fit_transform(features), standard).coef_)
    np.testing.assert_allclose(list(scores.values()), expected, rtol=1e-9, atol=1e-12)


def test_shadows_do_not_move_the_mutual_information() -> None:
    features, target = reference_rows()
    scores = Selection.fit(bars(), ["signal", "noise_0"]).scores
    expected = mutual_info_regression(features, target, random_state=0)
    np.testing.assert_allclose(list(scores.values()), expected, atol=1e-3)


@pytest.mark.parametrize("method", SELECTION_METHODS)
def test_bars_after_the_cutoff_do_not_matter(method: str) -> None:
    table, cutoff = bars(), START + timedelta(days=500)
    later = pl.col("ts") >= cutoff
    changed = table.with_columns(
        pl.when(later).then(7 - 2 * pl.col(name)).otherwise(name).alias(name)
        for name in (*NAMES, "high", "low", "close")
    )
    config = SelectionConfig(method=method, max_rows=600)
    first = Selection.fit(table, NAMES, config, until=cutoff)
    assert first.state() == Selection.fit(changed, NAMES, config, until=cutoff).state()
    assert first.state() == Selection.fit(table.filter(~later), NAMES, config).state()


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("target", ["log_return", "log_range"])
def test_targets_are_those_of_the_bars_that_follow(target: str, horizon: int) -> None:
    table = bars(30)
    made = future(table, target, horizon).to_numpy()
    for symbol in range(2):
        part = table[symbol * 30 : (symbol + 1) * 30]
        high, low, close = (part[name].to_numpy() for name in ("high", "low", "close"))
        for k in range(30 - horizon):
            after = slice(k + 1, k + 1 + horizon)
            expected = {
                "log_return": np.log(close[k + horizon] / close[k]),
                "log_range": np.log(max(np.log(high[after].max() / low[after].min()), 1e-4)),
            }[target]
            assert made[symbol * 30 + k] == pytest.approx(expected)
        assert np.isnan(made[symbol * 30 + 30 - horizon : (symbol + 1) * 30]).all()


def test_the_best_are_kept_when_there_are_too_many() -> None:
    config = SelectionConfig(max_features=1, max_correlation=1.0, shadows=0)
    chosen = Selection.fit(bars(), ["weak", "signal", "noise_0"], config)
    assert chosen.names == ("signal",)
    assert chosen.dropped["weak"] == "behind the best 1"


def test_rows_are_drawn_by_seed() -> None:
    table = bars()
    states = [
        Selection.fit(table, NAMES, SelectionConfig(max_rows=300, seed=seed)).state()["scores"]
        for seed in (0, 0, 1)
    ]
    assert states[0] == states[1] != states[2]


def test_missing_values_are_tolerated() -> None:
    table = bars().with_columns(
        pl.when(pl.int_range(pl.len()) % 10 == 0).then(float("nan")).otherwise("signal")
        .alias("signal")
    )  # fmt: skip
    for method in SELECTION_METHODS:
        chosen = Selection.fit(table, ["signal", "noise_0"], SelectionConfig(method=method))
        assert chosen.names[0] == "signal"


def test_only_noise_keeps_nothing() -> None:
    chosen = Selection.fit(bars(), ["noise_0", "noise_1", "empty", "still"])
    assert not set(chosen.names) & {"empty", "still"}
    assert Selection.fit(bars(), ["empty", "still"]).names == ()


def test_apply_leaves_the_kept_features_and_all_other_columns() -> None:
    table = bars()
    chosen = Selection.fit(table, NAMES)
    kept = chosen.apply(table).columns
    assert set(kept) == {"symbol", "ts", "high", "low", "close", *chosen.names}


def test_state_is_json_and_rebuilds_the_same_selection() -> None:
    chosen = Selection.fit(bars(), NAMES)
    assert Selection.from_state(json.loads(json.dumps(chosen.state()))) == chosen


@pytest.mark.parametrize(
    ("table", "names", "told"),
    [
        (bars(), ["absent"], "columns absent are missing"),
        (bars(), [], "no feature is named"),
        (bars(40), ["signal"], "78 rows with a varying log_range"),
        (bars().with_columns(close=1.0, high=1.0, low=1.0), ["signal"], "are too few"),
    ],
)
def test_what_cannot_be_selected_is_told(table: pl.DataFrame, names: list, told: str) -> None:
    with pytest.raises(DataError, match=re.escape(told)):
        Selection.fit(table, names)


def test_a_state_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Selection.from_state({"names": []})


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "guess"},
        {"target": "close"},
        {"horizon": 0},
        {"max_features": 0},
        {"max_correlation": 0.0},
        {"max_missing": 1.0},
        {"max_rows": 10},
        {"seed": -1},
    ],
)
def test_bad_configs_are_refused(fields: dict) -> None:
    with pytest.raises(ConfigError):
        SelectionConfig(**fields)
