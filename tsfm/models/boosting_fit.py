"""What training examples determine of a boosted model: a linear mix, and boosters of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from tsfm.errors import ConfigError
from tsfm.models.boosting_config import BoostingConfig
from tsfm.models.boosting_features import Seen

if TYPE_CHECKING:
    from lightgbm import Booster

EARLY = 0.8
"""Part of every series that choices are fitted to; they are made on what comes after."""

_PENALTIES = (1e-3, 1e-1, 1.0, 10.0, 1e3)


def mixed(bases: np.ndarray, outcome: np.ndarray, penalty: float) -> Float[np.ndarray, " base"]:
    """Ridge regression on what is not extreme; the penalty is in units of each column's power."""
    limit = 10 * np.median(np.abs(outcome)) + 1e-9
    usual = (np.abs(outcome) <= limit) & (np.abs(bases) <= limit).all(axis=1)
    inputs, told = bases[usual], outcome[usual]
    gram = inputs.T @ inputs
    shrinking = penalty * np.diag(np.diag(gram)) + 1e-9 * np.eye(len(gram))
    weights: np.ndarray = np.linalg.solve(gram + shrinking, inputs.T @ told)
    return weights


def penalty_of(bases: np.ndarray, outcome: np.ndarray, early: Bool[np.ndarray, " row"]) -> float:
    """The one whose mix, fitted to the early examples, is nearest to the late ones."""
    if early.all() or not early.any():
        return _PENALTIES[1]
    errors = [
        np.abs(outcome - bases @ mixed(bases[early], outcome[early], penalty))[~early].mean()
        for penalty in _PENALTIES
    ]
    return _PENALTIES[int(np.argmin(errors))]


def rounds_of(
    told: Seen,
    outcome: np.ndarray,
    early: Bool[np.ndarray, " row"],
    penalty: float,
    config: BoostingConfig,
) -> list[int]:
    """Trees of each level's booster: as many as forecast the end of the series best.

    Found at the outermost levels and the median, fitted to what comes before; between these, in
    proportion.
    """
    if early.all() or not early.any():
        return [config.rounds] * len(config.levels)
    lightgbm = _library()
    residual = outcome - told.bases @ mixed(told.bases[early], outcome[early], penalty)
    shared = _parameters(config, int(early.sum())) | {"metric": "quantile"}
    data = lightgbm.Dataset(
        told.features[early], residual[early], params=shared, free_raw_data=False
    )
    late = lightgbm.Dataset(
        told.features[~early], residual[~early], reference=data, free_raw_data=False
    )
    probes, best = sorted({config.levels[0], 0.5, config.levels[-1]}), []
    for level in probes:
        losses: dict[str, dict[str, list[float]]] = {}
        lightgbm.train(
            shared | {"alpha": level},
            data,
            config.rounds,
            valid_sets=[late],
            callbacks=[lightgbm.record_evaluation(losses)],
        )
        best.append(1 + int(np.argmin(losses["valid_0"]["quantile"])))
    return [round(count) for count in np.interp(config.levels, probes, best).tolist()]


def boosted(
    features: Float[np.ndarray, "row feature"],
    outcome: Float[np.ndarray, " row"],
    config: BoostingConfig,
    rounds: list[int],
) -> tuple[Booster, ...]:
    lightgbm = _library()
    shared = _parameters(config, len(outcome))
    data = lightgbm.Dataset(features, outcome, params=shared, free_raw_data=False)
    return tuple(
        lightgbm.train(shared | {"alpha": level}, data, count)
        for level, count in zip(config.levels, rounds, strict=True)
    )


def _parameters(config: BoostingConfig, examples: int) -> dict[str, Any]:
    return {
        "objective": "quantile",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": min(config.min_leaf, max(1, examples // 10)),
        "max_bin": 63,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _library() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError("lightgbm is not installed", remedy="pip install lightgbm") from error
    return lightgbm
