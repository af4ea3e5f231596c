"""How a context becomes a forecast, of any horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from tsfm.errors import DataError
from tsfm.models.base import Context, Forecast
from tsfm.models.modes import evaluating
from tsfm.models.quantiles import between_levels
from tsfm.models.ttm_inputs import channels_of, context_batch

if TYPE_CHECKING:
    from tsfm.models.ttm import TinyTimeMixer


def forecast(
    model: TinyTimeMixer, context: Context, horizon: int, levels: tuple[float, ...]
) -> Forecast:
    """Forecast every observed variate; see :meth:`tsfm.models.ttm.TinyTimeMixer.forecast`."""
    seen = context.last(model.config.context)
    present = np.any(seen.observed, axis=1)
    empty = ~np.any(present, axis=1)
    if empty.any():
        raise DataError(
            f"no value is observed in the last {seen.length} bars",
            where=f"item {seen.item_ids[int(np.flatnonzero(empty)[0])]}",
            remedy="drop the series or give a longer context",
        )
    with evaluating(model):
        point, quantiles = _by_channel(model, seen, present, horizon)
    native = model.config.quantile_levels
    if quantiles is None:
        every = np.repeat(point[..., None], len(levels), axis=-1)
    else:
        every = between_levels(quantiles, native, levels)
        if model.config.loss == "pinball":
            point = quantiles.mean(axis=-1)
    return Forecast(
        quantiles=every, quantile_levels=levels, mean=point, is_degenerate=quantiles is None
    )


@torch.inference_mode()
def embeddings(
    model: TinyTimeMixer, context: Context
) -> Float[np.ndarray, "batch variate patch dim"]:
    """States of the backbone; see :meth:`tsfm.models.ttm.TinyTimeMixer.embeddings`."""
    config, seen = model.config, context.last(model.config.context)
    present = np.any(seen.observed, axis=1)
    known = None
    if config.mixes_channels:
        rows = np.arange(seen.batch_size)
        past, known = channels_of(seen, config.steps, config)
    else:
        rows, variate, past = _one_by_one(seen, present, config.context)
    statics = [seen.static[row] for row in rows] if seen.static else [{} for _ in rows]
    parts = []
    with evaluating(model):
        for first in range(0, len(rows), config.forecast_series):
            chunk = slice(first, first + config.forecast_series)
            batch = context_batch(
                past[chunk],
                None if known is None else known[chunk],
                config,
                frequencies=[seen.freq] * len(past[chunk]),
                statics=statics[chunk],
            )
            batch = {name: value.to(model.device) for name, value in batch.items()}
            parts.append(model.outputs(batch).hidden.float().cpu().numpy())
    hidden = np.concatenate(parts)
    if config.mixes_channels:
        return np.where(present[:, :, None, None], hidden[:, list(config.targets)], np.nan)
    states = np.full((*present.shape, *hidden.shape[2:]), np.nan, np.float32)
    states[rows, variate] = hidden[:, 0]
    return states


def _one_by_one(
    seen: Context, present: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "channel 1 time"]]:
    """Series and variate of every variate present, and its past, padded to ``length`` bars."""
    rows, variate = np.nonzero(present)
    past = np.full((len(rows), 1, length), np.nan, np.float32)
    observed = np.where(seen.observed, seen.past, np.nan)
    past[:, 0, length - seen.length :] = observed[rows, :, variate]
    return rows, variate, past


def _by_channel(
    model: TinyTimeMixer, seen: Context, present: np.ndarray, horizon: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Point ``[batch, horizon, variate]`` and quantiles of the variates present."""
    config, known = model.config, None
    if config.mixes_channels:
        rows = np.arange(seen.batch_size)
        past, known = channels_of(seen, horizon, config)
    else:
        rows, variate, past = _one_by_one(seen, present, config.context)
    statics = [seen.static[row] for row in rows] if seen.static else [{} for _ in rows]
    parts = []
    for first in range(0, len(rows), config.forecast_series):
        chunk = slice(first, first + config.forecast_series)
        told = None if known is None else known[chunk]
        parts.append(_rolled(model, past[chunk], told, horizon, seen.freq, statics[chunk]))
    point = np.concatenate([part[0] for part in parts])
    quantiles = None
    if config.quantile_levels:
        quantiles = np.concatenate([part[1] for part in parts])
    if config.mixes_channels:
        absent = ~present[:, None]
        spread = None if quantiles is None else quantiles.swapaxes(1, 2)
        if spread is not None:
            spread[np.broadcast_to(absent, spread.shape[:-1])] = np.nan
        return np.where(absent, np.nan, point.swapaxes(1, 2)), spread
    shape = (seen.batch_size, horizon, present.shape[1])
    placed = np.full(shape, np.nan, np.float32)
    placed[rows, :, variate] = point[:, 0]
    if quantiles is None:
        return placed, None
    every = np.full((*shape, len(config.quantile_levels)), np.nan, np.float32)
    every[rows, :, variate] = quantiles[:, 0]
    return placed, every


@torch.inference_mode()
def _rolled(
    model: TinyTimeMixer,
    past: Float[np.ndarray, "batch channel time"],
    known: Float[np.ndarray, "batch exogenous time+horizon"] | None,
    horizon: int,
    freq: str | None,
    statics: Sequence[Mapping[str, float | str]],
) -> tuple[np.ndarray, np.ndarray | None]:
    """Point and quantiles of the targets; past covariates are unobserved after the origin."""
    config = model.config
    targets = list(config.targets) if config.mixes_channels else [0]
    paths, points, spreads = past[:, None], [], []
    for first in range(0, horizon, config.steps):
        steps = min(config.steps, horizon - first)
        n_series, n_paths = paths.shape[:2]
        told = None
        if known is not None and known.shape[1]:
            reach = np.full(
                (n_series, known.shape[1], config.context + config.steps), np.nan, np.float32
            )
            window = known[..., first : first + config.context + config.steps]
            reach[..., : window.shape[-1]] = window
            told = np.repeat(reach, n_paths, axis=0)
        batch = context_batch(
            paths.reshape(-1, *paths.shape[2:]),
            told,
            config,
            frequencies=[freq] * (n_series * n_paths),
            statics=[static for static in statics for _ in range(n_paths)],
        )
        outputs = model.outputs({name: value.to(model.device) for name, value in batch.items()})
        point = _numpy(outputs.point, n_paths)[..., :steps]
        points.append(point.mean(axis=1))
        ways = point
        if outputs.quantiles is not None:
            every = _numpy(outputs.quantiles, n_paths)[..., :steps, :]
            spreads.append(every[:, 0] if n_paths == 1 else pooled(every, config.quantile_levels))
            ways = np.moveaxis(spreads[-1], -1, 1)
        ahead = first + steps
        if ahead < horizon:
            shape = (n_series, ways.shape[1], past.shape[1], steps)
            following = np.full(shape, np.nan, np.float32)
            following[:, :, targets] = ways
            if known is not None and known.shape[1]:
                told = known[:, None, :, config.context + first : config.context + ahead]
                following[:, :, list(config.exogenous_channel_indices)] = told
            before = np.broadcast_to(paths, (*shape[:3], paths.shape[-1]))
            paths = np.concatenate([before, following], axis=-1)[..., -config.context :]
    quantiles = np.concatenate(spreads, axis=2) if spreads else None
    return np.concatenate(points, axis=2), quantiles


def _numpy(values: torch.Tensor, n_paths: int) -> np.ndarray:
    return values.float().cpu().numpy().reshape(-1, n_paths, *values.shape[1:])


def pooled(
    every: Float[np.ndarray, "series level target step level"], levels: Sequence[float]
) -> Float[np.ndarray, "series target step level"]:
    """Quantiles of all paths' forecasts together, exact where the paths agree.

    A path for each level, and each path's quantiles: points that stand for the levels half-way to
    their neighbours. Sorted together, their summed weights are brought to the scale of levels as
    those of one path are.
    """
    known = np.asarray(levels)
    weight = np.diff(np.concatenate([[0.0], (known[1:] + known[:-1]) / 2, [1.0]]))
    values = np.moveaxis(every, 1, -1).reshape(*every[:, 0].shape[:-1], -1)
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    share = np.outer(weight, weight).ravel()[order]
    middles = np.concatenate([[0.0], np.cumsum(weight) - weight / 2, [1.0]])
    summed = np.cumsum(share, axis=-1) - share / 2
    place = np.interp(summed, middles, np.concatenate([[0.0], known, [1.0]]))
    last = values.shape[-1] - 1
    found = []
    for level in known:
        upper = np.clip((place < level).sum(axis=-1, keepdims=True), 1, last)
        low, high = (np.take_along_axis(place, k, axis=-1) for k in (upper - 1, upper))
        below, above = (np.take_along_axis(ordered, k, axis=-1) for k in (upper - 1, upper))
        part = np.clip((level - low) / np.maximum(high - low, 1e-12), 0, 1)
        found.append(below + part * (above - below))
    return np.concatenate(found, axis=-1).astype(np.float32)
