"""Stylised facts of bars: the figures by which simulated markets are compared with real ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tsfm.data.ohlcv.calendar import infer_seasonality


def stylised_facts(bars: pd.DataFrame, *, range_floor: float = 1e-4) -> pd.DataFrame:
    """Figures of each item's tails, memory, leverage, ranges and volumes.

    Intraday seasonality is taken out of ranges and volumes (the median of each time of day) before
    their spread, memory and correlation are measured; ``opening`` and ``closing`` figures describe
    that seasonality itself, relative to the middle of the session.

    Parameters
    ----------
    bars
        ``item_id, timestamp, open, high, low, close, volume``.
    range_floor
        As in :class:`tsfm.data.ohlcv.preparation.BarPreparation`.

    Returns
    -------
    pd.DataFrame
        One row per item:

        - ``volatility`` (per bar, robust), ``hill`` (tail index of the 5 % largest absolute
          returns, Hill 1975), ``tails`` (99.5 % quantile of |r| over its median);
        - ``memory_return_1``: autocorrelation of returns; ``memory_absolute_*``: of |r| (clipped at
          its 99 % quantile) at 1 bar, one season and five seasons;
        - ``memory_range_*``, ``memory_volume_*``: of log range and log volume;
        - ``leverage``: correlation of a return with log ranges of the next season;
        - ``correlation``: mean with the other items' returns at the same time;
        - ``range_ratio``: mean of ``log(high / low)`` over mean ``|close / open|`` move;
        - ``range_spread``, ``volume_spread``: standard deviations of the logs;
        - ``range_step_spread``, ``volume_step_spread``: of their changes from bar to bar;
        - ``volume_range``: correlation of log volume with log range, and
          ``volume_range_step`` of their changes;
        - ``opening_range``, ``closing_range``, ``opening_volume``, ``closing_volume`` (logs).
    """
    season = infer_seasonality(
        [rows["timestamp"].to_numpy() for _, rows in bars.groupby("item_id")]
    )
    facts = {
        str(item): _facts(rows.reset_index(drop=True), season, range_floor)
        for item, rows in bars.groupby("item_id", sort=False)
    }
    table = pd.DataFrame.from_dict(facts, orient="index")
    closes = bars.pivot_table(index="timestamp", columns="item_id", values="close", sort=True)
    returns = closes.apply(np.log).diff()
    correlations = returns.corr(min_periods=100).to_numpy(copy=True)
    np.fill_diagonal(correlations, np.nan)
    means = pd.DataFrame(correlations).mean(axis=1).to_numpy()
    return table.assign(correlation=pd.Series(means, index=closes.columns))


def _facts(rows: pd.DataFrame, season: int, range_floor: float) -> dict[str, float]:
    close = np.log(rows["close"].to_numpy())
    returns = np.diff(close, prepend=np.nan)
    move = np.abs(close - np.log(rows["open"].to_numpy()))
    span = np.log(rows["high"].to_numpy() / rows["low"].to_numpy())
    with np.errstate(divide="ignore"):
        log_volume = np.log(rows["volume"].to_numpy(float))
    log_volume[~np.isfinite(log_volume)] = np.nan
    slots = rows["timestamp"].dt.hour * 60 + rows["timestamp"].dt.minute
    log_range, range_curve = _deseasonalised(np.log(np.maximum(span, range_floor)), slots)
    log_volume, volume_curve = _deseasonalised(log_volume, slots)
    size = np.abs(returns[1:])
    clipped = np.minimum(size, np.quantile(size, 0.99))
    median = float(np.median(size[size > 0]))
    lags = {"bar": 1, "season": season, "seasons": 5 * season}
    facts = {
        "volatility": 1.4826 * median,
        "hill": _hill(size),
        "tails": float(np.quantile(size, 0.995)) / median,
        "memory_return_1": _correlation(returns[1:-1], returns[2:]),
        **{f"memory_absolute_{key}": _memory(clipped, lag) for key, lag in lags.items()},
        **{f"memory_range_{key}": _memory(log_range, lag) for key, lag in lags.items()},
        **{f"memory_volume_{key}": _memory(log_volume, lag) for key, lag in lags.items()},
        "leverage": _leverage(returns, log_range, season),
        "range_ratio": float(span.mean() / move.mean()),
        "range_spread": float(np.nanstd(log_range)),
        "volume_spread": float(np.nanstd(log_volume)),
        "range_step_spread": float(np.nanstd(np.diff(log_range))),
        "volume_step_spread": float(np.nanstd(np.diff(log_volume))),
        "volume_range": _correlation(log_volume, log_range),
        "volume_range_step": _correlation(np.diff(log_volume), np.diff(log_range)),
    }
    if len(range_curve) > 2:
        facts |= {
            "opening_range": range_curve[0] - range_curve[len(range_curve) // 2],
            "closing_range": range_curve[-1] - range_curve[len(range_curve) // 2],
            "opening_volume": volume_curve[0] - volume_curve[len(volume_curve) // 2],
            "closing_volume": volume_curve[-1] - volume_curve[len(volume_curve) // 2],
        }
    return facts


def _deseasonalised(values: np.ndarray, slots: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Values less the median of their time of day, and those medians of the usual times."""
    series = pd.Series(values)
    usual = slots.value_counts().loc[lambda counts: counts > counts.max() / 2].index
    curve = series.groupby(slots).median()
    return (series - slots.map(curve)).to_numpy(), curve.loc[sorted(usual)].to_numpy()


def _hill(size: np.ndarray) -> float:
    ordered = np.sort(size)
    tail = ordered[-max(len(ordered) // 20, 2) :]
    return float(1 / np.mean(np.log(tail[1:] / tail[0])))


def _memory(values: np.ndarray, lag: int) -> float:
    return _correlation(values[:-lag], values[lag:])


def _leverage(returns: np.ndarray, log_range: np.ndarray, season: int) -> float:
    ahead = pd.Series(log_range).rolling(season).mean().shift(-season).to_numpy()
    behind = pd.Series(log_range).rolling(season).mean().to_numpy()
    edge = np.nanquantile(np.abs(returns), 0.99)
    return _correlation(np.clip(returns, -edge, edge), ahead - behind)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    return float(np.corrcoef(first[both], second[both])[0, 1])
