"""A small model of every family, random or fitted at once, and a frame for it to forecast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from support import chronos_tiny, moirai, patchtst, timesfm_tiny, ttm

from tsfm.data.preparation import ColumnPreparation
from tsfm.models import BASELINES, model_class
from tsfm.models.adapters import enable_lora, merge_lora
from tsfm.models.base import Forecaster
from tsfm.models.conditioning import Conditioned
from tsfm.models.conditioning_config import ConditioningConfig
from tsfm.models.dlinear import DLinear, DLinearConfig
from tsfm.models.garch import Garch
from tsfm.models.patchtst_hf import HfPatchTST
from tsfm.models.patchtst_hf_config import HfPatchTSTConfig
from tsfm.models.source import load_local

HORIZON, LEVELS = 8, (0.1, 0.5, 0.9)
PREPARATION = ColumnPreparation(variates=("a", "b"), freq="h", seasonality=24)
SMALL_MOIRAI = {"patch_sizes": (8, 16), "context": 64, "horizon": 16, "token_budget": 64}


def walks(items: int = 2, bars: int = 200, seed: int = 0) -> pd.DataFrame:
    """Hourly random walks with a daily season, ``item_id, timestamp, a, b``."""
    rng = np.random.default_rng(seed)
    daily = np.sin(np.arange(bars) / 24 * 2 * np.pi)
    frames = [
        pd.DataFrame(
            {
                "item_id": f"item-{k}",
                "timestamp": pd.date_range("2024-01-01", periods=bars, freq="h"),
                "a": 50 + 3 * daily + rng.normal(size=bars).cumsum(),
                "b": 20 - 2 * daily + rng.normal(size=bars).cumsum() / 3,
            }
        )
        for k in range(items)
    ]
    return pd.concat(frames, ignore_index=True)


def _merged() -> Forecaster:
    model = moirai.make_model(**SMALL_MOIRAI)
    enable_lora(model, rank=2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 10)
    return merge_lora(model).eval()


def _conditioned() -> Forecaster:
    config = ConditioningConfig(scaler="standard", scope="global")
    return Conditioned.fitted(ttm.make_model(), config, PREPARATION.panel(walks()))


def _hf() -> Forecaster:
    torch.manual_seed(0)
    size = {"d_model": 16, "heads": 2, "layers": 1, "d_ff": 32, "context": 64, "horizon": 16}
    return HfPatchTST(HfPatchTSTConfig(**size)).eval()


def _chronos(family: str, directory: Path) -> Forecaster:
    made = chronos_tiny.tiny(family, directory / "made")
    chronos_tiny.amend(made, tsfm=None)
    return load_local(made)


def _dlinear() -> Forecaster:
    config = DLinearConfig(context=48, horizon=8)
    return DLinear(config).fit(PREPARATION.panel(walks()))


def _boosting() -> Forecaster:
    from tsfm.models.boosting import Boosting, BoostingConfig

    config = BoostingConfig(horizon=8, levels=LEVELS, rounds=10, min_leaf=10, max_examples=500)
    return Boosting(config).fit(PREPARATION.panel(walks()))


FAMILIES: dict[str, Callable[[Path], Forecaster]] = {
    "moirai": lambda _: moirai.make_model(**SMALL_MOIRAI).eval(),
    "moirai_with_merged_adapters": lambda _: _merged(),
    "ttm": lambda _: ttm.make_model(),
    "ttm_mixing_channels": lambda _: ttm.make_mixing_model(targets=2, past=0, known=0),
    "ttm_conditioned": lambda _: _conditioned(),
    "patchtst": lambda _: patchtst.make_patchtst(channel_mixing="none").eval(),
    "patchtst_mixing_channels": lambda _: patchtst.make_patchtst(channel_mixing="attention").eval(),
    "panda": lambda _: patchtst.make_patchtst(dynamics_embedding=True).eval(),
    "patchtst_hf": lambda _: _hf(),
    "chronos_t5": lambda directory: _chronos("t5", directory),
    "chronos_bolt": lambda directory: _chronos("bolt", directory),
    "chronos2": lambda directory: _chronos("chronos2", directory),
    "timesfm": lambda directory: load_local(timesfm_tiny.tiny("2.5", directory / "made")),
    "dlinear": lambda _: _dlinear(),
    "lightgbm": lambda _: _boosting(),
    **{name: lambda _, name=name: model_class(name)() for name in BASELINES},
    "garch": lambda _: Garch(returns="a", log_range="b"),
}
SLOW = ("auto_arima", "auto_ets", "garch_walk")


def make(family: str, directory: Path) -> Forecaster:
    """A forecaster of the family; ``directory`` is for what it is made of."""
    return FAMILIES[family](directory)


def save(forecaster: Forecaster, directory: Path) -> Path:
    """With the preparation of :func:`walks`."""
    forecaster.save(directory)
    PREPARATION.save(directory)
    return directory
