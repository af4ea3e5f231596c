from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scoringrules
import torch
from scipy import stats

from tsfm.evaluation.exact_crps import exact_crps
from tsfm.models.distributions import N_PARAMETERS, Mixture


@dataclass
class Frozen:
    """A distribution of scipy, for every element alike."""

    law: Any

    def cdf(self, value: np.ndarray) -> np.ndarray:
        return self.law.cdf(value)

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        return self.law.ppf(levels)


@pytest.mark.parametrize(
    ("law", "closed"),
    [
        (stats.norm(1, 2), lambda y: scoringrules.crps_normal(y, 1, 2, backend="numpy")),
        (stats.t(3), lambda y: scoringrules.crps_t(y, 3, backend="numpy")),
        (stats.expon(), lambda y: scoringrules.crps_exponential(y, 1.0, backend="numpy")),
    ],
)
def test_closed_forms(law: Any, closed: Any) -> None:
    y = np.linspace(-6, 9, 31).reshape(1, 31)
    np.testing.assert_allclose(exact_crps(Frozen(law), y), closed(y), rtol=1e-4)


def test_a_mixture_of_moirai_by_its_distribution_function() -> None:
    """Against the integral of the squared distance of distribution functions."""
    torch.manual_seed(0)
    zero, one = torch.zeros(3), torch.ones(3)
    mixture = Mixture.from_raw(torch.randn(N_PARAMETERS, 3), zero, one)
    y = np.array([-1.0, 0.3, 4.0])
    grid = np.linspace(-400, 400, 400_001)
    step = grid[1] - grid[0]
    found = exact_crps(mixture, y)
    reached = mixture.cdf(np.broadcast_to(grid, (3, len(grid))))
    for k in range(3):
        slow = ((reached[k] - (grid >= y[k])) ** 2).sum() * step
        assert found[k] == pytest.approx(slow, rel=5e-3)


def test_what_is_not_observed_is_not_scored() -> None:
    found = exact_crps(Frozen(stats.norm()), np.array([np.nan, 0.0]))
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
