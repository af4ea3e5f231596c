"""Random monomials and Fourier features of a patch."""

from __future__ import annotations

import torch

from tsfm.models.dynamics_embedding import DynamicsEmbedding


def make_embedding(seed: int = 0) -> DynamicsEmbedding:
    torch.manual_seed(99)
    return DynamicsEmbedding(
        8, 12, degrees=(2, 3), monomials=5, fourier_features=6, fourier_scale=2.0, seed=seed
    )


def test_features_are_bars_monomials_sines_and_cosines() -> None:
    embedding = make_embedding()
    x = torch.randn(2, 3, 8)
    features = embedding.features(x)
    assert features.shape == (2, 3, 8 + 10 + 6)
    for k, (a, b) in enumerate(embedding.monomials_2.tolist()):
        torch.testing.assert_close(features[..., 8 + k], x[..., a] * x[..., b])
    for k, (a, b, c) in enumerate(embedding.monomials_3.tolist()):
        torch.testing.assert_close(features[..., 13 + k], x[..., a] * x[..., b] * x[..., c])
    for k in range(3):
        angle = (x * embedding.frequencies[:, k]).sum(-1) + embedding.phases[k]
        torch.testing.assert_close(features[..., 18 + k], angle.sin())
        torch.testing.assert_close(features[..., 21 + k], angle.cos())
    torch.testing.assert_close(embedding(x), features @ embedding.projection.weight.T)


def test_what_is_drawn_depends_on_the_seed_alone_and_is_kept() -> None:
    state, same, other = (make_embedding(seed).state_dict() for seed in (0, 0, 1))
    drawn = [name for name in state if name != "projection.weight"]
    assert drawn == ["monomials_2", "monomials_3", "frequencies", "phases"]
    assert all(torch.equal(state[name], same[name]) for name in drawn)
    assert not any(torch.equal(state[name], other[name]) for name in drawn)
    assert [name for name, _ in make_embedding().named_parameters()] == ["projection.weight"]
