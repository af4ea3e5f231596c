"""Where training panels come from: bars, readings of glucose, simulations, the user's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import fsum, isclose, isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.cohort_config import CohortConfig
from tsfm.data.panel_state import STATE_FILE
from tsfm.data.synthetic.corpus_config import CorpusConfig
from tsfm.errors import ConfigError, DataError, one_of

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.origins import Origin
    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation
    from tsfm.data.quality import QualityReport

SOURCES = ("sample", "simulated", "mixed", "synthetic", "virtual", "path")
NAMED = ("sample", "simulated", "synthetic")


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Which panels to train and judge on.

    Attributes
    ----------
    name
        ``sample``: the real daily bars that ship in PyPI packages; ``simulated``: an hourly market;
        ``mixed``: both; ``synthetic``: series of random kernels and parts; ``virtual``: a cohort of
        virtual patients; ``path``: the user's own.
    path
        A lake, a panel, or a CSV / Parquet file of bars; a file or folder of a glucose sensor's
        readings, or a named data set of such (``brist1d``, ``brist1d:FOLDER``); or several of them
        and of ``sample``, ``simulated`` and ``synthetic``, separated by commas. Forecasts are
        served for data like the first one's.
    variates
        Those forecast, in this order; the panel's others become past covariates. Empty: all.
    weights
        Shares of the windows drawn from each of several sources (of each panel, where one lake
        makes several), summing to one. Empty: by the square root of each panel's bars, so that
        neither the largest drowns the others nor a small one is seen over and over.
    asset_class, freq
        Of a lake: only these; empty: all, each pair a panel of its own.
    features
        Of a lake: ``none``, ``default`` or a YAML file of features; they become covariates.
    simulated_assets, simulated_bars
        Size of the simulated market, bars per asset.
    simulated_weight
        Share of the windows drawn from it in ``mixed``.
    synthetic
        What synthetic series are made of; without a seed of its own, of this one's.
    validation_share, test_share
        Of each panel's time span, at its end.
    vault_share
        Of each panel's time span, the very end of ``test_share``: no experiment trains, validates
        or tests on it; ``promote`` seals it. Of panels that are divided by time and symbol; 0:
        none.
    held_out_share
        Of each panel's symbols: never trained on, judged after the cutoff only.
    seed
        Of the simulation and of the choice of held-out symbols.
    cgm
        How readings of glucose sensors are read and repaired.
    cohort
        Of virtual patients; without a seed of its own it has ``seed``.
    """

    name: str = "mixed"
    path: str = ""
    variates: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    asset_class: str = ""
    freq: str = ""
    features: str = "none"
    simulated_assets: int = 512
    simulated_bars: int = 8000
    simulated_weight: float = 0.6
    synthetic: CorpusConfig = field(default_factory=CorpusConfig)
    validation_share: float = 0.15
    test_share: float = 0.15
    vault_share: float = 0.05
    held_out_share: float = 0.3
    seed: int = 0
    cgm: CgmConfig = field(default_factory=CgmConfig)
    cohort: CohortConfig = field(default_factory=CohortConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "variates", tuple(self.variates))
        object.__setattr__(self, "weights", tuple(self.weights))
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
        if not 0 <= self.vault_share < self.test_share:
            raise ConfigError(
                f"data.vault_share={self.vault_share:g} with data.test_share={self.test_share:g}",
                remedy="the vault is the end of the test share: give less than that, or 0",
            )
        if not 0 < self.simulated_weight < 1:
            raise ConfigError(f"simulated_weight={self.simulated_weight} lies outside (0, 1)")
        if not self.features:
            raise ConfigError(
                "data.features is empty", remedy="give none, default or a YAML file of features"
            )
        repeated = sorted({part for part in self.parts if self.parts.count(part) > 1})
        if repeated:
            raise ConfigError(f"data names {', '.join(repeated)} twice", remedy="name each once")
        self._check_weights()

    @property
    def parts(self) -> tuple[str, ...]:
        """The names and paths that ``path`` lists; one with a comma in its name is one."""
        if Path(self.path).expanduser().exists():
            return (self.path,) if self.path else ()
        return tuple(part.strip() for part in self.path.split(",") if part.strip())

    def _check_weights(self) -> None:
        weights, total = self.weights, fsum(self.weights)
        if not weights:
            return
        if self.name != "path":
            raise ConfigError(
                f"data.weights={list(weights)} with data={self.name}",
                remedy="weights are for several sources of one's own; "
                "mixed has data.simulated_weight",
            )
        if any(not (isfinite(weight) and weight > 0) for weight in weights):
            raise ConfigError(
                f"data.weights={list(weights)} are not all positive",
                remedy="leave out a source that shall not be drawn from",
            )
        if not isclose(total, 1, abs_tol=1e-3):
            share = ", ".join(f"{weight / total:.3g}" for weight in weights)
            raise ConfigError(
                f"data.weights={list(weights)} sum to {total:g}, not to 1",
                remedy=f"give for example [{share}]",
            )
        if len(self.parts) > 1 and len(weights) != len(self.parts):
            raise ConfigError(
                f"{len(weights)} data.weights for {len(self.parts)} sources",
                remedy=f"give one for each of {', '.join(self.parts)}",
            )


@dataclass(frozen=True, kw_only=True)
class Source:
    """Panels with their sampling weights, and how they came about.

    Attributes
    ----------
    preparation
        From a user's frame to such a panel, and back.
    example
        A frame as ``preparation`` takes it: the latest bars of one item.
    reports
        Of the quality of what was read, where that was examined.
    """

    panels: tuple[Panel, ...]
    weights: tuple[float, ...]
    preparation: Preparation
    example: pd.DataFrame
    reports: tuple[QualityReport, ...] = ()


def load_source(config: SourceConfig, *, example_bars: int = 500) -> Source:
    """Make or open the panels of a source; those of a lake are kept for the next time.

    Raises
    ------
    ConfigError
        When ``weights``, ``asset_class`` or ``freq`` fit no panel.
    DataError
        When a file is missing, unreadable or holds no valid bars, or two panels have one name.
    """
    if config.name == "path":
        origins = [_origin(name, config, example_bars) for name in config.parts]
        weights = _weights(origins, config.weights)
        served = origins[0]
    elif config.name == "mixed":
        origins = [_origin(name, config, example_bars) for name in ("simulated", "sample")]
        weights = [config.simulated_weight, 1 - config.simulated_weight]
        served = origins[1]
    else:
        origins, weights = [_origin(config.name, config, example_bars)], [1.0]
        served = origins[0]
    panels = tuple(panel for origin in origins for panel in origin.panels)
    _expect_own_names(panels)
    return Source(
        panels=panels,
        weights=tuple(weights),
        preparation=served.preparation,
        example=served.example,
        reports=tuple(one.report for one in origins if one.report is not None),
    )


def _origin(name: str, config: SourceConfig, example_bars: int) -> Origin:
    from tsfm.data import origins

    targets = config.variates
    if name == "sample":
        return origins.sample_origin(targets, example_bars)
    if name == "simulated":
        from tsfm.data.ohlcv.market import MarketConfig

        market = MarketConfig(
            n_assets=config.simulated_assets, n_bars=config.simulated_bars, seed=config.seed
        )
        return origins.simulated_origin(market, targets, example_bars)
    if name == "synthetic":
        corpus = replace(config.synthetic, seed=config.synthetic.seed or config.seed)
        return origins.synthetic_origin(corpus, targets, example_bars)
    if name == "virtual":
        from tsfm.data.glucose.origins import cohort_origin

        seed = config.cohort.seed or config.seed
        return cohort_origin(replace(config.cohort, seed=seed), example_bars)
    path = Path(name).expanduser()
    from tsfm.data.ohlcv.lake import Lake

    is_lake = Lake.is_lake(path)
    if not (is_lake or (path / STATE_FILE).exists()):
        from tsfm.data.glucose.origins import cgm_origin, holds_readings

        if holds_readings(name, config.cgm, targets):
            return cgm_origin(name, config.cgm, targets, example_bars)
    if path.suffix.lower() in (".csv", ".parquet"):
        return origins.table_origin(path, targets, example_bars)
    if not is_lake:
        if len(config.parts) == 1 and (config.asset_class or config.freq):
            raise ConfigError(
                f"data.asset_class={config.asset_class!r}, data.freq={config.freq!r} choose from a "
                "lake",
                where=name,
                remedy="leave them out",
            )
        return origins.panel_origin(path, targets, example_bars)
    from tsfm.data.ohlcv.lake_panels import lake_origin

    return lake_origin(path, config, example_bars)


def _weights(origins: Sequence[Origin], given: Sequence[float]) -> list[float]:
    """Of every panel: its origin's weight, shared by the square root of bars."""
    roots = [[sqrt(float(panel.lengths.sum())) for panel in origin.panels] for origin in origins]
    if not given:
        total = fsum(map(fsum, roots))
        return [root / total for shares in roots for root in shares]
    if len(origins) == 1 and len(given) == len(roots[0]):
        return list(given)
    if len(given) != len(origins):
        names = ", ".join(panel.info.name for origin in origins for panel in origin.panels)
        raise ConfigError(
            f"{len(given)} data.weights for {len(roots[0])} panels",
            remedy=f"give one for each of {names}",
        )
    return [
        weight * root / fsum(shares)
        for weight, shares in zip(given, roots, strict=True)
        for root in shares
    ]


def _expect_own_names(panels: Sequence[Panel]) -> None:
    names = [panel.info.name for panel in panels]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"two panels are both called {', '.join(repeated)}",
            where=f"data of {len(panels)} panels",
            remedy="rename one file, or build the panel under another name",
        )
