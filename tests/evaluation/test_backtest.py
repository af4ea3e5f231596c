from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from tsfm.data.panel import Panel
from tsfm.errors import DataError
from tsfm.evaluation.backtest import backtest, seasonal_scale
from tsfm.evaluation.metrics import score
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context, Forecast
from tsfm.models.statistical import Baseline, RandomWalk


@dataclass(frozen=True, kw_only=True)
class Echo(Baseline):
    """Forecasts its context's last value, NaN for the second variate; remembers what it saw."""

    name: ClassVar[str] = "echo"
    reads_history: ClassVar[bool] = False
    seen: list[Context] = field(default_factory=list)

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        self.seen.append(context)
        mean = np.repeat(context.past[:, -1:], horizon, axis=1)
        mean[..., 1] = np.nan
        quantiles = np.repeat(mean[..., None], len(quantile_levels), axis=-1)
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)


class Wrong(Echo):
    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        return super().forecast(context, horizon + 1, quantile_levels)


def test_actual_values_are_the_bars_from_the_origin_on(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, max_windows=3)
    result = backtest(Echo(), task, bars, batch_size=4)
    for row, (item, origin) in enumerate(task.windows(bars)):
        answer = bars.series(item).target[:, origin : origin + 10].T
        np.testing.assert_array_equal(result.actual[row], answer)
        last = bars.series(item).target[0, origin - 1]
        np.testing.assert_array_equal(result.mean[row, :, 0], np.full(10, last))
        assert (result.item_ids[row], result.origins[row]) == (bars.item_ids[item], origin)
        np.testing.assert_array_equal(
            result.timestamps[row], bars.timestamps(item)[origin : origin + 10]
        )


def test_batches_do_not_matter(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, stride=7)
    one, many = (backtest(RandomWalk(), task, bars, batch_size=size) for size in (1, 1000))
    np.testing.assert_array_equal(one.quantiles, many.quantiles)


def test_variates_that_the_forecaster_does_not_cover_are_not_scored(bars: Panel) -> None:
    result = backtest(Echo(), Task.on(bars, context=50, horizon=10), bars)
    assert not result.scored[..., 1].any()
    assert set(score(result)["variate"]) == {"log_close", "log_range"}


def test_baselines_see_more_history_and_models_do_not(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, baseline_context=80, max_windows=2)
    echo = Echo()
    backtest(echo, task, bars)
    assert {context.length for context in echo.seen} == {50}
    deep = backtest(RandomWalk(), task, bars)
    shallow = backtest(RandomWalk(max_history=50), task, bars)
    assert not np.array_equal(deep.quantiles[-1], shallow.quantiles[-1])


def test_past_variates_are_not_scored(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, targets=("log_range",), past=("log_close",))
    result = backtest(RandomWalk(), task, bars)
    assert result.mean.shape[2] == result.actual.shape[2] == 1
    np.testing.assert_allclose(result.mean[0, 0, 0], bars.series(0).target[2, 49])


def test_scale_is_the_mean_seasonal_difference_of_the_observed() -> None:
    rng = np.random.default_rng(0)
    past = rng.standard_normal((40, 2))
    past[7, 0] = np.nan
    loop = [np.nanmean([abs(past[t, v] - past[t - 5, v]) for t in range(5, 40)]) for v in range(2)]
    np.testing.assert_allclose(seasonal_scale(past, 5), loop)
    assert np.isnan(seasonal_scale(np.ones((40, 1)), 5)).all()
    assert np.isnan(seasonal_scale(past[:4], 5)).all()


def test_the_long_frame_holds_every_forecast_bar(bars: Panel) -> None:
    result = backtest(RandomWalk(), Task.on(bars, context=50, horizon=10, max_windows=2), bars)
    frame = result.to_frame()
    row = frame[(frame["item_id"] == "S1") & (frame["variate"] == "log_range")].iloc[3]
    window = result.item_ids.index("S1")
    assert row["step"] == 4
    assert row["actual"] == pytest.approx(result.actual[window, 3, 2])
    assert row["q0.9"] == pytest.approx(result.quantiles[window, 3, 2, 8])
    assert len(frame) == result.actual.size


def test_no_window_is_an_error(bars: Panel) -> None:
    with pytest.raises(DataError, match="no window"):
        backtest(RandomWalk(), Task.on(bars, context=5000, horizon=10), bars)


def test_a_forecast_of_the_wrong_shape_is_an_error(bars: Panel) -> None:
    with pytest.raises(DataError, match="gave a forecast of shape"):
        backtest(Wrong(), Task.on(bars, context=50, horizon=10), bars)
