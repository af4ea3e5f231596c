"""Bars to variates and covariates: one way for the builder, for training and for serving."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import polars as pl
from jaxtyping import Float

from tsfm.data import frequency
from tsfm.data.ohlcv.bars import validate_bars
from tsfm.data.ohlcv.calendar import continue_calendar
from tsfm.data.ohlcv.calendar_features import calendar_features
from tsfm.data.ohlcv.cross_section import Market, MarketBuilder
from tsfm.data.ohlcv.features import Features
from tsfm.data.ohlcv.features_config import BAR_COLUMNS, FeatureConfig
from tsfm.data.ohlcv.observed import bounds
from tsfm.data.ohlcv.preparation import BarPreparation, expect_moving
from tsfm.data.ohlcv.regimes import Regimes, observe
from tsfm.data.ohlcv.selection import Selection
from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.data.preparation import Preparation
from tsfm.data.windows import Window

LOGS = ("high", "low", "close", "volume")


class FeaturePreparation(Preparation):
    """The variates of :class:`BarPreparation` with features as covariates.

    A frame's cross-asset features are those among its own items: give the whole universe, or they
    are missing. Features are missing during their warm-up too: give as many bars before the
    context.

    Parameters
    ----------
    features
        A :class:`FeatureConfig`, or what it loads from: ``default``, ``none``, a file, a mapping.
    bars
        Arguments of :class:`BarPreparation`.
    regimes, selection
        Fitted before, or their states; :meth:`fit` makes those that ``features`` asks for.

    Raises
    ------
    ConfigError
        When a parameter or a feature is unknown or out of range.
    """

    name: ClassVar[str] = "bar_features"

    def __init__(
        self,
        *,
        features: FeatureConfig | Mapping[str, Any] | str | Path = "default",
        bars: Mapping[str, Any] | None = None,
        regimes: Regimes | Mapping[str, Any] | None = None,
        selection: Selection | Mapping[str, Any] | None = None,
    ) -> None:
        self.features = Features(FeatureConfig.load(features))
        self.bars = BarPreparation(**(bars or {}))
        self.regimes = Regimes.from_state(regimes) if isinstance(regimes, Mapping) else regimes
        self.selection = (
            Selection.from_state(selection) if isinstance(selection, Mapping) else selection
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Prices and volume."""
        return self.bars.columns

    @property
    def past(self) -> tuple[str, ...]:
        """Names of the past covariates."""
        regimes = () if self.regimes is None else self.regimes.names
        return self._kept((*self.features.past, *regimes))

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the known covariates."""
        return self._kept(self.features.known)

    @property
    def warm_up(self) -> int:
        """Bars at the start of a series before every past covariate has a value."""
        features = (bars for name, bars in self.features.warm_ups.items() if name in self.past)
        return max(features, default=0)

    def fit(self, frame: pd.DataFrame) -> Self:
        """Fit the regimes and the selection that the features ask for.

        Parameters
        ----------
        frame
            Training rows.

        Raises
        ------
        DataError
            As :meth:`panel`; or when there are too few rows to fit on.
        """
        bars = to_polars(validate_bars(frame))
        with self._market(bars) as market:
            return self.fit_bars(bars, market)

    def fit_bars(
        self, bars: pl.DataFrame, market: Market | None = None, until: datetime | None = None
    ) -> Self:
        """As :meth:`fit`, of bars as :meth:`Features.compute` takes them, before ``until``."""
        config = self.features.config
        self.regimes = self.selection = None
        if config.regimes is not None:
            self.regimes = Regimes.fit(observe(bars), config.regimes, until=until)
        if config.selection is not None:
            table = self.compute(bars, market)
            names = [name for name in table.columns if name not in ("symbol", "ts")]
            rows = bars.hstack(table.select(names))
            self.selection = Selection.fit(rows, names, config.selection, until=until)
        return self

    def compute(self, bars: pl.DataFrame, market: Market | None = None) -> pl.DataFrame:
        """``symbol, ts`` and all covariates of :attr:`past` and :attr:`known`, ``Float32``.

        Parameters
        ----------
        bars
            As of :meth:`Features.compute`.

        Raises
        ------
        DataError
            When a column is missing, or rows are not sorted.
        """
        made = dict(zip((*self.past, *self.known), chain(*self._arrays(bars, market)), strict=True))
        return bars.select("symbol", "ts").hstack(pl.DataFrame(made, nan_to_null=True))

    def series(self, bars: pl.DataFrame, market: Market | None = None) -> Iterator[Series]:
        """Variates and covariates of every symbol, with explicit timestamps in UTC.

        Parameters
        ----------
        bars
            As of :meth:`Features.compute`.
        """
        past, known = self._arrays(bars, market)
        with np.errstate(divide="ignore"):
            logs = {name: np.log(bars[name].cast(pl.Float64).to_numpy()) for name in LOGS}
        stamps = _stamps(bars)
        for first, stop in bounds(bars):
            yield Series(
                item_id=bars["symbol"][first],
                target=self.bars.target(**{key: v[first:stop] for key, v in logs.items()}),
                timestamps=stamps[first:stop],
                past_covariates=past[:, first:stop] if len(past) else None,
                known_covariates=known[:, first:stop] if len(known) else None,
            )

    def info(
        self,
        timestamps: Mapping[str, np.ndarray],
        *,
        name: str,
        licence: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> PanelInfo:
        """What a panel of :meth:`series` shares; see :meth:`BarPreparation.info`."""
        info = self.bars.info(timestamps, name=name, licence=licence)
        return replace(
            info,
            past_covariates=self.past,
            known_covariates=self.known,
            provenance={**(provenance or {}), "preparation": {"name": self.name, **self.state()}},
        )

    def panel(
        self,
        frame: pd.DataFrame,
        name: str = "frame",
        *,
        licence: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> Panel:
        """A panel with explicit timestamps, one series per item.

        Parameters
        ----------
        frame
            ``item_id, timestamp, open, high, low, close, volume``; timestamps in UTC.
        licence, provenance
            Recorded in the panel.

        Raises
        ------
        DataError
            As :meth:`BarPreparation.panel`.
        """
        checked = validate_bars(frame, where=name)
        for item, rows in checked.groupby("item_id", sort=False):
            expect_moving(rows, f"{name}, item {item!r}")
        bars = to_polars(checked)
        stamps = _stamps(bars)
        calendars = {bars["symbol"][first]: stamps[first:stop] for first, stop in bounds(bars)}
        info = self.info(calendars, name=name, licence=licence, provenance=provenance)
        with self._market(bars) as market:
            panel = Panel.from_series(self.series(bars, market), info)
        return self.bars.asked(panel)

    def ahead(self, window: Window, horizon: int) -> Window:
        """Dates of the horizon by the past's timetable, and the known covariates of those dates."""
        if window.timestamps is None or horizon < 1:
            return window
        future = window.future_timestamps
        if future is None:
            future = _continued(window, horizon)
        if future is None or window.known_covariates is None:
            return replace(window, future_timestamps=future)
        calendar = self.features.config.calendar
        made = calendar_features(np.concatenate([window.timestamps, future]), calendar)
        rows = [self.features.known.index(name) for name in self.known]
        known = np.full((len(rows), window.length + horizon), np.nan, np.float32)
        held = window.known_covariates[:, : window.length + horizon]
        known[:, : held.shape[1]] = held
        unknown = np.isnan(known)
        unknown[:, : window.length] = False
        known[unknown] = made[rows][unknown]
        return replace(window, future_timestamps=future, known_covariates=known)

    def restore(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """As :meth:`BarPreparation.restore`."""
        return self.bars.restore(forecast)

    def state(self) -> dict[str, Any]:
        mapping = json.loads(json.dumps(self.features.config.to_mapping()))
        return {
            "features": mapping,
            "bars": self.bars.state(),
            "regimes": None if self.regimes is None else self.regimes.state(),
            "selection": None if self.selection is None else self.selection.state(),
        }

    def _kept(self, names: tuple[str, ...]) -> tuple[str, ...]:
        dropped = () if self.selection is None else self.selection.dropped
        return tuple(name for name in names if name not in dropped)

    def _arrays(
        self, bars: pl.DataFrame, market: Market | None
    ) -> tuple[Float[np.ndarray, "past bar"], Float[np.ndarray, "known bar"]]:
        """The rows of :attr:`past` and :attr:`known`, ``float32``; NaN where unknown."""
        past, known = self.features.arrays(bars, market)
        names = self.features.past
        if self.regimes is not None:
            states = self.regimes.apply(observe(bars)).select(self.regimes.names)
            columns = [states[name].cast(pl.Float32).to_numpy() for name in self.regimes.names]
            past, names = np.vstack([past, *columns]), (*names, *self.regimes.names)
        return (
            _rows(past, names, self.past),
            _rows(known, self.features.known, self.known),
        )

    @contextmanager
    def _market(self, bars: pl.DataFrame) -> Iterator[Market | None]:
        """Of the bars at hand, as long as it is used."""
        if not self.features.needs_market:
            yield None
            return
        with TemporaryDirectory(prefix="tsfm-market-") as directory:
            builder = MarketBuilder(self.features.config.market, Path(directory))
            builder.add(bars)
            yield builder.finish()


def to_polars(bars: pd.DataFrame) -> pl.DataFrame:
    """A user's bars as the lake's: item after item, in UTC."""
    made = pl.DataFrame(
        {
            "symbol": bars["item_id"].to_numpy(object),
            "ts": bars["timestamp"].to_numpy("M8[us]"),
            **{name: bars[name].to_numpy(float) for name in BAR_COLUMNS},
        }
    ).with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    number = pl.col("symbol").cast(pl.Categorical).to_physical()
    return made.sort(number, maintain_order=True)


def _rows(values: np.ndarray, names: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    return values if wanted == names else values[[names.index(name) for name in wanted]]


def _stamps(bars: pl.DataFrame) -> np.ndarray:
    """``datetime64[ns] [bar]`` in UTC, without zone."""
    return bars["ts"].dt.epoch("us").to_numpy().view("M8[us]").astype("M8[ns]")


def _continued(window: Window, horizon: int) -> np.ndarray | None:
    assert window.timestamps is not None
    if window.freq is None:
        return continue_calendar(window.timestamps, horizon)
    dates = frequency.Dates(window.freq)
    return dates.bars(int(window.timestamps[-1].astype("M8[ns]").astype(int)), 1, horizon + 1)
