"""How a context becomes masked tokens, and their mixtures a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float

from tsfm.data.cropping import taken
from tsfm.errors import ConfigError, DataError
from tsfm.models.base import QUANTILE_LEVELS, Batch, Context, Forecast
from tsfm.models.mixture_marginals import COLUMNS, MixtureMarginals
from tsfm.models.modes import evaluating
from tsfm.models.moirai_covariates import Covariates, warn_of_left_out

if TYPE_CHECKING:
    from tsfm.models.moirai import Moirai
    from tsfm.models.moirai_config import MoiraiConfig


def forecast(model: Moirai, context: Context, horizon: int, levels: tuple[float, ...]) -> Forecast:
    """Forecast every observed variate; see :meth:`tsfm.models.moirai.Moirai.forecast`."""
    seen = context.last(model.config.context)
    present = np.any(seen.observed, axis=1)
    empty = ~np.any(present, axis=1)
    if empty.any():
        item = seen.item_ids[int(np.flatnonzero(empty)[0])]
        raise DataError(
            f"no value is observed in the last {seen.length} bars",
            where=f"item {item}",
            remedy="drop the series or give a longer context",
        )
    sizes = _patch_sizes(model, context, horizon, present)
    covariates = Covariates.of(seen, horizon, model.config)
    rng = np.random.default_rng(context.seed)
    with evaluating(model):
        parts = {
            int(size): _forecast_rows(
                model, seen, covariates, present, np.flatnonzero(sizes == size), int(size), horizon,
                levels, rng,
            )
            for size in np.unique(sizes)
        }  # fmt: skip
    order = np.argsort(np.concatenate([np.flatnonzero(sizes == size) for size in parts]))
    quantiles, mean, samples, left_out, table = (
        np.concatenate(part)[order] for part in zip(*parts.values())
    )
    metadata = {"patch_size": sizes.tolist()}
    if covariates.values.size:
        metadata["covariates_left_out"] = left_out.tolist()
        worst = int(left_out.argmax())
        warn_of_left_out(int(left_out[worst]), int(sizes[worst]), model.config)
    return Forecast(
        quantiles=quantiles,
        quantile_levels=levels,
        mean=mean,
        samples=samples if model.config.num_samples else None,
        metadata=metadata,
        distribution=MixtureMarginals(table=table),
    )


def embeddings(model: Moirai, context: Context) -> Float[np.ndarray, "batch variate patch dim"]:
    """Encoder states of the context; see :meth:`tsfm.models.moirai.Moirai.embeddings`."""
    config, seen = model.config, context.last(model.config.context)
    present = np.any(seen.observed, axis=1)
    widest, length = int(present.sum(axis=1).max()), seen.length
    fitting = fitting_patch_sizes(config, widest, length, 0)
    wanted = config.patch_size or fitting[0]
    size = next((size for size in fitting if size >= wanted), fitting[-1])
    n_series, width, n_past = seen.batch_size, present.shape[1], -(-length // size)
    none = Covariates(values=np.empty((n_series, 0, length), np.float32), n_known=0)
    kept = np.zeros((n_series, 0), bool)
    states = np.full((n_series, width, n_past, config.d_model), np.nan, np.float32)
    step = max(1, config.forecast_tokens // (width * n_past))
    with evaluating(model):
        for start in range(0, n_series, step):
            rows = np.arange(start, min(start + step, n_series))
            batch = _tokens(seen, none, present, kept, rows, size, n_past, 0)
            batch = {name: value.to(model.device) for name, value in batch.items()}
            slots, hidden = model.encode_tokens(batch)
            place = np.unravel_index(slots.cpu().numpy(), (len(rows), width, n_past))
            states[start : start + step][place] = hidden.float().cpu().numpy()
    return states


def best_patch_size(model: Moirai, contexts: Sequence[Context], horizon: int) -> int:
    """The candidate with the lowest mean scaled CRPS over the ends of the contexts."""
    if len(model.config.patch_sizes) == 1:
        return model.config.patch_sizes[0]
    total: dict[int, list[Float[np.ndarray, " batch"]]] = {}
    for context in contexts:
        for size, losses in _held_out_losses(model, context, horizon).items():
            total.setdefault(size, []).append(losses)
    pooled = {size: np.concatenate(losses) for size, losses in total.items()}
    means = {size: float(_mean_per_series(losses[None])[0]) for size, losses in pooled.items()}
    known = {size: mean for size, mean in means.items() if np.isfinite(mean)}
    if not known:
        raise DataError(
            f"no context is longer than the horizon of {horizon} bars and varies",
            remedy="give longer contexts, or set patch_size",
        )
    return min(known, key=lambda size: known[size])


def _patch_sizes(
    model: Moirai, context: Context, horizon: int, present: Bool[np.ndarray, "batch variate"]
) -> np.ndarray:
    """The patch size of each series."""
    length = min(context.length, model.config.context)
    widths = present.sum(axis=1)
    fitting = [fitting_patch_sizes(model.config, int(width), length, horizon) for width in widths]
    if model.config.patch_size is not None:
        wanted = model.config.patch_size
        return np.array([next((s for s in sizes if s >= wanted), sizes[-1]) for sizes in fitting])
    chosen = np.array([sizes[0] for sizes in fitting])
    if len(model.config.patch_sizes) > 1:
        losses = _held_out_losses(model, context, horizon)
        for row, sizes in enumerate(fitting):
            known = [s for s in sizes if s in losses and np.isfinite(losses[s][row])]
            if known:
                chosen[row] = min(known, key=lambda s: losses[s][row])
    return chosen


def fitting_patch_sizes(config: MoiraiConfig, width: int, length: int, horizon: int) -> list[int]:
    """Patch sizes at which a series of ``width`` variates stays within the token budget.

    Raises
    ------
    ConfigError
        When there are none.
    """
    tokens = {s: width * (-(-length // s) - (-horizon // s)) for s in config.patch_sizes}
    sizes = [size for size, count in tokens.items() if count <= config.token_budget]
    if not sizes:
        size = config.patch_sizes[-1]
        raise ConfigError(
            f"context {length} + horizon {horizon} of {width} variates need {tokens[size]} tokens "
            f"at patch size {size}, over the token budget of {config.token_budget}",
            remedy="shorten context or horizon, forecast fewer variates at once, add a larger "
            "patch size or raise token_budget",
        )
    return sizes


def expect_able(
    config: MoiraiConfig, *, width: int, length: int, horizon: int, past: int, known: int
) -> None:
    """Raise or warn as :meth:`tsfm.models.base.Forecaster.expect_able`."""
    fitting = fitting_patch_sizes(config, width, length, horizon)
    if not config.use_covariates:
        return
    wanted = config.patch_size or fitting[0]
    size = next((size for size in fitting if size >= wanted), fitting[-1])
    given = Covariates(values=np.zeros((1, known + past, 1), np.float32), n_known=known)
    n_past, n_future = -(-length // size), -(-horizon // size)
    kept = given.kept(np.array([width]), n_past, n_future, config.token_budget)
    warn_of_left_out(int(given.left_out(kept)[0]), size, config)


def _held_out_losses(
    model: Moirai, context: Context, horizon: int
) -> dict[int, Float[np.ndarray, " batch"]]:
    """Scaled CRPS of each patch size on the last ``horizon`` bars of each series."""
    window = context.last(model.config.context + horizon)
    length = window.length - horizon
    if length < 1:
        return {}
    past = window.past[:, :length]
    observed = window.observed[:, :length]
    rows = np.flatnonzero(np.any(observed, axis=(1, 2)))
    if not len(rows):
        return {}
    head = Context(
        past=past,
        observed=observed,
        variates=window.variates,
        past_covariates=taken(window.past_covariates, np.s_[:, :length]),
        known_covariates=taken(window.known_covariates, np.s_[:, : length + horizon]),
    ).rows(rows.tolist())
    covariates = Covariates.of(head, horizon, model.config)
    present = np.any(head.observed, axis=1)
    future = np.where(window.observed[rows, length:], window.past[rows, length:], np.nan)
    steps = np.abs(np.diff(np.where(head.observed, head.past, np.nan), axis=1))
    spread = _mean_per_series(steps)
    widest = int(present.sum(axis=1).max())
    losses = {}
    for size in fitting_patch_sizes(model.config, widest, length, horizon):
        everything = np.arange(len(rows))
        quantiles, *_ = _forecast_rows(
            model, head, covariates, present, everything, size, horizon, QUANTILE_LEVELS, None
        )
        error = future[..., None] - quantiles
        pinball = np.maximum(
            np.array(QUANTILE_LEVELS) * error, (np.array(QUANTILE_LEVELS) - 1) * error
        )
        losses[size] = np.full(context.batch_size, np.nan)
        losses[size][rows] = _mean_per_series(pinball) / np.where(spread > 0, spread, np.nan)
    return losses


def _mean_per_series(values: Float[np.ndarray, "batch ..."]) -> Float[np.ndarray, " batch"]:
    """Mean of the values that are not NaN; NaN where all are."""
    rows = values.reshape(len(values), -1)
    count = np.isfinite(rows).sum(axis=1)
    return np.where(count > 0, np.nansum(rows, axis=1) / np.maximum(count, 1), np.nan)


def _forecast_rows(
    model: Moirai,
    context: Context,
    covariates: Covariates,
    present: Bool[np.ndarray, "batch variate"],
    rows: np.ndarray,
    size: int,
    horizon: int,
    levels: tuple[float, ...],
    rng: np.random.Generator | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Quantiles, means and samples of some series, all at one patch size; covariates left out; the
    mixtures' parameters."""
    config = model.config
    width, n_future = context.past.shape[2], -(-horizon // size)
    n_past = -(-context.length // size)
    kept = covariates.kept(present.sum(axis=1), n_past, n_future, config.token_budget)
    n_rows = width + kept.shape[1]
    n_samples = config.num_samples if rng is not None else 0
    shape = (len(rows), width, n_future * size)
    quantiles = np.full((*shape, len(levels)), np.nan, np.float32)
    mean = np.full(shape, np.nan, np.float32)
    samples = np.full((*shape, n_samples), np.nan, np.float32)
    table = np.full((*shape, COLUMNS), np.nan, np.float32)
    step = max(1, config.forecast_tokens // (n_rows * (n_past + n_future)))
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        batch = _tokens(context, covariates, present, kept, chunk, size, n_past, n_future)
        batch = {name: value.to(model.device) for name, value in batch.items()}
        for slots, mixture in model.predict_tokens(batch):
            series, token = np.divmod(slots.cpu().numpy(), n_rows * (n_past + n_future))
            variate, patch = np.divmod(token, n_past + n_future)
            place = (
                start + series[:, None],
                variate[:, None],
                (patch[:, None] - n_past) * size + np.arange(size),
            )
            quantiles[place] = mixture.quantiles(np.array(levels))
            mean[place] = mixture.mean.cpu().numpy()
            table[place] = mixture.marginals.table
            if rng is not None and n_samples:
                samples[place] = mixture.sample(n_samples, rng)
    cut = slice(horizon)
    return (
        quantiles[:, :, cut].swapaxes(1, 2),
        mean[:, :, cut].swapaxes(1, 2),
        samples[:, :, cut].transpose(0, 3, 2, 1),
        covariates.left_out(kept)[rows],
        table[:, :, cut].swapaxes(1, 2),
    )


def _tokens(
    context: Context,
    covariates: Covariates,
    present: Bool[np.ndarray, "batch variate"],
    kept: Bool[np.ndarray, "batch covariate"],
    rows: np.ndarray,
    size: int,
    n_past: int,
    n_future: int,
) -> Batch:
    """One packed row per series: the patches of past and horizon, variate by variate.

    Covariates follow the variates. Their patches beyond the origin are there where a value is.
    """
    width, n_tokens = present.shape[1], n_past + n_future
    past = np.where(context.observed[rows], context.past[rows], np.nan).swapaxes(1, 2)
    values = np.full((len(rows), width + kept.shape[1], n_tokens * size), np.nan, np.float32)
    first = n_past * size - context.length
    values[:, :width, first : first + context.length] = past
    values[:, width:, first : first + covariates.values.shape[2]] = covariates.values[rows]
    seen = np.isfinite(values)
    values = np.where(seen, values, np.float32(0))
    n_series, n_rows, _ = values.shape
    seen = seen.reshape(n_series, n_rows, n_tokens, size)
    begun = np.cumsum(seen[:, :width].any(axis=(1, 3)), axis=1) > 0
    place = np.arange(n_tokens)
    is_variate = np.arange(n_rows)[:, None] < width
    chosen = np.concatenate([present[rows], kept[rows]], axis=1)
    told = is_variate | (place < n_past) | seen.any(axis=3)
    real = chosen[:, :, None] & begun[:, None, :] & told
    shape = (n_series, n_rows, n_tokens)

    def slots(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.broadcast_to(values, shape).reshape(n_series, -1).copy())

    return {
        "target": torch.from_numpy(values.reshape(n_series, n_rows * n_tokens, size)),
        "observed_mask": torch.from_numpy(seen.reshape(n_series, n_rows * n_tokens, size)),
        "sample_id": slots(real.astype(np.int64)),
        "time_id": slots(place),
        "variate_id": slots(np.arange(n_rows)[:, None]),
        "prediction_mask": slots(is_variate & (place >= n_past)),
        "patch_size": slots(np.array(size)),
    }
