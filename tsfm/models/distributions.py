"""MOIRAI's predictive distribution: a mixture of four components under an affine scaler.

Densities and means are differentiable torch; distribution functions, quantiles and samples come
from compiled kernels (:mod:`tsfm.models.mixture_kernels`) and carry no gradient.

The negative binomial is used as a *density over the non-negative reals*,
``f(x) = Γ(x + r) / (Γ(x + 1) Γ(r)) · (1 - p)^r · p^x``, which does not integrate to one. Its
distribution function here is the integral of that density, and the mixture's is divided by the
mixture's total mass: exactly the distribution that the likelihood trains, so that ``cdf`` is the
integral of ``exp(log_prob)`` normalised. Its mean stays that of the counting distribution,
``r · p / (1 - p)``, as in the reference.
Source: Woo et al. 2024, *Unified Training of Universal Time Series Forecasting Transformers*, §3.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tsfm.models.mixture_marginals import MixtureMarginals

COMPONENTS = ("student_t", "normal_fixed_scale", "negative_binomial", "log_normal")
NORMAL_SCALE = 1e-3
N_PARAMETERS = len(COMPONENTS) + 8

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Student-t, narrow normal, negative binomial and log-normal, scaled and shifted.

    All fields share the shape of the values they describe, except for ``log_weights`` with the
    components in front, ``[component, *shape]``.

    Attributes
    ----------
    df, t_location, t_scale
        Student-t; more than two degrees of freedom.
    normal_location
        Normal with standard deviation 1e-3.
    count, logits
        Negative binomial: ``r`` and ``log(p / (1 - p))``.
    log_location, log_scale
        Log-normal.
    location, scale
        Of the affine map from the components' units to the data's; broadcast against the fields.
    """

    log_weights: Float[Tensor, "component *shape"]
    df: Float[Tensor, "*shape"]
    t_location: Float[Tensor, "*shape"]
    t_scale: Float[Tensor, "*shape"]
    normal_location: Float[Tensor, "*shape"]
    count: Float[Tensor, "*shape"]
    logits: Float[Tensor, "*shape"]
    log_location: Float[Tensor, "*shape"]
    log_scale: Float[Tensor, "*shape"]
    location: Float[Tensor, "#*shape"]
    scale: Float[Tensor, "#*shape"]

    @classmethod
    def from_raw(
        cls,
        raw: Float[Tensor, "parameter *shape"],
        location: Float[Tensor, "#*shape"],
        scale: Float[Tensor, "#*shape"],
    ) -> Mixture:
        """Map unconstrained parameters, in the order of the fields, into their domains."""
        raw = raw.float()
        epsilon = torch.finfo(raw.dtype).eps
        logits, *rows = raw.split([len(COMPONENTS), *[1] * (N_PARAMETERS - len(COMPONENTS))])
        df, t_location, t_scale, normal_location, count, odds, log_location, log_scale = (
            row.squeeze(0) for row in rows
        )
        return cls(
            log_weights=F.log_softmax(logits, dim=0),
            df=2.0 + F.softplus(df),
            t_location=t_location,
            t_scale=F.softplus(t_scale).clamp_min(epsilon),
            normal_location=normal_location,
            count=F.softplus(count).clamp_min(epsilon),
            logits=odds,
            log_location=log_location,
            log_scale=F.softplus(log_scale).clamp_min(epsilon),
            location=location,
            scale=scale,
        )

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """Weighted mean of the components' means."""
        means = torch.stack(
            [
                self.t_location,
                self.normal_location,
                self.count * self.logits.exp(),
                (self.log_location + 0.5 * self.log_scale.square()).exp(),
            ]
        )
        return (self.log_weights.exp() * means).sum(0) * self.scale + self.location

    def log_prob(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log density of values in the data's units."""
        return self.scaled_log_prob((value - self.location) / self.scale)

    def scaled_log_prob(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log density, in the data's units, of values that are already shifted and scaled."""
        positive, non_negative = x > 0, x >= 0
        log_probs = torch.stack(
            [
                self._student_t(x),
                self._normal(x),
                self._negative_binomial(torch.where(non_negative, x, 1.0)).where(
                    non_negative, -math.inf
                ),
                self._log_normal(torch.where(positive, x, 1.0)).where(positive, -math.inf),
            ]
        )
        return torch.logsumexp(self.log_weights + log_probs, dim=0) - self.scale.log()

    def _student_t(self, x: Tensor) -> Tensor:
        z = (x - self.t_location) / self.t_scale
        half = 0.5 * self.df
        return (
            torch.lgamma(half + 0.5)
            - torch.lgamma(half)
            - 0.5 * (math.pi * self.df).log()
            - self.t_scale.log()
            - (half + 0.5) * torch.log1p(z.square() / self.df)
        )

    def _normal(self, x: Tensor) -> Tensor:
        z = (x - self.normal_location) / NORMAL_SCALE
        return -0.5 * z.square() - (math.log(NORMAL_SCALE) + _LOG_SQRT_2PI)

    def _negative_binomial(self, x: Tensor) -> Tensor:
        return (
            torch.lgamma(x + self.count)
            - torch.lgamma(x + 1)
            - torch.lgamma(self.count)
            + (self.count + x) * F.logsigmoid(self.logits)
            - self.count * self.logits
        )

    def _log_normal(self, x: Tensor) -> Tensor:
        log_x = x.log()
        z = (log_x - self.log_location) / self.log_scale
        return -0.5 * z.square() - self.log_scale.log() - _LOG_SQRT_2PI - log_x

    @cached_property
    def marginals(self) -> MixtureMarginals:
        """The same distributions on the CPU, without gradients."""
        fields = (
            *self.log_weights.exp(),
            self.df,
            self.t_location,
            self.t_scale,
            self.normal_location,
            self.count,
            self.logits,
            self.log_location,
            self.log_scale,
            self.location,
            self.scale,
        )
        shape = self.df.shape
        columns = [field.detach().expand(shape).double() for field in fields]
        return MixtureMarginals(table=torch.stack(columns, -1).cpu().numpy())

    def cdf(self, value: Float[np.ndarray, "*shape point"]) -> Float[np.ndarray, "*shape point"]:
        """Probability of at most each value; absolute error below 1e-6."""
        return self.marginals.cdf(value)

    def quantiles(
        self, levels: Float[np.ndarray, "*shape level"] | Float[np.ndarray, " level"]
    ) -> Float[np.ndarray, "*shape level"]:
        """Where the distribution function reaches each level, to 1e-5 in probability.

        ``levels`` increase along their last axis and are the same for all elements, or one row
        for each.
        """
        return self.marginals.quantiles(levels)

    def sample(self, n: int, rng: np.random.Generator) -> Float[np.ndarray, "*shape sample"]:
        """Independent draws of every element, by inversion of the distribution function."""
        uniform = rng.random((*self.df.shape, n))
        draws = self.quantiles(np.sort(uniform, axis=-1))
        ranks = np.argsort(np.argsort(uniform, axis=-1), axis=-1)
        return np.take_along_axis(draws, ranks, axis=-1)
