"""What sources are put together of: panels of one origin, and how a user's frame becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.ohlcv.market import MarketConfig
    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation
    from tsfm.data.quality import QualityReport
    from tsfm.data.series import PanelInfo
    from tsfm.data.synthetic.corpus_config import CorpusConfig


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Panels of one origin.

    Attributes
    ----------
    preparation
        From a user's frame to such a panel, and back.
    example
        A frame as ``preparation`` takes it: the latest bars of one item.
    report
        Of the quality of what was read, where that was examined.
    """

    panels: tuple[Panel, ...]
    preparation: Preparation
    example: pd.DataFrame
    report: QualityReport | None = None


def sample_origin(targets: Sequence[str], example_bars: int) -> Origin:
    """The real daily bars that ship in PyPI packages."""
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.ohlcv.sample import sample_bars, sample_panel

    preparation = BarPreparation(targets=targets)
    return Origin(
        panels=(sample_panel(preparation),),
        preparation=preparation,
        example=latest(sample_bars(), example_bars),
    )


def simulated_origin(market: MarketConfig, targets: Sequence[str], example_bars: int) -> Origin:
    """A simulated market."""
    from tsfm.data.ohlcv.market import MarketConfig
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.ohlcv.simulator import simulate_bars, simulate_panel

    preparation = BarPreparation(targets=targets)
    few = simulate_bars(MarketConfig(n_assets=2, n_bars=example_bars, seed=market.seed))
    return Origin(
        panels=(simulate_panel(market, preparation),),
        preparation=preparation,
        example=latest(few, example_bars),
    )


def synthetic_origin(corpus: CorpusConfig, targets: Sequence[str], example_bars: int) -> Origin:
    """Series of random kernels and parts.

    Raises
    ------
    ConfigError
        When a target is not their one variate.
    """
    from tsfm.data.synthetic.corpus import synthetic_panel

    panel = synthetic_panel(corpus)
    if targets:
        panel = panel.variates(targets)
    return Origin(
        panels=(panel,),
        preparation=_columns(panel.info),
        example=columns_of(panel, example_bars),
    )


def table_origin(path: Path, targets: Sequence[str], example_bars: int) -> Origin:
    """A CSV or Parquet file of bars.

    Raises
    ------
    DataError
        When it is missing, unreadable or holds no valid bars.
    """
    from tsfm.data.ohlcv.bars import validate_bars
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.table import read_table

    preparation = BarPreparation(targets=targets)
    frame = validate_bars(read_table(path), where=str(path))
    return Origin(
        panels=(preparation.panel(frame, name=path.stem),),
        preparation=preparation,
        example=latest(frame, example_bars),
    )


def panel_origin(path: Path, targets: Sequence[str], example_bars: int) -> Origin:
    """A panel that was built before; made of bars, it takes bars again.

    Raises
    ------
    DataError
        When there is no panel, it is damaged, or its series have no timestamps.
    """
    from tsfm.data.panel import Panel

    panel = Panel.open(path)
    preparation = recorded_preparation(panel, targets)
    if targets:
        panel = panel.variates(targets, others_as_past=True)
    if preparation is not None:
        example = _bars_of(panel, example_bars)
    else:
        preparation, example = _columns(panel.info), columns_of(panel, example_bars)
    return Origin(panels=(panel,), preparation=preparation, example=example)


def recorded_preparation(panel: Panel, targets: Sequence[str]) -> Preparation | None:
    """What the panel was made by from bars, as its provenance tells; ``None`` where it does not.

    Raises
    ------
    CheckpointError
        When the record is of an unknown or damaged preparation.
    """
    from tsfm.data.preparation import make_preparation

    record = panel.info.provenance.get("preparation")
    if not isinstance(record, Mapping) or "name" not in record:
        return None
    state = {key: value for key, value in record.items() if key != "name"}
    if targets and "bars" in state:
        state["bars"] = {**state["bars"], "targets": list(targets)}
    elif targets:
        state["targets"] = list(targets)
    return make_preparation(record["name"], state, where=f"panel {panel.info.name}")


def latest(frame: pd.DataFrame, bars: int) -> pd.DataFrame:
    """The last rows of a frame's first item."""
    first = frame[frame["item_id"] == frame["item_id"].iloc[0]]
    return first.tail(bars).reset_index(drop=True)


def _columns(info: PanelInfo) -> Preparation:
    from tsfm.data.preparation import ColumnPreparation

    return ColumnPreparation(
        variates=info.variates,
        past_covariates=info.past_covariates,
        known_covariates=info.known_covariates,
        freq=info.freq,
        seasonality=info.seasonality,
    )


def columns_of(panel: Panel, bars: int) -> pd.DataFrame:
    """The latest bars of a panel's first item, a column for each variate and covariate."""
    import pandas as pd

    frame = pd.DataFrame({"timestamp": _stamps(panel)[-bars:], **_rows(panel, bars)})
    frame.insert(0, "item_id", panel.item_ids[0])
    return frame


def _bars_of(panel: Panel, bars: int) -> pd.DataFrame:
    """The latest bars of a panel's first item, with its closes, ranges and volumes.

    The panel does not keep opens: every bar opens where it closes, in the middle of its range.
    """
    import pandas as pd

    stamps = _stamps(panel)[-bars:]
    rows: dict[str, Any] = {name: row.astype(float) for name, row in _rows(panel, bars).items()}
    nothing = np.zeros(len(stamps))
    close = rows.get("log_close", np.cumsum(np.nan_to_num(rows.get("log_return", nothing))))
    half = np.exp(rows.get("log_range", nothing - np.inf)) / 2
    frame = pd.DataFrame(
        {
            "item_id": panel.item_ids[0],
            "timestamp": stamps,
            "open": np.exp(close),
            "high": np.exp(close + half),
            "low": np.exp(close - half),
            "close": np.exp(close),
            "volume": np.exp(rows.get("log_volume", nothing)),
        }
    )
    return frame


def _rows(panel: Panel, bars: int) -> dict[str, np.ndarray]:
    """The latest values of a panel's first item by the names of its variates and covariates."""
    series, info = panel.series(0), panel.info
    return {
        name: row[-bars:]
        for names, rows in (
            (info.variates, series.target),
            (info.past_covariates, series.past_covariates),
            (info.known_covariates, series.known_covariates),
        )
        for name, row in zip(names, () if rows is None else rows, strict=True)
    }


def _stamps(panel: Panel) -> np.ndarray:
    stamps = panel.timestamps(0)
    if stamps is None:
        raise DataError("the series have no timestamps", where=f"panel {panel.info.name}")
    return stamps
