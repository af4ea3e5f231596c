"""Contexts as messages, and what comes back as forecasts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tsfm.data.cropping import taken
from tsfm.errors import DataError
from tsfm.models.base import Context, Forecast
from tsfm.models.foreign.standalone.worker_side import pack
from tsfm.models.quantiles import between_levels


def question(
    context: Context, horizon: int, levels: tuple[float, ...], *, covariates: bool
) -> bytes:
    """A context as a message, with its covariates or without."""
    columns: dict[str, Any] = {
        "past": np.where(context.observed, context.past, np.nan).astype(np.float32),
        "observed": context.observed,
        "variates": context.variates,
        "item_ids": list(context.item_ids),
        "timestamps": _dates(context.timestamps),
        "future_timestamps": _dates(context.future_timestamps),
    }
    if context.static:
        columns["static"] = [json.dumps(dict(static), default=str) for static in context.static]
    if covariates:
        columns["past_covariates"] = _floats(context.past_covariates)
        columns["known_covariates"] = _floats(context.known_covariates)
    header = {
        "horizon": horizon,
        "quantile_levels": list(levels),
        "freq": context.freq,
        "seasonality": context.seasonality,
        "seed": context.seed,
        "variate_names": list(context.variate_names),
        "past_covariate_names": list(context.past_covariate_names) if covariates else [],
    }
    return pack("forecast", header, {k: v for k, v in columns.items() if v is not None})


def one_by_one(context: Context) -> tuple[Context, Int[np.ndarray, "series 2"]]:
    """Every observed variate as a series of its own, and its row and variate before."""
    place = np.argwhere(context.observed.any(axis=1))
    rows, variates = place[:, 0], place[:, 1]
    parted = context.rows(rows.tolist())
    several = len(context.variate_names) > 1
    ids = (
        f"{context.item_ids[row]}/{context.variate_names[variate]}"
        if several
        else context.item_ids[row]
        for row, variate in place
    )
    alone = replace(
        parted,
        past=context.past[rows, :, variates][..., None],
        observed=context.observed[rows, :, variates][..., None],
        variates=np.ones((len(place), 1), bool),
        variate_names=("target",),
        item_ids=tuple(ids),
    )
    return alone, place


def answered(
    header: Mapping[str, Any],
    columns: Mapping[str, Any],
    context: Context,
    horizon: int,
    levels: tuple[float, ...],
) -> Forecast:
    """The forecast in a worker's answer to a context.

    Quantiles are the worker's at its levels, or those of its samples, or its mean at all levels; a
    mean that it does not give is that of its samples, or its median.

    Raises
    ------
    DataError
        When a shape is not what was asked for, or a value of an observed variate is not finite.
    """
    batch, width = context.batch_size, len(context.variate_names)
    native = tuple(header["quantile_levels"])
    if not native or any(b <= a for a, b in zip((0.0, *native), (*native, 1.0))):
        raise DataError(f"quantile_levels={list(native)} do not increase inside (0, 1)")
    present = np.any(context.observed, axis=1)
    shapes: dict[str, tuple[int | None, ...]] = {
        "quantiles": (batch, horizon, width, len(native)),
        "mean": (batch, horizon, width),
        "samples": (batch, None, horizon, width),
    }
    axes = {"quantiles": 0, "mean": 0, "samples": 1}
    found = {}
    for name, shape in shapes.items():
        if name in columns:
            values = _shaped(name, columns[name], shape)
            found[name] = _finite(name, values, present, axes[name])
    if not found:
        raise DataError("the answer holds neither quantiles nor mean nor samples")
    return _forecast(found, native, levels)


def _forecast(
    found: Mapping[str, np.ndarray], native: tuple[float, ...], levels: tuple[float, ...]
) -> Forecast:
    samples, mean = found.get("samples"), found.get("mean")
    if "quantiles" in found:
        quantiles = found["quantiles"]
        if native != levels:
            quantiles = between_levels(quantiles, native, levels)
    elif samples is not None:
        quantiles = np.moveaxis(np.quantile(samples, levels, axis=1), 0, -1).astype(np.float32)
    else:
        assert mean is not None
        quantiles = np.repeat(mean[..., None], len(levels), axis=-1)
    if mean is None and samples is not None:
        mean = samples.mean(axis=1)
    elif mean is None:
        mean = between_levels(found["quantiles"], native, (0.5,))[..., 0]
    return Forecast(
        quantiles=quantiles,
        quantile_levels=levels,
        mean=mean,
        samples=samples,
        is_degenerate="quantiles" not in found and samples is None,
    )


def _shaped(name: str, values: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Of that shape; the axis of variates may be missing where there is one alone."""
    given = np.shape(values)
    variate = 2 if name == "quantiles" else len(shape) - 1
    if shape[variate] == 1 and np.ndim(values) == len(shape) - 1:
        values = np.expand_dims(values, variate)
    right = np.ndim(values) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, np.shape(values))
    )
    if not right:
        wanted = tuple("any" if size is None else size for size in shape)
        raise DataError(f"{name} has shape {given} instead of {wanted}")
    return np.asarray(values, np.float32)


def _finite(
    name: str, values: np.ndarray, present: Bool[np.ndarray, "batch variate"], samples: int
) -> Float[np.ndarray, "..."]:
    """NaN where nothing was observed, numbers everywhere else."""
    mask = present[:, None, None, :] if samples else present[:, None, :]
    if name == "quantiles":
        mask = mask[..., None]
    bad = int((~np.isfinite(values) & mask).sum())
    if bad:
        asked = int(np.broadcast_to(mask, values.shape).sum())
        raise DataError(f"{bad} of {asked} values of {name} are not finite")
    return np.where(mask, values, np.float32(np.nan))


def _floats(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None or not values.size else values.astype(np.float32)


def _dates(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else values.astype("datetime64[ns]")


def placed(
    forecast: Forecast, place: Int[np.ndarray, "series 2"], batch: int, width: int
) -> Forecast:
    """The inverse of :func:`one_by_one`; NaN where nothing was asked."""
    rows, variates = place[:, 0], place[:, 1]
    horizon, levels = forecast.horizon, len(forecast.quantile_levels)
    quantiles = np.full((batch, horizon, width, levels), np.nan, np.float32)
    mean = np.full((batch, horizon, width), np.nan, np.float32)
    quantiles[rows, :, variates] = forecast.quantiles[:, :, 0]
    mean[rows, :, variates] = taken(forecast.mean, np.s_[:, :, 0])
    return replace(forecast, quantiles=quantiles, mean=mean, samples=None)
