"""tsfm-lab: pretrain, adapt, judge, register and serve time-series foundation models.

>>> import tsfm
>>> model = tsfm.load_forecaster("models:/ohlcv@champion")  # doctest: +SKIP
>>> model.predict(past=values, horizon=24).quantiles  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.evaluation.tasks import Task
    from tsfm.models.base import Forecaster

__version__ = "0.1.0"

_LAZY = {
    "Context": "tsfm.models.base",
    "DistributedConfig": "tsfm.training.ttm_options",
    "Forecast": "tsfm.models.base",
    "LoRAConfig": "tsfm.training.ttm_options",
    "Panel": "tsfm.data.panel",
    "TTMConfig": "tsfm.training.ttm_options",
    "TTMForecaster": "tsfm.training.ttm_forecaster",
    "Task": "tsfm.evaluation.tasks",
    "TrainerConfig": "tsfm.training.config",
    "create_default_ttm_config": "tsfm.training.ttm_options",
    "create_ttm_fine_tuning_config": "tsfm.training.ttm_options",
    "create_ttm_zero_shot_config": "tsfm.training.ttm_options",
    "enable_lora": "tsfm.models.adapters",
    "fit": "tsfm.training.trainer",
}

__all__ = ["UserError", "evaluate", "load_forecaster", *_LAZY]


def load_forecaster(source: str | Path, **config_overrides: Any) -> Forecaster:
    """A forecaster from a directory, a hub id, the registry (``models:/…``) or a baseline's name.

    Parameters
    ----------
    **config_overrides
        Fields of the model's config to change, e.g. ``num_samples=200``.

    Raises
    ------
    CheckpointError
        When nothing is there or it cannot be read.
    """
    from tsfm.models.source import load_local

    if str(source).startswith(("models:/", "runs:/")):
        from tsfm.tracking.registry import resolve

        source = resolve(str(source))
    return load_local(source, **config_overrides)


def evaluate(model: Forecaster, task: Task, panel: Panel) -> pd.DataFrame:
    """Score a forecaster on a frozen task: one row per window, variate and metric."""
    from tsfm.evaluation.backtest import backtest
    from tsfm.evaluation.metrics import score

    return score(backtest(model, task, panel))


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tsfm' has no attribute {name!r}")
