"""Embedding of a patch by what Koopman operators look through: monomials and Fourier features.

Source: Lai, Bao & Gilpin 2025, *Panda: A pretrained forecast model for chaotic dynamics*; random
Fourier features: Rahimi & Recht 2007.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DynamicsEmbedding(nn.Module):
    """Bars of a patch, random monomials and random Fourier features of them, mapped linearly.

    Monomials and frequencies are drawn once and stay; they are buffers, hence in every checkpoint.

    Parameters
    ----------
    patch
        Bars in a patch.
    dim
        Width of the embedding.
    degrees, monomials
        ``monomials`` products of 2, 3 … bars, drawn with repetition, for each degree.
    fourier_features, fourier_scale
        Sines and cosines, half each, and the standard deviation of their frequencies.
    seed
        Of all that is drawn. The monomials are those that the reference draws after
        ``torch.manual_seed(seed)``.
    """

    def __init__(
        self,
        patch: int,
        dim: int,
        *,
        degrees: Sequence[int],
        monomials: int,
        fourier_features: int,
        fourier_scale: float,
        seed: int,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.degrees = tuple(degrees)
        for degree in self.degrees:
            drawn = torch.randint(high=patch, size=(monomials, degree), generator=generator)
            self.register_buffer(monomial_buffer(degree), drawn)
        half = fourier_features // 2
        frequencies = fourier_scale * torch.randn(patch, half, generator=generator)
        self.register_buffer("frequencies", frequencies)
        self.register_buffer("phases", torch.randn(half, generator=generator))
        width = patch + len(self.degrees) * monomials + fourier_features
        self.projection = nn.Linear(width, dim, bias=False)

    def features(self, x: Float[Tensor, "*batch patch"]) -> Float[Tensor, "*batch feature"]:
        """Bars, monomials by degree, sines, cosines."""
        products = [x[..., self.get_buffer(monomial_buffer(d))].prod(-1) for d in self.degrees]
        angles = x @ self.get_buffer("frequencies").to(x.dtype) + self.get_buffer("phases")
        return torch.cat([x, *products, angles.sin(), angles.cos()], dim=-1)

    def forward(self, x: Float[Tensor, "*batch patch"]) -> Float[Tensor, "*batch dim"]:
        return self.projection(self.features(x))


def monomial_buffer(degree: int) -> str:
    """The name under which a degree's monomials are kept, ``[monomial, degree]`` bars."""
    return f"monomials_{degree}"
