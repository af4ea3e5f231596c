"""The measuring of stylised facts, on series whose facts are known."""

import numpy as np
import pandas as pd
import pytest

from tsfm.data.ohlcv.facts import stylised_facts


def bars_of(returns: np.ndarray, spans: np.ndarray, volumes: np.ndarray) -> pd.DataFrame:
    """One item per column; each bar opens where the last closed and spans ``spans`` around both."""
    frames = []
    for k in range(returns.shape[1]):
        close = returns[:, k].cumsum()
        opened = close - returns[:, k]
        frames.append(
            pd.DataFrame(
                {
                    "item_id": f"I{k}",
                    "timestamp": pd.bdate_range("2000-01-03", periods=len(close)),
                    "open": np.exp(opened),
                    "high": np.exp(np.maximum(opened, close) + spans[:, k]),
                    "low": np.exp(np.minimum(opened, close)),
                    "close": np.exp(close),
                    "volume": volumes[:, k],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_independent_normal_returns_have_no_memory_and_thin_tails() -> None:
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 3))
    returns = 0.01 * (0.6 * common + 0.8 * own)
    facts = stylised_facts(bars_of(returns, np.full_like(returns, 1e-3), np.exp(own)))
    assert facts["volatility"].to_numpy() == pytest.approx(0.01, rel=0.03)
    assert facts["correlation"].to_numpy() == pytest.approx(0.36, abs=0.03)
    assert (facts["hill"] > 4).all()
    assert facts["tails"].to_numpy() == pytest.approx(2.807 / 0.6745, rel=0.05)
    silent = ["memory_absolute_bar", "memory_range_season", "memory_volume_bar", "leverage"]
    assert (facts[silent].abs() < 0.03).all(axis=None)


def test_known_tails_and_memory_are_found() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=30_000)
    activity = np.zeros(30_000)
    for k in range(1, len(activity)):
        activity[k] = 0.9 * activity[k - 1] + noise[k]
    tails = (1 + rng.pareto(2.5, 30_000)) * rng.choice([-1, 1], 30_000)
    returns = 0.005 * tails[:, None]
    facts = stylised_facts(
        bars_of(returns, np.full_like(returns, 1e-3), np.exp(activity)[:, None])
    ).iloc[0]
    assert facts["hill"] == pytest.approx(2.5, rel=0.15)
    assert facts["memory_volume_bar"] == pytest.approx(0.9, abs=0.02)
    assert facts["memory_volume_season"] == pytest.approx(0.9**5, abs=0.05)
    assert facts["volume_spread"] == pytest.approx(1 / np.sqrt(1 - 0.81), rel=0.05)


def test_falls_that_raise_ranges_are_leverage() -> None:
    rng = np.random.default_rng(2)
    returns = 0.01 * rng.normal(size=(20_000, 1))
    spans = 0.02 * np.exp(-30 * np.concatenate([np.zeros((1, 1)), returns[:-1]]))
    assert stylised_facts(bars_of(returns, spans, np.ones_like(returns)))["leverage"].iloc[0] < -0.1
