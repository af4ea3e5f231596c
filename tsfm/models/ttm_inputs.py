"""Windows and contexts as the channels that TinyTimeMixer sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float

from tsfm.data.frequency import step_nanoseconds
from tsfm.errors import DataError, UserError
from tsfm.models.base import Batch, Context
from tsfm.models.gaps import bridged

if TYPE_CHECKING:
    from tsfm.data.windows import Window
    from tsfm.models.ttm_config import TinyTimeMixerConfig

T = TypeVar("T")

_MINUTE = 60_000_000_000
_FREQUENCY_TOKENS = {1: 1, 2: 2, 5: 3, 10: 4, 15: 5, 30: 6, 60: 7, 1440: 8}  # minutes: token
_WEEKLY = 9


def training_batch(windows: Sequence[Window], config: TinyTimeMixerConfig) -> Batch:
    """Contexts and horizons of windows whose last ``config.steps`` bars are the horizon.

    Where channels are not mixed each variate is a row of its own. The horizon holds targets and
    known covariates only: past covariates end at the origin.

    Raises
    ------
    DataError
        When a window lacks variates, covariates or static attributes that the model needs.
    """
    steps, span = config.steps, config.context + config.steps
    if not config.mixes_channels:
        series = _joined([window.target[:, -span:] for window in windows], span)[:, None]
        counts = [len(window.target) for window in windows]
        known = None
    else:
        series = np.full((len(windows), config.num_input_channels, span), np.nan, np.float32)
        for row, window in zip(series, windows, strict=True):
            _expect_channels(
                config, window.item_id, len(window.target),
                _count(window.past_covariates), _count(window.known_covariates),
            )  # fmt: skip
            length = min(window.length, span)
            row[list(config.targets), span - length :] = window.target[:, -length:]
            if window.past_covariates is not None and config.past_only:
                seen = window.past_covariates[:, window.length - length : window.length - steps]
                row[list(config.past_only), span - length : span - steps] = seen
            if window.known_covariates is not None and config.exogenous_channel_indices:
                told = window.known_covariates[:, window.length - length : window.length]
                row[list(config.exogenous_channel_indices), span - length :] = told
        counts = [1] * len(windows)
        known = series[:, list(config.exogenous_channel_indices)]
    targets = list(config.targets) if config.mixes_channels else [0]
    batch = context_batch(
        series[..., :-steps],
        known,
        config,
        frequencies=_repeated([window.freq for window in windows], counts),
        statics=_repeated([window.static for window in windows], counts),
    )
    future = series[:, targets, -steps:]
    return batch | _filled("future", "future_observed", future)


def context_batch(
    past: Float[np.ndarray, "batch channel time"],
    known: Float[np.ndarray, "batch exogenous time+horizon"] | None,
    config: TinyTimeMixerConfig,
    *,
    frequencies: Sequence[str | None],
    statics: Sequence[Mapping[str, float | str]],
) -> Batch:
    """What the model is told of ``config.context`` bars (NaN where unobserved).

    Raises
    ------
    DataError
        When a static attribute is missing or out of range.
    """
    batch = _filled("past", "observed", past, bridge=config.imputation == "bridge")
    if "observed" in batch and config.imputation != "none":
        nowhere = ~np.isfinite(past) & (np.cumsum(np.isfinite(past), axis=-1) == 0)
        if config.imputation == "mean":
            nowhere = ~np.isfinite(past)
        batch["past"][torch.from_numpy(nowhere)] = torch.nan
    if known is not None and config.exogenous_channel_indices:
        told = np.nan_to_num(bridged(known)[..., config.context :])
        batch["exogenous"] = torch.from_numpy(np.ascontiguousarray(told))
    if config.resolution_prefix_tuning:
        tokens = [frequency_token(freq, config.frequency_token_vocab_size) for freq in frequencies]
        batch["frequency"] = torch.tensor(tokens)
    if config.categorical_names:
        codes = [_codes(static, config) for static in statics]
        batch["attributes"] = torch.tensor(codes)
    return batch


def channels_of(
    context: Context, horizon: int, config: TinyTimeMixerConfig
) -> tuple[
    Float[np.ndarray, "batch channel time"], Float[np.ndarray, "batch exogenous time+horizon"]
]:
    """Channels of a context that has all variates and covariates of a channel-mixing model.

    Raises
    ------
    DataError
        When they are not those the model was made for.
    """
    seen = context.last(config.context)
    covariates = seen.past_covariates, seen.known_covariates
    counts = [0 if values is None else values.shape[2] for values in covariates]
    _expect_channels(config, seen.item_ids[0], seen.past.shape[2], *counts)
    first = config.context - seen.length
    shape = (seen.batch_size, config.num_input_channels, config.context)
    past = np.full(shape, np.nan, np.float32)
    observed = np.where(seen.observed, seen.past, np.nan)
    past[:, list(config.targets), first:] = observed.swapaxes(1, 2)
    known_shape = (seen.batch_size, len(config.exogenous_channel_indices), config.context + horizon)
    known = np.full(known_shape, np.nan, np.float32)
    if seen.past_covariates is not None and config.past_only:
        past[:, list(config.past_only), first:] = seen.past_covariates.swapaxes(1, 2)
    if seen.known_covariates is not None and config.exogenous_channel_indices:
        told = seen.known_covariates[:, : seen.length + horizon].swapaxes(1, 2)
        if told.shape[2] < seen.length + horizon:
            raise DataError(
                f"known covariates reach {told.shape[2] - seen.length} bars into the horizon of "
                f"{horizon}",
                remedy="give them over context and horizon",
            )
        known[:, :, first:] = told
        past[:, list(config.exogenous_channel_indices)] = known[:, :, : config.context]
    return past, known


def frequency_token(freq: str | None, size: int) -> int:
    """The reference's token of a pandas frequency; 0 where it has none (or ``size`` is too small).

    Source: granite-tsfm, ``DEFAULT_FREQUENCY_MAPPING``.
    """
    if freq is None:
        return 0
    if freq.upper().startswith("W"):
        token = _WEEKLY
    else:
        try:
            nanoseconds = step_nanoseconds(freq) or (1440 * _MINUTE if freq == "D" else 0)
        except UserError:
            return 0
        token = _FREQUENCY_TOKENS.get(nanoseconds / _MINUTE, 0)  # type: ignore[call-overload]
    return token if token < size else 0


def _joined(rows: Sequence[np.ndarray], span: int) -> Float[np.ndarray, "series time"]:
    """``[variate, time]`` arrays one below the other, NaN before the shorter ones."""
    if all(values.shape[1] == span for values in rows):
        return np.concatenate(rows).astype(np.float32, copy=False)
    joined = np.full((sum(map(len, rows)), span), np.nan, np.float32)
    first = 0
    for values in rows:
        joined[first : first + len(values), span - values.shape[1] :] = values
        first += len(values)
    return joined


def _filled(name: str, mask: str, values: np.ndarray, *, bridge: bool = False) -> Batch:
    """Values with unobserved ones bridged or zero, and a mask where there are such."""
    observed = np.isfinite(values)
    if observed.all():
        return {name: torch.from_numpy(np.ascontiguousarray(values))}
    known = bridged(np.where(observed, values, np.nan)) if bridge else values
    return {
        name: torch.from_numpy(np.where(np.isfinite(known), known, 0).astype(np.float32)),
        mask: torch.from_numpy(observed),
    }


def _count(covariates: np.ndarray | None) -> int:
    return 0 if covariates is None else len(covariates)


def _expect_channels(
    config: TinyTimeMixerConfig, item: str, targets: int, past: int, known: int
) -> None:
    expected = len(config.targets), len(config.past_only), len(config.exogenous_channel_indices)
    for count, wanted, what in zip(
        (targets, past, known), expected, ("variates", "past covariates", "known covariates")
    ):
        if count != wanted:
            raise DataError(
                f"{count} {what} for a model of {wanted}",
                where=f"item {item}",
                remedy="give those it was trained with, or load it with num_input_channels, "
                "prediction_channel_indices and exogenous_channel_indices to match",
            )


def _codes(static: Mapping[str, float | str], config: TinyTimeMixerConfig) -> list[int]:
    codes = []
    for name, size in zip(
        config.categorical_names, config.categorical_vocab_size_list, strict=True
    ):
        value = static.get(name)
        try:
            code = int(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            code = -1
        if not 0 <= code < size or code != float(value):  # type: ignore[arg-type]
            raise DataError(
                f"static attribute {name}={value!r}",
                remedy=f"give a whole number from 0 to {size - 1}",
            )
        codes.append(code)
    return codes


def _repeated(values: Sequence[T], counts: Sequence[int]) -> list[T]:
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
