"""Errors and states of single tokens: by place, by kind, and by how fast the system diverges there.

A token is a stretch of ``bars`` bars. Each one of a window is forecast from all that come before it
in the window, so that errors by place show what a longer context is worth. Its kind is the shape of
its bars, and its local rate is how fast neighbouring states of the same trajectory part over it (a
finite-time Lyapunov exponent, estimated as Rosenstein et al. 1993 do, but for one state).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.analysis_config import TokensConfig
from tsfm.evaluation.analysis_plots import token_chart
from tsfm.evaluation.chaos import dynamics_of
from tsfm.evaluation.embeddings import able, separability
from tsfm.evaluation.findings import Findings, clustered_mean, metrics_of, with_interval
from tsfm.models.base import Context, Forecaster
from tsfm.models.embedder import Embedder

KINDS = ("quiet", "monotone", "turning")
_QUIET = 1 / 3
_MONOTONE = 0.9
_BATCH = 64
_PROBED = 3000
_LEAST_BARS = 4


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Windows of trajectories, cut into tokens.

    Attributes
    ----------
    bars
        ``[window, bar, variate]``, in deviations of the attractor from its mean; NaN where a
        variate is absent.
    rates
        Local rates over each token after the first, in Lyapunov exponents of the system.
    items, systems
        Of the windows.
    """

    bars: Float[np.ndarray, "window bar variate"]
    rates: Float[np.ndarray, "window token"]
    items: tuple[str, ...]
    systems: tuple[str, ...]


def analyse_tokens(
    model: Forecaster, panel: Panel, config: TokensConfig, *, context: int, seed: int = 0
) -> Findings:
    """Errors of every token of some windows, and how alike the encoder's states of tokens are.

    Raises
    ------
    DataError
        When trajectories are shorter than the context, or it has fewer than three tokens.
    """
    tokens = context // config.bars
    if tokens < 3:
        raise DataError(
            f"a context of {context} bars has {tokens} tokens of {config.bars}",
            remedy="lengthen the context, or give overrides=tokens.bars=8",
        )
    asked = cut(panel, tokens * config.bars, config, seed)
    table = token_table(asked, token_errors(model, asked, config.bars), config.bars)
    tables = {
        "token_places": averaged(table, "bars_seen"),
        "token_kinds": averaged(table, "kind").sort_values(
            "kind", key=lambda names: names.map(KINDS.index), ignore_index=True
        ),
        "token_rates": averaged(binned(table, config.bins), "rate"),
        "tokens": table,
    }
    correlation = rate_correlation(table)
    metrics = {
        "error.first": float(tables["token_places"]["error"].iloc[0]),
        "error.last": float(tables["token_places"]["error"].iloc[-1]),
        "rate_correlation": correlation[0],
    } | metrics_of(tables["token_kinds"], "error", "kind", prefix="error")
    told = _told(model.name, tables, correlation)
    similar = None
    if isinstance(model, Embedder):
        states = np.concatenate([model.embeddings(one) for one in _contexts(asked.bars)]).astype(
            np.float64
        )
        similar = similarity(states)
        tables["token_similarity"] = by_lag(similar)
        probe = _kinds_told(states, asked, config, seed)
        if probe is not None:
            tables["token_separability"] = probe
            metrics |= metrics_of(probe, "value", "score", prefix="kind")
            row = probe.set_index("score").loc["probe"]
            told += (
                f" A linear probe reads a token's kind from its state for {row['value']:.0%} "
                f"(shuffled kinds {row['chance']:.0%})."
            )
    figure = token_chart(tables, similar, title=model.name)
    return Findings(conclusion=told, tables=tables, metrics=metrics, figures={"tokens": figure})


def cut(panel: Panel, length: int, config: TokensConfig, seed: int) -> Asked:
    """One window of some trajectories, from all systems alike, with the rates of their tokens.

    Raises
    ------
    DataError
        When no trajectory is that long.
    """
    rng = np.random.default_rng([seed, len("tokens")])
    able_items = [item for item in range(len(panel)) if panel.lengths[item] >= length]
    if not able_items:
        raise DataError(
            f"no trajectory has {length} points",
            where=f"panel {panel.info.name}",
            remedy="shorten the context",
        )
    chosen = _evenly(panel, able_items, config.windows)
    known = dynamics_of(panel, [panel.item_ids[item] for item in chosen])
    windows, rates, systems = [], [], []
    for item in chosen:
        series = panel.series(item)
        facts = known[series.item_id]
        target = series.target.T.astype(np.float64)
        scale = np.where(facts.spread > 0, facts.spread, 1.0)
        seen = np.isfinite(target)
        mean = np.where(seen, target, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        states = (target - mean) / scale
        start = int(rng.integers(len(states) - length + 1))
        windows.append(states[start : start + length])
        inside = states[:, np.isfinite(states).all(axis=0)]
        begins = start + np.arange(config.bars, length, config.bars) - 1
        apart = 1 if not facts.period > 0 else round(facts.period / facts.dt)
        rate = local_rates(inside, begins, config.bars, config.neighbours, max(apart, config.bars))
        rates.append(rate / (facts.dt * facts.lyapunov))
        systems.append(facts.system)
    return Asked(
        bars=np.stack(windows),
        rates=np.stack(rates),
        items=tuple(panel.item_ids[item] for item in chosen),
        systems=tuple(systems),
    )


def local_rates(
    states: Float[np.ndarray, "time variate"],
    places: Int[np.ndarray, " place"],
    ahead: int,
    neighbours: int,
    apart: int,
) -> Float[np.ndarray, " place"]:
    """Growth per bar of the logarithm of distances to neighbouring states, over ``ahead`` bars.

    Parameters
    ----------
    apart
        Least bars between a state and its neighbours, so that these are of other passes.

    Returns
    -------
    np.ndarray
        Mean over the neighbours; NaN where the trajectory ends before, or no neighbour is known.
    """
    from scipy.spatial.distance import cdist

    last = len(states) - ahead
    rates = np.full(len(places), np.nan)
    inside = np.flatnonzero(places < last)
    if last < 1 or not len(inside):
        return rates
    here = places[inside]
    distance = cdist(states[here], states[:last])
    near_in_time = np.abs(here[:, None] - np.arange(last)) < apart
    distance[near_in_time | (distance == 0)] = np.inf
    found = np.argsort(distance, axis=1)[:, :neighbours]
    before = np.take_along_axis(distance, found, axis=1)
    after = np.linalg.norm(states[here + ahead][:, None] - states[found + ahead], axis=2)
    known = np.isfinite(before) & (after > 0)
    growth = np.log(np.where(known, after, 1) / np.where(known, before, 1)) / ahead
    counts = known.sum(axis=1)
    rates[inside] = np.where(counts > 0, growth.sum(axis=1) / np.maximum(counts, 1), np.nan)
    return rates


def token_errors(
    model: Forecaster, asked: Asked, bars: int
) -> Float[np.ndarray, "window token variate"]:
    """Root mean square error of every token but the first, forecast from those before it."""
    count = asked.bars.shape[1] // bars
    errors = []
    for place in range(1, count):
        past, actual = (
            asked.bars[:, : place * bars],
            asked.bars[:, place * bars : (place + 1) * bars],
        )
        found = [model.predict(one, bars, (0.1, 0.5, 0.9)).median for one in _contexts(past)]
        errors.append(np.sqrt(((np.concatenate(found) - actual) ** 2).mean(axis=1)))
    return np.stack(errors, axis=1)


def token_kinds(
    values: Float[np.ndarray, "... bar"],
) -> Int[np.ndarray, "..."]:
    """Index into :data:`KINDS`: hardly moves, moves one way (almost) only, or turns."""
    steps = np.abs(np.diff(values, axis=-1)).sum(axis=-1)
    net = np.abs(values[..., -1] - values[..., 0])
    quiet = values.max(axis=-1) - values.min(axis=-1) < _QUIET
    one_way = net >= _MONOTONE * np.where(steps > 0, steps, 1)
    return np.where(quiet, 0, np.where(one_way, 1, 2))


def token_table(
    asked: Asked, errors: Float[np.ndarray, "window token variate"], bars: int
) -> pd.DataFrame:
    """A row per window, token and variate that is there: ``item, system, variate, bars_seen, kind,
    rate, error``."""
    windows, tokens, width = errors.shape
    following = asked.bars[:, bars:].reshape(windows, tokens, bars, width).swapaxes(2, 3)
    kind = np.asarray(KINDS, object)[token_kinds(np.nan_to_num(following))]
    cells = tokens * width
    table = pd.DataFrame(
        {
            "item": np.repeat(np.asarray(asked.items, object), cells),
            "system": np.repeat(np.asarray(asked.systems, object), cells),
            "variate": np.tile(np.arange(width), windows * tokens),
            "bars_seen": np.tile(np.repeat(bars * np.arange(1, tokens + 1), width), windows),
            "kind": kind.reshape(-1),
            "rate": np.repeat(asked.rates.reshape(-1), width),
            "error": errors.reshape(-1),
        }
    )
    return table[np.isfinite(table["error"])].reset_index(drop=True)


def averaged(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Geometric mean error of each value of a column, with its interval over systems."""
    rows = []
    for key, part in table.dropna(subset=[by]).groupby(by, sort=True):
        logs = np.log(np.maximum(part["error"].to_numpy(), 1e-12))
        value, low, high = np.exp(clustered_mean(logs, part["system"].to_numpy()))
        rows.append({by: key, "error": value, "low": low, "high": high, "tokens": len(part)})
    return pd.DataFrame(rows, columns=[by, "error", "low", "high", "tokens"])


def binned(table: pd.DataFrame, bins: int) -> pd.DataFrame:
    """The table with rates replaced by the median of their quantile bin."""
    known = table[np.isfinite(table["rate"])].copy()
    if known.empty:
        return known
    codes = pd.qcut(known["rate"].rank(method="first"), min(bins, len(known)), labels=False)
    known["rate"] = known.groupby(codes)["rate"].transform("median")
    return known


def rate_correlation(table: pd.DataFrame) -> tuple[float, float, float]:
    """Spearman's correlation of error and local rate within trajectories, with its interval.

    Over the second half of the context, where a longer one changes little.
    """
    late = table[table["bars_seen"] > table["bars_seen"].max() / 2]
    late = late[np.isfinite(late["rate"])]
    by_token = late.groupby(["item", "system", "bars_seen"], as_index=False)[["error", "rate"]]
    tokens = by_token.mean()
    found = [
        (system, part["error"].corr(part["rate"], method="spearman"))
        for (_, system), part in tokens.groupby(["item", "system"])
        if np.ptp(part["error"]) > 0 and np.ptp(part["rate"]) > 0
    ]
    if not found:
        return float("nan"), float("nan"), float("nan")
    systems, values = zip(*found, strict=True)
    return clustered_mean(np.array(values, float), systems)


def similarity(
    states: Float[np.ndarray, "window variate token dim"],
) -> Float[np.ndarray, "token token"]:
    """Mean cosine between the states of two tokens of one variate, the mean state taken off."""
    flat = states.reshape(-1, *states.shape[2:])
    flat = flat[np.isfinite(flat).all(axis=(1, 2))]
    flat = flat - flat.mean(axis=(0, 1))
    length = np.linalg.norm(flat, axis=2, keepdims=True)
    unit = flat / np.where(length > 0, length, 1)
    return np.einsum("wid,wjd->ij", unit, unit) / max(len(unit), 1)


def by_lag(similar: Float[np.ndarray, "token token"]) -> pd.DataFrame:
    """Mean cosine of tokens so many places apart."""
    count = len(similar)
    means = [float(np.diagonal(similar, lag).mean()) for lag in range(count)]
    return pd.DataFrame({"tokens_apart": np.arange(count), "cosine": means})


def _kinds_told(
    states: np.ndarray, asked: Asked, config: TokensConfig, seed: int
) -> pd.DataFrame | None:
    """How well states tell the kinds of tokens, judged on other systems; None for single bars."""
    tokens, length = states.shape[2], asked.bars.shape[1]
    bars = length // tokens
    if bars < _LEAST_BARS:
        return None
    windows, _, width = asked.bars.shape
    cells = asked.bars[:, length - bars * tokens :].reshape(windows, tokens, bars, width)
    kinds = token_kinds(np.nan_to_num(cells.transpose(0, 3, 1, 2)))
    known = np.isfinite(states).all(axis=3) & np.isfinite(cells).all(axis=2).swapaxes(1, 2)
    systems = np.broadcast_to(np.asarray(asked.systems)[:, None, None], known.shape)[known]
    points, labels = states[known], np.asarray(KINDS)[kinds[known]]
    rng = np.random.default_rng([seed, len("kinds")])
    chosen = np.sort(rng.permutation(len(points))[:_PROBED])
    points, labels, systems = points[chosen], labels[chosen], systems[chosen]
    if not able(labels, systems).any():
        return None
    return separability(
        points,
        labels,
        systems,
        neighbours=15,
        permutations=config.permutations,
        seed=seed,
        by_group=False,
    )


def _contexts(values: Float[np.ndarray, "window bar variate"]) -> list[Context]:
    batches = (values[first : first + _BATCH] for first in range(0, len(values), _BATCH))
    return [
        Context(past=batch.astype(np.float32), variates=np.any(np.isfinite(batch), axis=1))
        for batch in batches
    ]


def _evenly(panel: Panel, items: list[int], most: int) -> list[int]:
    """At most so many items: the first of every system, then the second …"""
    turns: dict[str, int] = {}
    order = []
    for item in items:
        system = str(panel.series(item).static.get("system", ""))
        turns[system] = turns.get(system, -1) + 1
        order.append((turns[system], item))
    return sorted(item for _, item in sorted(order)[:most])


def _told(
    name: str, tables: dict[str, pd.DataFrame], correlation: tuple[float, float, float]
) -> str:
    places = tables["token_places"]
    first, last = places.iloc[0], places.iloc[-1]
    kinds = ", ".join(f"{row.kind} {row.error:.2f}" for row in tables["token_kinds"].itertuples())
    value, low, high = correlation
    if np.isnan(value):
        relation = "the local rates of divergence are not known"
    else:
        verdict = (
            "larger where neighbours part faster" if low > 0
            else "smaller where neighbours part faster" if high < 0
            else "not related to how fast neighbours part"
        )  # fmt: skip
        relation = (
            f"errors are {verdict} (rank correlation within a trajectory "
            f"{with_interval(value, low, high, '+.2f')})"
        )
    return (
        f"Forecasting the next token, {name} errs by {first['error']:.2f} deviations of the "
        f"attractor after {first['bars_seen']:.0f} bars and by {last['error']:.2f} after "
        f"{last['bars_seen']:.0f}; by kind: {kinds}; {relation}."
    )
