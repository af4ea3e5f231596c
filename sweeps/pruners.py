"""Pruners by name: which unpromising trials are stopped at a validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sweeps.samplers import check_options
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

OPTIONS: dict[str, dict[str, type]] = {
    "none": {},
    "asha": dict.fromkeys(
        ("min_resource", "reduction_factor", "min_early_stopping_rate", "bootstrap_count"), int
    ),
    "hyperband": dict.fromkeys(
        ("min_resource", "max_resource", "reduction_factor", "bootstrap_count"), int
    ),
    "median": dict.fromkeys(
        ("n_startup_trials", "n_warmup_steps", "interval_steps", "n_min_trials"), int
    ),
    "wilcoxon": {"p_threshold": float, "n_startup_steps": int},
}


def check_pruner(spec: Mapping[str, Any], n_objectives: int) -> None:
    """Raise :class:`ConfigError` unless a pruner can be made of the specification."""
    check_options("pruner", spec, OPTIONS)
    if n_objectives > 1 and spec["name"] != "none":
        raise ConfigError(
            f"pruner={spec['name']} with {n_objectives} objectives",
            remedy="several objectives cannot be pruned: give pruner=none",
        )
    make_pruner(spec)


def make_pruner(spec: Mapping[str, Any]) -> BasePruner:
    """The pruner of a specification. Its steps are validations: the first is 1.

    ASHA starts at one validation and halves by 3 unless told otherwise.

    Raises
    ------
    ConfigError
        When an option is not allowed.
    """
    from optuna import pruners

    made: dict[str, Callable[..., BasePruner]] = {
        "none": pruners.NopPruner,
        "asha": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
        "median": pruners.MedianPruner,
        "wilcoxon": pruners.WilcoxonPruner,
    }
    options = {key: value for key, value in spec.items() if key != "name"}
    if spec["name"] == "asha":
        options = {"min_resource": 1, "reduction_factor": 3, **options}
    try:
        return made[spec["name"]](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"pruner={dict(spec)}: {error}") from error
