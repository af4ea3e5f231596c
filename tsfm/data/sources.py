"""Where pretraining panels come from: real bars, simulated bars, both, or the user's own files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.errors import ConfigError, DataError, one_of

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation

SOURCES = ("sample", "simulated", "mixed", "path")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Which panels to train and judge on.

    Attributes
    ----------
    name
        ``sample``: the real daily bars that ship in PyPI packages; ``simulated``: an hourly market;
        ``mixed``: both; ``path``: a panel, or a CSV / Parquet file of bars.
    variates
        Those forecast, in this order; the panel's others become past covariates. Empty: all.
    simulated_assets, simulated_bars
        Size of the simulated market, bars per asset.
    simulated_weight
        Share of the windows drawn from it in a mixture.
    validation_share, test_share
        Of each panel's time span, at its end.
    held_out_share
        Of each panel's symbols: never trained on, judged after the cutoff only.
    seed
        Of the simulation and of the choice of held-out symbols.
    """

    name: str = "mixed"
    path: str = ""
    variates: tuple[str, ...] = ()
    simulated_assets: int = 128
    simulated_bars: int = 8000
    simulated_weight: float = 0.6
    validation_share: float = 0.15
    test_share: float = 0.15
    held_out_share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "variates", tuple(self.variates))
        one_of("data", self.name, SOURCES)
        if self.seed < 0:
            raise ConfigError(f"data.seed={self.seed} is negative", remedy="give 0 or more")
        if (self.name == "path") != bool(self.path):
            raise ConfigError(
                f"data={self.name} with path={self.path!r}", remedy="give one of them"
            )
        if self.simulated_assets < 2 or self.simulated_bars < 100:
            raise ConfigError(
                f"{self.simulated_assets} assets × {self.simulated_bars} bars are too few",
                remedy="give at least 2 assets and 100 bars",
            )
        shares = (self.validation_share, self.test_share, self.held_out_share)
        if any(not 0 < share < 0.5 for share in shares):
            raise ConfigError(f"shares {shares} lie outside (0, 0.5)")
        if not 0 < self.simulated_weight < 1:
            raise ConfigError(f"simulated_weight={self.simulated_weight} lies outside (0, 1)")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Panels with their sampling weights, and how they came about.

    Attributes
    ----------
    preparation
        From a user's frame to such a panel, and back.
    example
        A frame as ``preparation`` takes it: the latest bars of one item.
    """

    panels: tuple[Panel, ...]
    weights: tuple[float, ...]
    preparation: Preparation
    example: pd.DataFrame


def load_source(config: SourceConfig, *, example_bars: int = 500) -> Source:
    """Make or open the panels of a source.

    Raises
    ------
    DataError
        When a file is missing, unreadable or holds no valid bars.
    """
    if config.name == "path":
        return _read(Path(config.path).expanduser(), config.variates, example_bars)
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.ohlcv.sample import sample_bars, sample_panel
    from tsfm.data.ohlcv.simulator import MarketConfig, simulate_bars, simulate_panel

    preparation = BarPreparation(targets=config.variates)
    panels: list[Panel] = []
    if config.name in ("simulated", "mixed"):
        market = MarketConfig(
            n_assets=config.simulated_assets, n_bars=config.simulated_bars, seed=config.seed
        )
        panels.append(simulate_panel(market, preparation))
    if config.name in ("sample", "mixed"):
        panels.append(sample_panel(preparation))
    share = config.simulated_weight
    if config.name == "simulated":
        bars = simulate_bars(MarketConfig(n_assets=2, n_bars=example_bars, seed=config.seed))
    else:
        bars = sample_bars()
    return Source(
        panels=tuple(panels),
        weights=(share, 1 - share) if config.name == "mixed" else (1.0,),
        preparation=preparation,
        example=_latest(bars, example_bars),
    )


def _read(path: Path, variates: tuple[str, ...], example_bars: int) -> Source:
    """A panel as it is; a CSV or Parquet file as bars."""
    from tsfm.data.ohlcv.bars import validate_bars
    from tsfm.data.ohlcv.preparation import BarPreparation
    from tsfm.data.panel import Panel
    from tsfm.data.preparation import ColumnPreparation
    from tsfm.data.table import read_table

    preparation: Preparation
    if path.suffix.lower() in (".csv", ".parquet"):
        preparation = BarPreparation(targets=variates)
        frame = validate_bars(read_table(path), where=str(path))
        panel = preparation.panel(frame, name=path.stem)
    else:
        panel = Panel.open(path)
        if variates:
            panel = panel.variates(variates, others_as_past=True)
        info = panel.info
        preparation = ColumnPreparation(
            variates=info.variates,
            past_covariates=info.past_covariates,
            known_covariates=info.known_covariates,
            freq=info.freq,
            seasonality=info.seasonality,
        )
        frame = _frame_of(panel, example_bars)
    return Source(
        panels=(panel,),
        weights=(1.0,),
        preparation=preparation,
        example=_latest(frame, example_bars),
    )


def _latest(frame: pd.DataFrame, bars: int) -> pd.DataFrame:
    first = frame[frame["item_id"] == frame["item_id"].iloc[0]]
    return first.tail(bars).reset_index(drop=True)


def _frame_of(panel: Panel, bars: int) -> pd.DataFrame:
    """The latest bars of a panel's first item, a column for each variate and covariate."""
    import pandas as pd

    series, info = panel.series(0), panel.info
    values = {
        name: row[-bars:]
        for names, rows in (
            (info.variates, series.target),
            (info.past_covariates, series.past_covariates),
            (info.known_covariates, series.known_covariates),
        )
        for name, row in zip(names, () if rows is None else rows, strict=True)
    }
    stamps = panel.timestamps(0)
    if stamps is None:
        raise DataError("the series have no timestamps", where=f"panel {panel.info.name}")
    frame = pd.DataFrame({"timestamp": stamps[-bars:], **values})
    frame.insert(0, "item_id", series.item_id)
    return frame
