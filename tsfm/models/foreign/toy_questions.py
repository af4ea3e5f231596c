"""Toy questions: whether a foreign forecaster answers what leaderboards will ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsfm.errors import UserError
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecast
from tsfm.models.foreign.forecaster import ForeignForecaster


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back to one toy question.

    Attributes
    ----------
    error
        None where the answer is as it should be.
    note
        What a reader should know all the same.
    """

    asked: str
    seconds: float
    error: UserError | None = None
    note: str = ""


def toy_contexts(variates: int | None = None) -> dict[str, Context]:
    """A plain series, several variates, gaps and padding, and no dates.

    Parameters
    ----------
    variates
        That the model forecasts at most.
    """
    width = min(3, variates or 3) if variates != 1 else 3
    bars = np.arange(96)
    dates = (np.datetime64("2024-01-01") + bars.astype("timedelta64[h]")).astype("datetime64[ns]")
    phases = np.arange(2 * width).reshape(2, 1, width)
    wave = 10 + np.sin(2 * np.pi * bars / 24)[None, :, None] + 0.1 * phases
    wave = wave + 0.01 * np.random.default_rng(0).standard_normal(wave.shape)
    holed = wave.copy()
    holed[0, 40:44] = np.nan
    holed[1, :30] = np.nan
    dated: dict[str, Any] = {"timestamps": np.stack([dates, dates]), "freq": "h", "seasonality": 24}
    return {
        "one series": Context(past=wave[:1, :, :1], timestamps=dates[None], freq="h"),
        f"two series of {width} variates": Context(past=wave, **dated),
        "gaps and a shorter series": Context(past=holed, **dated),
        "no dates": Context(past=wave[:, :, :1]),
    }


def ask_toy_questions(model: ForeignForecaster, horizon: int = 8) -> Iterator[Reply]:
    """Ask one after the other; the first is asked twice, which should change nothing.

    Raises
    ------
    UserError
        When the model does not start.
    """
    can = model.capabilities
    horizon = min(horizon, can.horizon or horizon)
    for number, (asked, context) in enumerate(toy_contexts(can.variates).items()):
        began = time.perf_counter()
        error, note = None, ""
        try:
            first = model.predict(context, horizon, QUANTILE_LEVELS)
            seconds = time.perf_counter() - began
            note = _note(first)
            if number == 0:
                again = model.predict(context, horizon, QUANTILE_LEVELS)
                if not np.array_equal(first.quantiles, again.quantiles):
                    note = "another answer to the same question: results cannot be repeated"
        except UserError as failure:
            error, seconds = failure, time.perf_counter() - began
        yield Reply(asked=asked, seconds=seconds, error=error, note=note)


def _note(forecast: Forecast) -> str:
    if forecast.is_degenerate:
        return "a mean only: it stands at every quantile level"
    if (np.diff(forecast.quantiles, axis=-1) < 0).any():
        return "quantiles cross"
    return ""
