"""From the lake to the model's input: nothing knows a value that comes after the cutoff.

Every value after the cutoff is changed in a second lake (timestamps are not: calendars are public),
and everything upstream of the test must come out the same to the last bit: cleaned bars, all the
features there are, regimes, the choice of features, hold-outs, batches and first contexts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib
import torch
from support.lakes import bars_of_market, make_lake

from tsfm.data.ohlcv.features_config import CALENDAR_FEATURES, MARKET_FEATURES, TRANSFORMS
from tsfm.data.panel import Panel
from tsfm.data.sources import Source, SourceConfig, load_source
from tsfm.data.windows import WindowStream
from tsfm.evaluation.config import EvaluationConfig
from tsfm.evaluation.holdout import HoldOut, hold_out_each
from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.training.batches import Batches

CONTEXT, HORIZON = 48, 12
RUNNING = {"AD", "CUMSUM", "OBV", "PVT", "WAD"}
LEFT_OUT = {
    *("MAVP", "MAXINDEX", "MININDEX", "MINMAXINDEX"),  # periods as input; positions
    *("NVI", "PVI", "VWAP"),  # totals since the series began, which the features refuse
    *("ACOS", "ASIN", "COSH", "EXP", "SINH"),  # of a price: undefined or infinite
}
VALUES = ("open", "high", "low", "close", "volume")


def every_feature(**fitted) -> dict:
    """All of TA-Lib, all transforms, market and calendar features; ``fitted`` on training rows."""
    functions = sorted(set(talib.get_functions()) - LEFT_OUT)
    return {
        "indicators": [
            {"function": name, **({"relation": "flow"} if name in RUNNING else {})}
            for name in functions
        ],
        "transforms": [{"kind": kind, "window": 20} for kind in TRANSFORMS],
        "market": {
            "window": 20,
            "features": list(MARKET_FEATURES),
            "ranks": [{"kind": kind, "window": 5} for kind in ("log_return", "volume_z")],
        },
        "calendar": {"features": list(CALENDAR_FEATURES)},
        **fitted,
    }


def soiled(bars: pl.DataFrame, seed: int) -> pl.DataFrame:
    """What markets and vendors do: gaps, splits, bad prints, impossible and empty bars."""
    rng = np.random.default_rng(seed)
    bars = bars.filter(pl.Series(rng.random(len(bars)) > 0.01))
    values = bars.select(VALUES).to_numpy(writable=True)
    symbol = bars["symbol"].rle_id().to_numpy()
    place = np.arange(len(bars)) - np.searchsorted(symbol, symbol)
    values[(symbol == 1) & (place > 300), :4] /= 2.0
    values[(symbol == 1) & (place > 300), 4] *= 2.0
    kind = rng.choice(7, len(bars), p=[0.94] + [0.01] * 6)
    values[kind == 1, 1] *= 5
    values[kind == 2, 2] *= 0.1
    values[kind == 3, 1:3] = values[kind == 3][:, [2, 1]]
    values[kind == 4, :4] = -1.0
    values[kind == 5, 4] = 0.0
    values[kind == 6] = np.nan
    return bars.with_columns(pl.DataFrame(values, schema=list(VALUES)).fill_nan(None))


def changed(bars: pl.DataFrame, where: pl.Expr, seed: int = 99) -> pl.DataFrame:
    """Every value of some bars is another: a wild market, as soiled as before."""
    rng = np.random.default_rng(seed)
    count = len(bars)
    close = 30 * np.exp(np.cumsum(rng.normal(0, 0.05, count)))
    spread = np.exp(np.abs(rng.normal(0, 0.05, count)))
    other = {
        "open": close / spread**0.5,
        "high": close * spread,
        "low": close / spread,
        "close": close,
        "volume": rng.lognormal(3, 2, count),
    }
    table = soiled(bars.with_columns(**{k: pl.Series(v) for k, v in other.items()}), seed)
    joined = bars.join(table, on=["symbol", "ts"], how="left", suffix="_other")
    return joined.select(
        "symbol",
        "ts",
        *(pl.when(where).then(pl.col(f"{k}_other")).otherwise(k).alias(k) for k in VALUES),
    )


@dataclass(frozen=True, kw_only=True)
class World:
    """A lake, and all that pretraining makes of it."""

    path: Path
    features: str

    @cached_property
    def config(self) -> SourceConfig:
        return SourceConfig(name="path", path=str(self.path), features=self.features)

    @cached_property
    def source(self) -> Source:
        return load_source(self.config)

    @property
    def panel(self) -> Panel:
        return self.source.panels[0]

    @property
    def preparation(self) -> dict:
        return self.panel.info.provenance["preparation"]

    @cached_property
    def division(self) -> HoldOut:
        few = EvaluationConfig(windows_per_item=3, items_per_task=9, baseline_context=60)
        return hold_out_each(self.source.panels, self.config, few, CONTEXT, HORIZON)[0]

    @property
    def cutoff(self) -> pd.Timestamp:
        first = self.division.tasks[0][0].first_origin
        assert isinstance(first, pd.Timestamp)
        return first

    def batches(self) -> Iterator[dict[str, torch.Tensor]]:
        """Model input of the first steps of training, then of validation."""
        torch.manual_seed(0)
        model = Moirai(MoiraiConfig(d_model=64, num_layers=1, context=CONTEXT, horizon=HORIZON))
        for part in (self.division.train, self.division.validation):
            stream = WindowStream([part], model.window_spec)
            yield from islice(Batches(model, stream, 2, seed=0), 3)


def before(panel: Panel, cutoff: pd.Timestamp, item: int) -> dict[str, np.ndarray]:
    """All that a panel holds of an item before a date."""
    stop = panel.position(item, cutoff)
    series, info = panel.series(item), panel.info
    rows = (
        (info.variates, series.target),
        (info.past_covariates, series.past_covariates),
        (info.known_covariates, series.known_covariates),
    )
    values = {
        name: row[:stop]
        for names, made in rows
        for name, row in zip(names, () if made is None else made, strict=True)
    }
    return {"timestamps": panel.timestamps(item)[:stop], **values}


FITTED = {
    "regimes": {"states": 3, "window": 60, "restarts": 1, "iterations": 10},
    "selection": {"max_features": 40, "max_rows": 500, "shadows": 5},
}
CASES = {
    "every feature": every_feature(regimes=FITTED["regimes"]),
    "mutual information": every_feature(**FITTED),
    "permutation": every_feature(
        **FITTED | {"selection": {"method": "permutation", "max_rows": 500}}
    ),
    "lasso": every_feature(**FITTED | {"selection": {"method": "lasso", "target": "log_return"}}),
}


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return soiled(bars_of_market(5, 1200, seed=2), seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("leakage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSFM_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(
    scope="module",
    params=[
        "every feature",
        "mutual information",
        pytest.param("permutation", marks=pytest.mark.slow),
        pytest.param("lasso", marks=pytest.mark.slow),
    ],
)
def worlds(request, bars: pl.DataFrame, folder: Path) -> tuple[World, World]:
    """As it was, and with another future."""
    case = folder / request.param.replace(" ", "_")
    case.mkdir()
    features = case / "features.yaml"
    features.write_text(json.dumps(CASES[request.param]))
    here = World(path=make_lake(case / "lake", equity_1h=bars).path, features=str(features))
    after = pl.col("ts").dt.replace_time_zone(None) >= here.cutoff.to_pydatetime()
    other = make_lake(case / "other/lake", equity_1h=changed(bars, after))
    return here, World(path=other.path, features=str(features))


def test_the_futures_differ_in_every_feature(worlds: tuple[World, World]) -> None:
    here, there = worlds
    assert here.panel.fingerprint != there.panel.fingerprint
    differing = set()
    for item in range(len(here.panel)):
        first, second = (
            before(world.panel, pd.Timestamp("2262-01-01"), item) for world in (here, there)
        )
        differing |= {k for k in first if not np.array_equal(first[k], second[k], equal_nan=True)}
    info = here.panel.info
    still = {*info.variates, *info.past_covariates} - differing
    assert len(still) < 0.05 * len(info.past_covariates) + 1, still


def test_features_and_variates_before_the_cutoff_are_the_same(worlds: tuple[World, World]) -> None:
    here, there = worlds
    assert here.panel.item_ids == there.panel.item_ids
    for item in range(len(here.panel)):
        first = before(here.panel, here.cutoff, item)
        second = before(there.panel, here.cutoff, item)
        assert first.keys() == second.keys()
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name], err_msg=f"{name}, item {item}")


def test_what_is_fitted_is_the_same(worlds: tuple[World, World]) -> None:
    here, there = worlds
    assert here.preparation["regimes"] is not None
    assert here.preparation == there.preparation
    fitted = [world.panel.info.provenance["fitted_until"] for world in worlds]
    assert fitted[0] == fitted[1]
    assert pd.Timestamp(fitted[0]).tz_localize(None) <= here.division.train.timestamps(0)[-1]


def test_hold_outs_are_the_same(worlds: tuple[World, World]) -> None:
    here, there = (world.division for world in worlds)
    assert here.train.fingerprint == there.train.fingerprint
    assert here.validation.fingerprint == there.validation.fingerprint
    for (task, panel), (other, changed_panel) in zip(here.tasks, there.tasks):
        assert (task.name, task.first_origin) == (other.name, other.first_origin)
        assert panel.item_ids == changed_panel.item_ids
        assert task.panel_fingerprint != other.panel_fingerprint


def test_batches_of_model_input_are_the_same(worlds: tuple[World, World]) -> None:
    pairs = list(zip(*(world.batches() for world in worlds)))
    assert len(pairs) == 6
    for first, second in pairs:
        assert first.keys() == second.keys()
        for key in first:
            assert torch.equal(first[key], second[key]), key
    assert worlds[0].source.weights == worlds[1].source.weights


def test_first_contexts_of_the_test_are_the_same(worlds: tuple[World, World]) -> None:
    here, there = worlds
    checked = 0
    for (task, panel), (other, changed_panel) in zip(here.division.tasks, there.division.tasks):
        for (item, origin), (window, _), (again, _) in zip(
            task.windows(panel), task.crops(panel), other.crops(changed_panel)
        ):
            if origin != panel.position(item, task.first_origin):
                continue
            checked += 1
            for name in ("target", "past_covariates", "known_covariates"):
                np.testing.assert_array_equal(getattr(window, name), getattr(again, name))
    assert checked >= 4


# --- the test itself finds leaks ------------------------------------------------------------------


@pytest.mark.parametrize("worlds", ["mutual information"], indirect=True)
def test_a_value_of_the_training_period_moves_all_of_it(
    worlds: tuple[World, World], bars: pl.DataFrame, folder: Path
) -> None:
    here, _ = worlds
    early = (
        pl.col("ts").dt.replace_time_zone(None)
        < pd.Timestamp(here.division.train.timestamps(0)[600]).to_pydatetime()
    )
    lake = make_lake(folder / "early/lake", equity_1h=changed(bars, early))
    there = World(path=lake.path, features=here.features)
    assert here.preparation["regimes"] != there.preparation["regimes"]
    assert here.preparation["selection"] != there.preparation["selection"]
    assert here.division.train.fingerprint != there.division.train.fingerprint
    batches = zip(here.batches(), there.batches())
    assert not all(torch.equal(a["target"], b["target"]) for a, b in batches)


def test_held_out_symbols_teach_nothing(bars: pl.DataFrame, folder: Path) -> None:
    """Features of a symbol's own bars: the others' whole history may be another."""
    features = folder / "own.yaml"
    features.write_text(json.dumps(every_feature(**FITTED) | {"market": {}}))
    here = World(path=make_lake(folder / "own/lake", equity_1h=bars).path, features=str(features))
    held_out = here.division.tasks[1][1].item_ids
    lake = make_lake(
        folder / "held/lake", equity_1h=changed(bars, pl.col("symbol").is_in(held_out))
    )
    there = World(path=lake.path, features=str(features))
    assert here.preparation == there.preparation
    assert here.division.train.fingerprint == there.division.train.fingerprint
