"""Which features are worth keeping: scikit-learn's measures, on training rows only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

import numpy as np
import polars as pl
from jaxtyping import Float

from tsfm.data.ohlcv.fitted_config import SelectionConfig
from tsfm.data.ohlcv.training_rows import before
from tsfm.errors import DataError

RANGE_FLOOR = 1e-4

Matrix = Float[np.ndarray, "row feature"]
Vector = Float[np.ndarray, " row"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The features kept, and why the others were not.

    Attributes
    ----------
    names
        Kept, the best first.
    scores
        Of every feature that was scored, by the method's own measure.
    dropped
        The reason for every other feature.
    rows
        That the scores were computed on.
    noise
        The best score of a shuffled feature; features must beat it.
    """

    config: SelectionConfig
    names: tuple[str, ...]
    scores: Mapping[str, float]
    dropped: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    noise: float | None = None

    @classmethod
    def fit(
        cls,
        frame: pl.DataFrame,
        names: Sequence[str],
        config: SelectionConfig | None = None,
        *,
        until: datetime | None = None,
    ) -> Self:
        """Choose from rows before ``until``, whose target lies before it too.

        Parameters
        ----------
        frame
            ``ts, high, low, close`` (and ``symbol``), sorted by symbol and ``ts``, beside a column
            for each feature; missing values are null or NaN.
        names
            The features to choose from.
        until
            End of the training period; by default the frame has nothing later.

        Raises
        ------
        DataError
            When a column is missing, or too few rows have a target.
        """
        config = config or SelectionConfig()
        missing = [c for c in ("ts", "high", "low", "close", *names) if c not in frame.columns]
        if missing or not names:
            raise DataError(
                f"columns {', '.join(missing)} are missing" if missing else "no feature is named",
                where="feature selection",
                remedy="give ts, high, low, close and a column for each feature",
            )
        rows, dropped = _sample(before(frame, until), list(names), config)
        candidates = [name for name in names if name not in dropped]
        if not candidates:
            return cls(config=config, names=(), scores={}, dropped=dropped, rows=len(rows))
        features = rows.select(candidates).to_numpy()
        target = rows["_target"].to_numpy()
        both = np.hstack([features, _shadows(features, config)])
        values = MEASURES[config.method](both, target, config.seed).tolist()
        scores = dict(zip(candidates, values))
        noise = max(values[len(candidates) :], default=None)
        chosen = _chosen(features, scores, dropped, noise, config)
        return cls(
            config=config, names=chosen, scores=scores, dropped=dropped, rows=len(rows), noise=noise
        )

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame without the features that were not kept."""
        return frame.drop(*self.dropped, strict=False)

    def state(self) -> dict[str, Any]:
        """Everything needed to rebuild it, for the run's record: JSON values."""
        return {
            "config": asdict(self.config),
            "names": list(self.names),
            "scores": dict(self.scores),
            "dropped": dict(self.dropped),
            "rows": self.rows,
            "noise": self.noise,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The selection that :meth:`state` told.

        Raises
        ------
        DataError
            When the state is not one of this kind.
        """
        try:
            return cls(
                config=SelectionConfig(**state["config"]),
                names=tuple(state["names"]),
                scores=dict(state["scores"]),
                dropped=dict(state["dropped"]),
                rows=int(state["rows"]),
                noise=state["noise"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the state of a selection cannot be read: {error!r}", remedy="fit it again"
            ) from error


def future(bars: pl.DataFrame, target: str, horizon: int) -> pl.Series:
    """What the ``horizon`` bars after each one do: their log return, or the log of their range."""
    by = "symbol" if "symbol" in bars.columns else pl.lit(0)
    if target == "log_return":
        close = pl.col("close").log()
        made = close.shift(-horizon) - close
    else:
        high = pl.col("high").rolling_max(horizon).shift(-horizon)
        low = pl.col("low").rolling_min(horizon).shift(-horizon)
        made = (high / low).log().clip(lower_bound=RANGE_FLOOR).log()
    return bars.select(made.over(by).alias(target)).to_series()


def mutual_information(features: Matrix, target: Vector, seed: int) -> np.ndarray:
    """Mutual information with the target, ``[feature]`` in nats, missing values at the median."""
    from sklearn.feature_selection import mutual_info_regression

    return mutual_info_regression(_filled(features), target, random_state=seed)


def permutation(features: Matrix, target: Vector, seed: int) -> np.ndarray:
    """Fall in R² on the last quarter of the rows when a feature is shuffled, ``[feature]``."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.inspection import permutation_importance

    cut = len(features) * 3 // 4
    model = HistGradientBoostingRegressor(random_state=seed).fit(features[:cut], target[:cut])
    result = permutation_importance(
        model, features[cut:], target[cut:], n_repeats=3, random_state=seed
    )
    return result.importances_mean


def lasso(features: Matrix, target: Vector, seed: int) -> np.ndarray:
    """Absolute weights of standardised features, ``[feature]``, the penalty by time-wise folds.

    Among nearly equal features the smallest penalties do not converge; what they leave in the
    weights is judged by the folds like the rest, so that is not warned of.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import TimeSeriesSplit
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(_filled(features))
    standard = (target - target.mean()) / target.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LassoCV(eps=0.01, cv=TimeSeriesSplit(5), random_state=seed).fit(scaled, standard)
    return np.abs(model.coef_)


MEASURES: Mapping[str, Callable[[Matrix, Vector, int], np.ndarray]] = {
    "mutual_information": mutual_information,
    "permutation": permutation,
    "lasso": lasso,
}


def _sample(
    train: pl.DataFrame, names: list[str], config: SelectionConfig
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Rows with a target, in the order of time, and the features too empty or too still to use."""
    table = train.with_columns(_target=future(train, config.target, config.horizon))
    table = table.filter(pl.col("_target").is_finite())
    if len(table) > config.max_rows:
        drawn = np.random.default_rng(config.seed).choice(
            len(table), config.max_rows, replace=False
        )
        table = table[np.sort(drawn)]
    if len(table) < 100 or table["_target"].n_unique() < 2:
        raise DataError(
            f"{len(table)} rows with a varying {config.target} of {config.horizon} bars ahead are "
            "too few to select features by",
            where="feature selection, training period",
            remedy="give at least 100 training bars, or build without selection",
        )
    finite = [
        pl.when(pl.col(name).cast(pl.Float64).is_finite()).then(pl.col(name).cast(pl.Float64))
        .alias(name)
        for name in names
    ]  # fmt: skip
    table = table.sort("ts", maintain_order=True).select(*finite, "_target")
    dropped = {}
    for name in names:
        column = table[name]
        share = column.null_count() / len(column)
        if share > config.max_missing:
            dropped[name] = f"missing in {share:.0%} of the rows"
        elif column.n_unique() - (share > 0) < 2:
            dropped[name] = "does not vary"
    return table, dropped


def _filled(features: Matrix) -> Matrix:
    return np.where(np.isnan(features), np.nanmedian(features, axis=0), features)


def _shadows(features: Matrix, config: SelectionConfig) -> Matrix:
    """Shuffled copies of some features."""
    rng = np.random.default_rng(config.seed)
    columns = rng.choice(features.shape[1], config.shadows, replace=True)
    return rng.permuted(features[:, columns], axis=0)


def _chosen(
    features: Matrix,
    scores: Mapping[str, float],
    dropped: dict[str, str],
    noise: float | None,
    config: SelectionConfig,
) -> tuple[str, ...]:
    """The best features that are neither noise nor copies; notes the reasons of the others."""
    names = list(scores)
    correlation = np.abs(np.atleast_2d(np.corrcoef(_filled(features), rowvar=False)))
    place = {name: k for k, name in enumerate(names)}
    chosen: list[str] = []
    for name in sorted(names, key=lambda name: (-scores[name], place[name])):
        twin = next(
            (other for other in chosen
             if correlation[place[name], place[other]] > config.max_correlation),
            None,
        )  # fmt: skip
        if scores[name] <= (0.0 if noise is None else max(noise, 0.0)):
            dropped[name] = "no better than noise"
        elif twin is not None:
            dropped[name] = f"follows {twin}"
        elif len(chosen) == config.max_features:
            dropped[name] = f"behind the best {config.max_features}"
        else:
            chosen.append(name)
    return tuple(chosen)
