"""Market regimes: a Gaussian hidden Markov model, fitted on training bars, filtered afterwards.

The model is hmmlearn's; its ``predict_proba`` looks ahead (forward and backward), so the
probabilities come from :mod:`tsfm.data.ohlcv.filtering`: those of a bar know it and its past only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Self

import numpy as np
import polars as pl
from jaxtyping import Float

from tsfm.data.ohlcv.calendar import DAY, infer_seasonality
from tsfm.data.ohlcv.filtering import forward_filter, gaussian_log_density
from tsfm.data.ohlcv.fitted_config import RegimesConfig
from tsfm.data.ohlcv.training_rows import before
from tsfm.errors import DataError

RANGE_FLOOR = 1e-4


def observe(bars: pl.DataFrame) -> pl.DataFrame:
    """Log returns and log ranges of bars, ``symbol`` (where there is one), ``ts`` and those two.

    The floor of a range is :class:`tsfm.data.ohlcv.preparation.BarPreparation`'s.
    """
    keys = _keys(bars)
    close = pl.col("close").log()
    change = close.diff().over("symbol") if "symbol" in keys else close.diff()
    spread = (pl.col("high") / pl.col("low")).log().clip(lower_bound=RANGE_FLOOR).log()
    return bars.select(*keys, log_return=change, log_range=spread)


@dataclass(frozen=True, kw_only=True, eq=False)
class Regimes:
    """A fitted model of regimes, from the calmest to the wildest.

    Attributes
    ----------
    season
        Trailing bars that observations are averaged over.
    centre, scale
        What observations are standardised by where ``config.window`` is 0.
    start, transition, means, covariances
        Of the hidden Markov model, states ordered by the spread of the first column.
    log_likelihood
        Of the fitted bars, per bar.
    """

    config: RegimesConfig
    season: int
    centre: Float[np.ndarray, " column"]
    scale: Float[np.ndarray, " column"]
    start: Float[np.ndarray, " state"]
    transition: Float[np.ndarray, "state state"]
    means: Float[np.ndarray, "state column"]
    covariances: Float[np.ndarray, "state column column"]
    log_likelihood: float

    @property
    def names(self) -> tuple[str, ...]:
        """``regime_0`` (calm), ``regime_1``, …"""
        return tuple(f"regime_{state}" for state in range(self.config.states))

    @property
    def warm_up(self) -> int:
        """Bars before a regime is known as well as it will ever be."""
        return self.season + self.config.window

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        config: RegimesConfig | None = None,
        *,
        until: datetime | None = None,
    ) -> Self:
        """Fit on the rows before ``until``.

        Parameters
        ----------
        frame
            ``ts`` and ``config.columns``, and ``symbol`` where several series are pooled, sorted
            by it and ``ts`` (:func:`observe` makes one from bars); missing values are null or NaN.
        until
            End of the training period; by default the frame has nothing later.

        Raises
        ------
        DataError
            When a column is missing, or the training rows are too few or do not vary.
        """
        config = config or RegimesConfig()
        _require(frame, config)
        train = before(frame, until)
        season = config.season or _session(train)
        averaged = _averaged(train, config, season)
        stretches = _stretches(averaged, config)
        pooled = np.concatenate(stretches) if stretches else np.empty((0, len(config.columns)))
        _expect_enough(pooled, config)
        identity = config.window > 0
        centre = np.zeros(pooled.shape[1]) if identity else pooled.mean(axis=0)
        scale = np.ones(pooled.shape[1]) if identity else pooled.std(axis=0)
        values = np.clip((pooled - centre) / scale, -config.clip, config.clip)
        model, score = _likeliest(values, [len(stretch) for stretch in stretches], config)
        order = np.argsort(model.covars_[:, 0, 0], kind="stable")
        return cls(
            config=config,
            season=season,
            centre=centre,
            scale=scale,
            start=model.startprob_[order],
            transition=model.transmat_[np.ix_(order, order)],
            means=model.means_[order],
            covariances=model.covars_[order],
            log_likelihood=score / len(values),
        )

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Filtered probabilities: of a row, given the rows of its series up to it.

        Rows with a missing value change nothing but what the chain itself forgets.

        Parameters
        ----------
        frame
            As in :meth:`fit`.

        Returns
        -------
        pl.DataFrame
            ``symbol`` (where there is one), ``ts`` and :attr:`names` as Float32, a row for each.

        Raises
        ------
        DataError
            When a column is missing.
        """
        _require(frame, self.config)
        keys = _keys(frame)
        values = _averaged(frame, self.config, self.season).select(self.config.columns).to_numpy()
        values = np.clip((values - self.centre) / self.scale, -self.config.clip, self.config.clip)
        observed = np.isfinite(values).all(axis=1)
        begins = np.zeros(len(values), bool)
        if "symbol" in keys:
            begins = (frame["symbol"] != frame["symbol"].shift()).fill_null(True).to_numpy()
        density = gaussian_log_density(
            np.where(observed[:, None], values, 0.0), self.means, self.covariances
        )
        filtered = forward_filter(density, observed, begins, self.start, self.transition)
        columns = {
            name: filtered[:, state].astype(np.float32) for state, name in enumerate(self.names)
        }
        return frame.select(keys).with_columns(**{k: pl.Series(v) for k, v in columns.items()})

    def state(self) -> dict[str, Any]:
        """Everything needed to rebuild it: JSON values."""
        arrays = ("centre", "scale", "start", "transition", "means", "covariances")
        return {
            "config": asdict(self.config) | {"columns": list(self.config.columns)},
            "season": self.season,
            "log_likelihood": self.log_likelihood,
            **{name: getattr(self, name).tolist() for name in arrays},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The model that :meth:`state` told.

        Raises
        ------
        DataError
            When the state is not one of this kind.
        """
        arrays = ("centre", "scale", "start", "transition", "means", "covariances")
        try:
            return cls(
                config=RegimesConfig(**state["config"]),
                season=int(state["season"]),
                log_likelihood=float(state["log_likelihood"]),
                **{name: np.asarray(state[name], dtype=float) for name in arrays},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the state of regimes cannot be read: {error!r}", remedy="fit them again"
            ) from error


def _keys(frame: pl.DataFrame) -> list[str]:
    return [name for name in ("symbol", "ts") if name in frame.columns]


def _require(frame: pl.DataFrame, config: RegimesConfig) -> None:
    missing = [name for name in ("ts", *config.columns) if name not in frame.columns]
    if missing:
        raise DataError(
            f"columns {', '.join(missing)} are missing",
            where="regimes",
            remedy=f"give ts, {', '.join(config.columns)}, and symbol where there are several",
        )


def _session(frame: pl.DataFrame) -> int:
    """Bars in a session; one where a bar is a day or more."""
    if "symbol" in frame.columns:
        tables = frame.select("symbol", "ts").partition_by("symbol", maintain_order=True)[:20]
    else:
        tables = [frame]
    calendars = [table["ts"].dt.timestamp("ns").to_numpy().view("M8[ns]") for table in tables]
    steps = [np.median(np.diff(stamps.astype(np.int64))) for stamps in calendars if len(stamps) > 2]
    return infer_seasonality(calendars) if steps and np.median(steps) < DAY else 1


def _averaged(frame: pl.DataFrame, config: RegimesConfig, season: int) -> pl.DataFrame:
    """Observations over a trailing season, and standardised by their trailing window."""
    by = "symbol" if "symbol" in frame.columns else pl.lit(0)
    clean = [pl.col(name).cast(pl.Float64).fill_nan(None).alias(name) for name in config.columns]
    averages = [
        pl.when(pl.col(name).is_not_null())
        .then(pl.col(name).rolling_mean(season, min_samples=(season + 1) // 2))
        .over(by)
        .alias(name)
        for name in config.columns
    ]
    table = frame.select(*_keys(frame), *clean).with_columns(averages)
    if not config.window:
        return table
    least = max(config.window // 5, 20)
    scaled = []
    for name in config.columns:
        mean = pl.col(name).rolling_mean(config.window, min_samples=least)
        spread = pl.col(name).rolling_std(config.window, min_samples=least)
        ratio = pl.when(spread > 1e-12).then((pl.col(name) - mean) / spread)
        scaled.append(ratio.over(by).alias(name))
    return table.with_columns(scaled)


def _stretches(table: pl.DataFrame, config: RegimesConfig) -> list[np.ndarray]:
    """Unbroken runs of observed rows, at most ``max_bars`` in all; several series share them."""
    series = np.zeros(len(table)) if "symbol" not in table.columns else table["symbol"].rle_id()
    symbols = np.asarray(series)
    values = table.select(config.columns).to_numpy()
    observed = np.isfinite(values).all(axis=1)
    edges = np.flatnonzero((observed[1:] != observed[:-1]) | (symbols[1:] != symbols[:-1]))
    bounds = np.concatenate([[0], edges + 1, [len(values)]])
    runs = [
        (first, stop) for first, stop in pairwise(bounds) if stop - first > 1 and observed[first]
    ]
    rng = np.random.default_rng(config.seed)
    share = max(config.max_bars // 20, 100) if len(runs) > 1 else config.max_bars
    left, chosen = config.max_bars, []
    for run in rng.permutation(len(runs)):
        first, stop = runs[run]
        length = int(min(stop - first, share, left))
        if length < 2:
            continue
        begin = int(rng.integers(first, stop - length + 1))
        chosen.append((begin, values[begin : begin + length]))
        left -= length
    return [stretch for _, stretch in sorted(chosen, key=lambda pair: pair[0])]


def _expect_enough(values: np.ndarray, config: RegimesConfig) -> None:
    if len(values) < 50 * config.states:
        raise DataError(
            f"{len(values)} observed bars are too few for {config.states} regimes",
            where="regimes, training period",
            remedy=f"give at least {50 * config.states} beside a window of {config.window}, fewer "
            "states, or a shorter window",
        )
    constant = [name for name, spread in zip(config.columns, values.std(axis=0)) if spread < 1e-12]
    if constant:
        raise DataError(
            f"{', '.join(constant)} do not vary",
            where="regimes, training period",
            remedy="leave the column or the symbol out",
        )


def _likeliest(values: np.ndarray, lengths: list[int], config: RegimesConfig) -> tuple[Any, float]:
    """The best of several fits by expectation–maximisation, and its log-likelihood."""
    from hmmlearn.hmm import GaussianHMM

    logging.getLogger("hmmlearn.base").setLevel(logging.ERROR)
    fits = []
    for restart in range(config.restarts):
        model = GaussianHMM(
            n_components=config.states,
            covariance_type=config.covariance,
            n_iter=config.iterations,
            random_state=config.seed + restart,
        )
        try:
            model.fit(values, lengths)
            score = float(model.score(values, lengths))
        except (ValueError, np.linalg.LinAlgError):
            continue
        if np.isfinite(score):
            fits.append((score, -restart, model))
    if not fits:
        raise DataError(
            f"no model of {config.states} regimes could be fitted from {config.restarts} seeds",
            where="regimes, training period",
            remedy="use fewer states, another covariance or longer series",
        )
    score, _, model = max(fits, key=lambda fit: fit[:2])
    return model, score
