"""Tokens: local rates of a map that is known, kinds of shapes that are known, errors by a loop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.embedders import Encoding, Persistent, oscillators

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.analysis_config import TokensConfig
from tsfm.evaluation.token_errors import (
    KINDS,
    analyse_tokens,
    averaged,
    binned,
    by_lag,
    cut,
    local_rates,
    rate_correlation,
    similarity,
    token_errors,
    token_kinds,
    token_table,
)

CONFIG = TokensConfig(bars=8, windows=10, neighbours=4, bins=3, permutations=10)


@pytest.mark.parametrize(("factor", "ahead"), [(2.0, 1), (2.0, 3), (3.0, 2)])
def test_distances_grow_as_an_expanding_map_stretches_them(factor, ahead):
    """x → factor · x mod 1 parts neighbours by the factor everywhere (but over the jump)."""
    rng = np.random.default_rng(0)
    values = np.empty(6000)
    values[0] = rng.random()
    for t in range(1, len(values)):
        values[t] = (factor * values[t - 1] + 1e-9 * rng.random()) % 1
    on_circle = np.exp(2j * np.pi * values)
    states = np.stack([on_circle.real, on_circle.imag], axis=1)
    rates = local_rates(states, np.arange(100, 5000, 7), ahead, neighbours=4, apart=20)
    assert np.median(rates) == pytest.approx(np.log(factor), abs=0.02)


def test_rates_beyond_the_end_are_not_known():
    states = np.random.default_rng(0).standard_normal((50, 2))
    rates = local_rates(states, np.array([10, 44, 49]), 5, neighbours=3, apart=4)
    np.testing.assert_array_equal(np.isfinite(rates), [True, True, False])
    assert np.isnan(local_rates(states[:4], np.array([0]), 5, 3, 1)).all()
    assert np.isnan(local_rates(np.zeros((50, 2)), np.array([3]), 5, 3, 1)).all()


def test_kinds_of_shapes():
    time = np.linspace(0, 1, 16)
    shapes = np.stack([0.1 * time, time, -3 * time, np.sin(6 * time), 0 * time])
    assert [KINDS[k] for k in token_kinds(shapes)] == [
        "quiet", "monotone", "monotone", "turning", "quiet",
    ]  # fmt: skip


def test_every_token_is_forecast_from_those_before_it():
    """Against a loop over windows, tokens and variates."""
    panel, _ = oscillators()
    asked = cut(panel, 40, CONFIG, seed=0)
    errors = token_errors(Persistent(), asked, 8)
    assert errors.shape == (len(asked.items), 4, 2)
    for window in range(len(asked.items)):
        for token in range(1, 5):
            for variate in range(2):
                bars = asked.bars[window, :, variate]
                error = bars[8 * token : 8 * token + 8] - bars[8 * token - 1]
                assert errors[window, token - 1, variate] == pytest.approx(
                    np.sqrt(np.mean(error**2)), rel=1e-4
                )


def test_windows_come_from_all_systems_and_in_units_of_the_attractor():
    panel, _ = oscillators(systems=4, count=5)
    asked = cut(panel, 120, CONFIG, seed=0)
    counts = pd.Series(asked.systems).value_counts()
    assert set(counts.index) == {"S0", "S1", "S2", "S3"}
    assert counts.max() - counts.min() <= 1
    assert asked.bars.std() == pytest.approx(1, abs=0.15)
    again = cut(panel, 120, CONFIG, seed=0)
    np.testing.assert_array_equal(asked.bars, again.bars)


def test_a_table_has_a_row_per_token():
    panel, _ = oscillators()
    asked = cut(panel, 40, CONFIG, seed=0)
    table = token_table(asked, token_errors(Persistent(), asked, 8), 8)
    assert len(table) == len(asked.items) * 4 * 2
    row = table.iloc[(1 * 4 + 2) * 2 + 1]
    assert (row["item"], row["variate"], row["bars_seen"]) == (asked.items[1], 1, 24)
    assert row["kind"] == KINDS[int(token_kinds(asked.bars[1, 24:32, 1]))]
    assert row["rate"] == pytest.approx(asked.rates[1, 2])


def planted(relation: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for item in range(40):
        rate = rng.standard_normal(12)
        error = np.exp(relation * rate + (not relation) * rng.standard_normal(12))
        for place, (one, other) in enumerate(zip(rate, error, strict=True)):
            rows.append((f"i{item}", f"S{item % 8}", 0, 8 * (place + 1), "quiet", one, other))
    columns = ["item", "system", "variate", "bars_seen", "kind", "rate", "error"]
    return pd.DataFrame(rows, columns=columns)


def test_correlations_are_found_where_they_are():
    assert rate_correlation(planted(2.0))[0] == pytest.approx(1)
    assert rate_correlation(planted(-0.1))[0] == pytest.approx(-1)
    value, low, high = rate_correlation(planted(0.0))
    assert abs(value) < 0.2
    assert low < 0 < high
    assert np.isnan(rate_correlation(planted(1.0).assign(rate=np.nan))[0])


def test_averages_are_geometric_and_bins_are_even():
    table = pd.DataFrame({"kind": ["a", "a", "b"], "system": list("xyx"), "error": [1.0, 4.0, 3.0]})
    means = averaged(table, "kind").set_index("kind")["error"]
    np.testing.assert_allclose(means.loc[["a", "b"]], [2.0, 3.0])
    found = binned(planted(1.0), 4)
    assert set(found.groupby("rate").size()) == {120}
    assert len(binned(planted(1.0).assign(rate=np.nan), 4)) == 0


def test_similarity_is_the_mean_cosine():
    rng = np.random.default_rng(0)
    states = rng.standard_normal((4, 2, 5, 6))
    states[0, 1] = np.nan
    found = similarity(states)
    flat = states.reshape(8, 5, 6)[[0, 2, 3, 4, 5, 6, 7]]
    flat = flat - flat.mean((0, 1))
    slow = np.zeros((5, 5))
    for one in range(5):
        for other in range(5):
            cosines = [
                s[one] @ s[other] / np.linalg.norm(s[one]) / np.linalg.norm(s[other]) for s in flat
            ]
            slow[one, other] = np.mean(cosines)
    np.testing.assert_allclose(found, slow, atol=1e-12)
    lags = by_lag(found)
    assert lags["cosine"].iloc[0] == pytest.approx(1)
    assert lags["cosine"].iloc[4] == pytest.approx(slow[0, 4])


def test_an_encoder_of_shapes_tells_kinds_apart():
    panel, _ = oscillators(systems=4, count=4)
    seen = Encoding(
        lambda bars: np.stack(
            [np.abs(bars[..., -1] - bars[..., 0]), np.abs(np.diff(bars)).sum(-1)], axis=-1
        )
    )
    found = analyse_tokens(seen, panel, CONFIG, context=128)
    probe = found.tables["token_separability"].set_index("score")
    assert probe.loc["neighbours", "value"] > 0.9
    assert probe.loc["neighbours", "p"] < 0.1
    assert set(found.figures) == {"tokens"}
    assert "token_similarity" in found.tables


def test_forecasters_without_an_encoder_have_errors_of_tokens():
    panel, _ = oscillators()
    found = analyse_tokens(Persistent(), panel, CONFIG, context=64)
    places = found.tables["token_places"]
    np.testing.assert_array_equal(places["bars_seen"], 8 * np.arange(1, 8))
    assert "token_similarity" not in found.tables
    assert "after 8 bars" in found.conclusion
    assert found.metrics["error.last"] == places["error"].iloc[-1]


def test_what_cannot_be_cut_is_told():
    panel, _ = oscillators(points=60)
    with pytest.raises(DataError, match="no trajectory has 64 points"):
        analyse_tokens(Persistent(), panel, CONFIG, context=64)
    with pytest.raises(DataError, match=r"2 tokens of 8.*tokens.bars"):
        analyse_tokens(Persistent(), panel, CONFIG, context=20)
    with pytest.raises(ConfigError, match=r"tokens.bars=2 is too small"):
        TokensConfig(bars=2)
