"""A forecaster as GluonTS sees it: entries of a dataset in, its quantile forecasts out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from gluonts.model.forecast import QuantileForecast
from gluonts.model.predictor import Predictor
from gluonts.time_feature import get_seasonality

from tsfm.data.frequency import to_offset
from tsfm.data.windows import Window
from tsfm.errors import DataError
from tsfm.models.base import QUANTILE_LEVELS, Context, Forecaster


class GluonTSPredictor(Predictor):
    """Forecasts GluonTS entries (those of ``Panel.gluonts`` for example), in their order.

    Targets are ``[time]`` or ``[variate, time]``; forecast arrays have the same number of
    dimensions with time before the variates, as GluonTS has them.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        horizon: int,
        quantile_levels: Sequence[float] = QUANTILE_LEVELS,
        batch_size: int = 64,
    ) -> None:
        super().__init__(prediction_length=horizon)
        self.forecaster, self.batch_size = forecaster, batch_size
        self.quantile_levels = tuple(quantile_levels)

    def predict(
        self, dataset: Iterable[Mapping[str, Any]], **_settings: Any
    ) -> Iterator[QuantileForecast]:
        """One forecast for each entry; GluonTS's ``num_samples`` has no meaning for quantiles.

        Raises
        ------
        DataError
            When an entry has no start, or a target of another shape.
        """
        remaining = iter(dataset)
        while entries := list(islice(remaining, self.batch_size)):
            windows = [_window(entry) for entry in entries]
            context = Context.from_windows(windows, horizon=self.prediction_length)
            forecast = self.forecaster.predict(
                context, self.prediction_length, self.quantile_levels
            )
            for row, (entry, window) in enumerate(zip(entries, windows, strict=True)):
                width = window.target.shape[0]
                arrays = np.concatenate(
                    [
                        forecast.mean[row, :, :width][None],
                        np.moveaxis(forecast.quantiles[row, :, :width], -1, 0),
                    ]
                )
                yield QuantileForecast(
                    arrays[..., 0] if np.ndim(entry["target"]) == 1 else arrays,
                    start_date=entry["start"] + window.length,
                    forecast_keys=["mean", *map(str, self.quantile_levels)],
                    item_id=entry.get("item_id"),
                )


def _window(entry: Mapping[str, Any]) -> Window:
    item_id = str(entry.get("item_id", ""))
    if not isinstance(entry.get("start"), pd.Period):
        raise DataError(
            "the entry has no start",
            where=f"item {item_id!r}",
            remedy="give a pandas Period, as a panel with a frequency does",
        )
    target = np.asarray(entry["target"], dtype=np.float32)
    if target.ndim not in (1, 2):
        raise DataError(
            f"target has shape {target.shape}",
            where=f"item {item_id!r}",
            remedy="give [time] or [variate, time]",
        )
    rows = np.atleast_2d(target)
    freq = entry["start"].freqstr
    return Window(
        item_id=item_id,
        target=rows,
        start=0,
        variate_names=tuple(f"variate_{k}" for k in range(len(rows))),
        freq=to_offset(freq).freqstr,
        seasonality=get_seasonality(freq),
        past_covariates=entry.get("past_feat_dynamic_real"),
        known_covariates=entry.get("feat_dynamic_real"),
    )
