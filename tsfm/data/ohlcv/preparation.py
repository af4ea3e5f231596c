"""Bars to the variates that models forecast, and forecasts back to prices, ranges and volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from jaxtyping import Float

from tsfm.data import frequency
from tsfm.data.ohlcv.bars import PRICES, validate_bars
from tsfm.data.ohlcv.calendar import infer_freq, infer_seasonality
from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.data.preparation import Preparation
from tsfm.data.quantiles import exp_mean, quantile_columns
from tsfm.errors import ConfigError, DataError

VARIATES = ("log_close", "log_return", "log_range", "log_volume")
UNITS = {
    "log_close": "log(price)",
    "log_return": "log(close / previous close)",
    "log_range": "log(log(high / low))",
    "log_volume": "log(traded units)",
}
RESTORED = {"log_close": "close", "log_range": "range", "log_volume": "volume"}


class BarPreparation(Preparation):
    """Bars to ``log_close, log_return, log_range, log_volume``; nothing is estimated.

    The transform is fixed and looks back one bar at most, so no statistic can leak across a
    cutoff: :meth:`fit` learns nothing.

    - ``log_return`` is the difference of ``log_close``; a series' first bar has none (NaN).
    - ``log_range`` is ``log(max(log(high / low), range_floor))``: a bar without any price move
      would be minus infinity. The default floor, one basis point, is below the hourly range of a
      liquid asset and near one tick of a cheap one.
    - ``log_volume`` is ``log(volume)``, free of scale (``log1p`` is not: coins trade in
      fractions). A bar without volume has no log and counts as unobserved (NaN); so do the bars of
      an index or currency whose volume is always zero.

    Parameters
    ----------
    range_floor
        The smallest ``log(high / low)`` that is told apart.
    freq
        Nominal frequency of the panels made; inferred where bars are regular, when not given.
    seasonality
        Bars in one season; learnt from the calendar of each frame, when not given.
    variates
        Some of the four, in the order wanted.
    targets
        Those of the variates that are forecast; the others are past covariates. Empty: all.

    Raises
    ------
    ConfigError
        When a parameter is out of range or a variate is unknown.
    """

    name: ClassVar[str] = "bars"

    def __init__(
        self,
        *,
        range_floor: float = 1e-4,
        freq: str | None = None,
        seasonality: int | None = None,
        variates: Sequence[str] = VARIATES,
        targets: Sequence[str] = (),
    ) -> None:
        if not 0 < range_floor < 1:
            raise ConfigError(
                f"range_floor={range_floor} lies outside (0, 1)",
                remedy="give the smallest log(high / low) of interest, for example 1e-4",
            )
        if seasonality is not None and (int(seasonality) != seasonality or seasonality < 1):
            raise ConfigError(
                f"seasonality={seasonality!r} is not a number of bars",
                remedy="give a positive whole number, or nothing to learn it from the calendar",
            )
        if freq is not None:
            frequency.to_offset(freq)
        _expect_some("variates", variates or ("",), VARIATES)
        _expect_some("targets", targets, variates)
        self.range_floor, self.freq = float(range_floor), freq
        self.seasonality, self.variates, self.targets = seasonality, tuple(variates), tuple(targets)

    @property
    def columns(self) -> tuple[str, ...]:
        """Prices and volume."""
        return (*PRICES, "volume")

    def fit(self, frame: pd.DataFrame) -> Self:
        """Check the frame; the transform itself has nothing to learn.

        Raises
        ------
        DataError
            As :meth:`panel`.
        """
        validate_bars(frame)
        return self

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
            ``item_id, timestamp, open, high, low, close, volume``.
        licence, provenance
            Recorded in the panel.

        Raises
        ------
        DataError
            Naming item and row when a column is missing, timestamps are unsorted or repeated, a
            bar is impossible, or a whole series is unobserved or constant.
        """
        bars = validate_bars(frame, where=name)
        items = {str(item): rows for item, rows in bars.groupby("item_id", sort=False)}
        stamps = {item: rows["timestamp"].to_numpy("M8[ns]") for item, rows in items.items()}
        info = self.info(stamps, name=name, licence=licence, provenance=provenance)

        def series() -> Iterator[Series]:
            for item, rows in items.items():
                expect_moving(rows, f"{name}, item {item!r}")
                with np.errstate(divide="ignore"):
                    log_bars = {
                        column: np.log(rows[column].to_numpy())
                        for column in ("high", "low", "close", "volume")
                    }
                yield Series(item_id=item, target=self.target(**log_bars), timestamps=stamps[item])

        return self.asked(Panel.from_series(series(), info))

    def asked(self, panel: Panel) -> Panel:
        """A view whose variates are the targets, the others past covariates."""
        return panel.variates(self.targets, others_as_past=True) if self.targets else panel

    def info(
        self,
        timestamps: Mapping[str, np.ndarray],
        *,
        name: str,
        licence: str = "",
        provenance: Mapping[str, Any] | None = None,
    ) -> PanelInfo:
        """What a panel of these calendars shares, ``datetime64[ns] [time]`` by item."""
        calendars = list(timestamps.values())
        freq = self.freq or infer_freq(calendars)
        return PanelInfo(
            name=name,
            variates=self.variates,
            freq=freq,
            seasonality=self.seasonality or infer_seasonality(calendars),
            units={variate: UNITS[variate] for variate in self.variates},
            licence=licence,
            provenance={**(provenance or {}), "preparation": {"name": self.name, **self.state()}},
        )

    def target(
        self,
        *,
        high: Float[np.ndarray, "*asset time"],
        low: Float[np.ndarray, "*asset time"],
        close: Float[np.ndarray, "*asset time"],
        volume: Float[np.ndarray, "*asset time"],
    ) -> Float[np.ndarray, "*asset variate time"]:
        """The variates of **logarithms** of prices and volumes (``-inf`` where nothing traded)."""
        made = {
            "log_close": lambda: close,
            "log_return": lambda: np.diff(close, axis=-1, prepend=np.nan),
            "log_range": lambda: np.log(np.maximum(high - low, self.range_floor)),
            "log_volume": lambda: np.where(np.isneginf(volume), np.nan, volume),
        }
        shape = (*close.shape[:-1], len(self.variates), close.shape[-1])
        target = np.empty(shape, np.float32)
        for row, variate in enumerate(self.variates):
            target[..., row, :] = made[variate]()
        return target

    def restore(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """A forecast's long frame in the user's units.

        ``log_close`` becomes ``close``, ``log_volume`` ``volume`` and ``log_range`` ``range`` (the
        log of high over low); ``log_return`` stays. Exponentials are increasing, so quantiles map
        to quantiles exactly. Their mean is not the exponential of the mean: it is integrated over
        the quantiles (:func:`tsfm.data.quantiles.exp_mean`), and is the median of a forecast with
        a single level.

        Raises
        ------
        DataError
            When the frame is not a forecast of this preparation's variates.
        """
        levels = quantile_columns(forecast, ("item_id", "variate", "mean"))
        foreign = sorted(set(forecast["variate"]) - set(VARIATES))
        if foreign:
            raise DataError(
                f"variates {', '.join(map(str, foreign))} were not made of bars",
                where="forecast",
                remedy=f"restore forecasts of {', '.join(VARIATES)}",
            )
        exponential = forecast["variate"].isin(RESTORED).to_numpy()
        values = forecast[list(levels)].to_numpy(float)
        mean = forecast["mean"].to_numpy(float, copy=True)
        logs = values[exponential]
        values = np.where(exponential[:, None], np.exp(values), values)
        mean[exponential] = exp_mean(logs, tuple(levels.values()))
        told: dict[str, Any] = {"variate": forecast["variate"].replace(RESTORED), "mean": mean}
        return forecast.assign(**told, **dict(zip(levels, values.T, strict=True)))

    def state(self) -> dict[str, Any]:
        return {
            "range_floor": self.range_floor,
            "freq": self.freq,
            "seasonality": self.seasonality,
            "variates": list(self.variates),
            "targets": list(self.targets),
        }


def _expect_some(name: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    if set(given) - set(allowed) or len(set(given)) != len(given):
        raise ConfigError(
            f"{name} {list(given)} cannot be made of bars",
            remedy=f"choose from {', '.join(allowed)}, each once",
        )


def expect_moving(rows: pd.DataFrame, where: str) -> None:
    """Refuse a series that holds nothing to learn or to forecast."""
    prices = rows[["open", "high", "low", "close"]].to_numpy()
    if np.isnan(prices[:, 3]).all():
        raise DataError("no bar has a close", where=where, remedy="leave the item out")
    if len(rows) > 1 and np.nanmax(prices) == np.nanmin(prices):
        raise DataError(
            f"the price is {prices[0, 3]:g} in all {len(rows)} bars",
            where=where,
            remedy="leave the item out: a constant series holds nothing to forecast",
        )
