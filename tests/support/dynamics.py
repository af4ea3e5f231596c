"""Ensembles that are made in a moment."""

from __future__ import annotations

from typing import Any

from tsfm.data.dynamics.ensemble_config import EnsembleConfig


def small(**changes: Any) -> EnsembleConfig:
    """Two systems, four trajectories of each, two parameter draws, short and coarse."""
    values: dict[str, Any] = {
        "systems": ("Lorenz", "Rossler"),
        "n_trajectories": 4,
        "n_parameters": 2,
        "n_skew": 0,
        "points": 256,
        "points_per_period": 32,
        "parameter_scale": 0.05,
    }
    return EnsembleConfig(**(values | changes))
