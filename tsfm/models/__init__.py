"""Forecasters by name; a model directory's ``config.json`` says which of them wrote it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tsfm.errors import one_of

if TYPE_CHECKING:
    from tsfm.models.base import Forecaster

BASELINES: dict[str, str] = {
    "random_walk": "tsfm.models.statistical:RandomWalk",
    "seasonal_naive": "tsfm.models.statistical:SeasonalNaive",
    "auto_ets": "tsfm.models.statistical:AutoETS",
    "theta": "tsfm.models.statistical:Theta",
    "drift": "tsfm.models.drift:Drift",
    "auto_arima": "tsfm.models.auto_arima:AutoARIMA",
    "har": "tsfm.models.har:Har",
    "linear_extrapolation": "tsfm.models.linear_extrapolation:LinearExtrapolation",
    "garch": "tsfm.models.garch:Garch",
    "garch_walk": "tsfm.models.garch_walk:GarchWalk",
    "mean": "tsfm.models.mean:Mean",
    "parroting": "tsfm.models.parroting:Parroting",
    "nvar": "tsfm.models.nvar:Nvar",
    "fracast": "tsfm.models.fracast:Fracast",
}

FITTED: dict[str, str] = {
    "dlinear": "tsfm.models.dlinear:DLinear",
    "lightgbm": "tsfm.models.boosting:Boosting",
}
"""Baselines that are fitted on a panel, by a task where nobody did it before."""

ALIASES: dict[str, str] = {"naive": "random_walk"}
"""Other names of baselines."""

MODELS: dict[str, str] = {
    **BASELINES,
    **FITTED,
    "moirai": "tsfm.models.moirai:Moirai",
    "ttm": "tsfm.models.ttm:TinyTimeMixer",
    "chronos": "tsfm.models.chronos:Chronos",
    "timesfm": "tsfm.models.timesfm:TimesFm",
    "patchtst": "tsfm.models.patchtst:PatchTST",
    "patchtst_hf": "tsfm.models.patchtst_hf:HfPatchTST",
    "foreign": "tsfm.models.foreign.forecaster:ForeignForecaster",
    "conditioned": "tsfm.models.conditioning:Conditioned",
}


def model_class(name: str) -> type[Forecaster]:
    """The class of a model's name.

    Raises
    ------
    ConfigError
        When the name is not one of :data:`MODELS`.
    """
    name = ALIASES.get(name, name)
    one_of("model", name, MODELS)
    module, _, attribute = MODELS[name].partition(":")
    found: type[Forecaster] = getattr(import_module(module), attribute)
    return found


def named(source: str) -> str | None:
    """A baseline's own name, also of another name of it; None of anything else."""
    name = ALIASES.get(source, source)
    return name if name in BASELINES or name in FITTED else None
