"""Separability: planted clusters give one, names at random give chance, orbits do not leak."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from support.embedders import Encoding, Persistent, oscillators
from support.patchtst import make_patchtst

from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.analysis_config import EmbeddingsConfig
from tsfm.evaluation.embeddings import (
    SCORES,
    able,
    analyse_embeddings,
    principal,
    separability,
    spectra,
    standardised,
)
from tsfm.models.base import Context


def clusters(spread: float, labels: int = 5, groups: int = 4, windows: int = 4, seed: int = 0):
    """Points around a centre per label, then per group, then per window."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(labels), groups * windows)
    group = np.repeat(np.arange(labels * groups), windows)
    points = spread * rng.standard_normal((labels, 6))[label]
    points += rng.standard_normal((labels * groups, 6))[group]
    points += 0.01 * rng.standard_normal((len(label), 6))
    names = np.array([f"L{k}" for k in label]), np.array([f"g{k}" for k in group])
    return points, *names


def test_planted_clusters_are_told_apart():
    table = separability(*clusters(spread=100.0)).set_index("score")
    assert list(table.index) == list(SCORES)
    assert table.loc["neighbours", "value"] == 1
    assert table.loc["probe", "value"] == 1
    assert table.loc["silhouette", "value"] > 0.9
    np.testing.assert_allclose(table["p"], 1 / 101)
    assert (table["chance"] < 0.4).all()


def test_windows_of_one_orbit_do_not_vouch_for_each_other():
    """Every group is a tight cluster of its own: only a leak could name its label."""
    points, labels, groups = clusters(spread=0.0, groups=6)
    nearest = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(nearest, np.inf)
    assert (labels[nearest.argmin(1)] == labels).all()
    table = separability(points, labels, groups, permutations=40).set_index("score")
    assert (table["p"] > 0.05).all()
    assert table.loc["neighbours", "value"] < 0.45
    assert table.loc["probe", "value"] < 0.45


def test_shuffled_names_have_uniform_p_values():
    p = [
        separability(*clusters(0.0, labels=3, groups=3, windows=2, seed=seed), permutations=10)
        .set_index("score")["p"]
        .loc["neighbours"]
        for seed in range(16)
    ]
    assert np.mean(np.array(p) <= 0.2) < 0.5
    assert np.mean(p) > 0.3


def test_neighbours_are_those_of_other_groups():
    """Against a loop over windows."""
    points, labels, groups = clusters(spread=0.8)
    table = separability(points, labels, groups, neighbours=3, permutations=10)
    scaled = standardised(points)
    right = []
    for row in range(len(points)):
        others = np.flatnonzero(groups != groups[row])
        order = others[np.argsort(np.linalg.norm(scaled[others] - scaled[row], axis=1))][:3]
        votes = [(sum(1 - 1e-6 * k for k, o in enumerate(order) if labels[o] == name), name)
                 for name in sorted(set(labels))]  # fmt: skip
        best = max(score for score, _ in votes)
        right.append(next(name for score, name in votes if score == best) == labels[row])
    assert table.set_index("score").loc["neighbours", "value"] == pytest.approx(np.mean(right))
    silhouette = silhouette_score(scaled, labels)
    assert table.set_index("score").loc["silhouette", "value"] == pytest.approx(silhouette)


def test_labels_of_single_groups_are_left_out():
    points, labels, groups = clusters(spread=100.0, labels=3)
    labels = labels.copy()
    labels[:4] = "alone"
    assert able(labels, groups).sum() == len(labels) - 4
    table = separability(points, labels, groups, permutations=10)
    assert set(table["labels"]) == {3}
    with pytest.raises(DataError, match="two groups"):
        separability(points, groups, groups)


def test_principal_components_are_those_of_the_library():
    points = np.random.default_rng(1).standard_normal((40, 5)) * [5, 3, 1, 1, 1]
    flat, shares = principal(points, 2)
    found = PCA(2).fit(points)
    np.testing.assert_allclose(np.abs(flat), np.abs(found.transform(points)), atol=1e-9)
    np.testing.assert_allclose(shares, found.explained_variance_ratio_, rtol=1e-9)


def test_spectra_see_frequencies_and_no_units():
    time = np.arange(256)
    slow, fast = (np.sin(2 * np.pi * k * time / 256) for k in (4, 40))
    past = np.stack([slow, fast, 7 * slow + 3], axis=0)[..., None]
    bands = spectra(Context(past=past))
    np.testing.assert_allclose(bands[0], bands[2], atol=0.05)
    assert bands[0].argmax() < bands[1].argmax()


def test_systems_of_a_panel_are_told_apart_by_an_encoder_that_sees_their_frequency():
    panel, _ = oscillators(systems=4, count=4)
    encoder = Encoding(lambda bars: np.abs(np.diff(bars, axis=-1)) ** 2)
    found = analyse_embeddings(encoder, panel, EmbeddingsConfig(permutations=20), context=64)
    table = found.tables["separability"].set_index(["representation", "score"])
    assert table.loc[("encoder", "neighbours"), "value"] > 0.9
    assert set(found.tables["separability"]["of"]) == {"system"}
    assert found.metrics["neighbours.system.encoder"] > 0.9
    assert "tell 4 systems apart" in found.conclusion
    places = found.tables["embeddings"]
    assert set(places["system"]) == {"S0", "S1", "S2", "S3"}
    assert np.isfinite(places[["pc1", "pc2"]].to_numpy()).all()


def test_a_blind_encoder_tells_nothing():
    panel, _ = oscillators(systems=4, count=4)
    rng = np.random.default_rng(0)
    noise = Encoding(lambda bars: rng.standard_normal((*bars.shape[:-1], 5)))
    found = analyse_embeddings(noise, panel, EmbeddingsConfig(permutations=20), context=64)
    assert "do not tell 4 systems apart" in found.conclusion


def test_both_arms_have_embeddings_to_look_at():
    panel, _ = oscillators()
    config = EmbeddingsConfig(permutations=10, windows_per_item=2)
    for mixing in ("none", "attention"):
        model = make_patchtst(channel_mixing=mixing, context=64, patch=8)
        found = analyse_embeddings(model, panel, config, context=64)
        assert np.isfinite(found.tables["separability"]["value"]).all()


def test_what_cannot_be_looked_at_is_told():
    panel, _ = oscillators(points=50)
    config = EmbeddingsConfig()
    with pytest.raises(ConfigError, match="persistent has no encoder"):
        analyse_embeddings(Persistent(), panel, config, context=16)
    with pytest.raises(DataError, match="no trajectory has 65 points"):
        analyse_embeddings(Encoding(lambda bars: bars), panel, config, context=64)
    with pytest.raises(ConfigError, match=r"embeddings.permutations=1 is too small"):
        EmbeddingsConfig(permutations=1)
