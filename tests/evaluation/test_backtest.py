from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from support.scripted_forecasters import Blind, Crossing, Joint, Remembering

from tsfm.data.panel import Panel, PanelInfo, Series
from tsfm.errors import DataError
from tsfm.evaluation.backtest import Backtest, backtest, joined, seasonal_scale, stream
from tsfm.evaluation.metrics import score
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context, Forecast
from tsfm.models.statistical import Baseline, RandomWalk, SeasonalNaive


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


def test_a_stream_joined_is_the_whole(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, stride=3)
    told: list[tuple[int, int]] = []
    parts = list(
        stream(Joint(), task, bars, batch_size=8, windows=20, progress=lambda *at: told.append(at))
    )
    whole = backtest(Joint(), task, bars, batch_size=8)
    assert {len(part.origins) for part in parts[:-1]} == {16}, "whole batches"
    assert told[0] == (8, len(whole.origins))
    assert told[-1] == (len(whole.origins), len(whole.origins))
    again = joined(parts)
    assert again.item_ids == whole.item_ids
    for name in (
        "origins", "timestamps", "actual", "quantiles", "mean", "scale", "squared_scale", "energy",
        "crossed",
    ):  # fmt: skip
        ours, theirs = getattr(again, name), getattr(whole, name)
        if "scale" in name:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def test_windows_that_were_answered_before_are_left_out(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, stride=3)
    whole, model = backtest(SeasonalNaive(), task, bars), Remembering()
    rest = joined(list(stream(model, task, bars, first=32, batch_size=10)))
    np.testing.assert_array_equal(rest.quantiles, whole.quantiles[32:])
    assert sum(model.calls) == len(whole.origins) - 32
    assert not list(stream(model, task, bars, first=len(whole.origins)))


def test_memory_does_not_grow_with_the_windows() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal((1, 6000)).astype(np.float32)
    info = PanelInfo(name="long", variates=("x",))
    panel = Panel.from_series([Series(item_id="a", target=target)], info)

    def peak(windows: int) -> int:
        task = Task.on(panel, context=64, horizon=48, max_windows=windows)
        tracemalloc.start()
        for part in stream(SeasonalNaive(), task, panel, windows=128):
            score(part)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(128)
    assert peak(4096) < 1.3 * peak(512)


def test_quantiles_that_cross_are_counted_and_sorted(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, max_windows=3)
    wrong, right = (backtest(model, task, bars) for model in (Crossing(), SeasonalNaive()))
    observed = np.isfinite(right.quantiles).all(axis=-1)
    np.testing.assert_array_equal(wrong.quantiles, right.quantiles)
    np.testing.assert_array_equal(wrong.crossed[observed], True)
    assert not right.crossed.any()
    rounding = right.quantiles.copy()
    rounding[..., 3] = rounding[..., 4] * (1 + 1e-7)
    assert not replace(right, quantiles=rounding).crossed.any()


def test_bars_without_a_finite_forecast_are_not_scored(bars: Panel) -> None:
    result = backtest(Blind(), Task.on(bars, context=50, horizon=10), bars)
    assert not result.scored[:, :2].any()
    np.testing.assert_array_equal(result.scored[:, 2:], np.isfinite(result.actual[:, 2:]))


def test_energy_needs_joint_samples(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, max_windows=3)
    assert backtest(Joint(is_joint=False), task, bars).energy is None
    assert backtest(SeasonalNaive(), task, bars).energy is None
    energy = backtest(Joint(), task, bars).energy
    assert energy is not None
    assert energy.shape == (9, 10)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: replace(f, quantile_levels=tuple(x / 2 for x in f.quantile_levels)), "at"),
        (lambda f: replace(f, samples=f.samples[:, :, :-1]), "samples of shape"),
        (lambda f: replace(f, mean=f.mean[:-1], quantiles=f.quantiles[:-1]), "forecast of shape"),
    ],
)
def test_forecasts_of_another_question_are_named(bars: Panel, spoil, told: str) -> None:
    class Spoilt(Joint):
        def forecast(self, *arguments, **options) -> Forecast:
            return spoil(super().forecast(*arguments, **options))

    with pytest.raises(DataError, match=rf"joint gave .*{told}.*task bars"):
        backtest(Spoilt(), Task.on(bars, context=50, horizon=10), bars)


def test_joining_one_part_gives_it_back(bars: Panel) -> None:
    part: Backtest = backtest(SeasonalNaive(), Task.on(bars, context=50, horizon=10), bars)
    assert joined([part]) is part


def test_a_module_is_left_in_the_mode_it_was_in(bars: Panel) -> None:
    from torch import nn

    class Net(nn.Module, SeasonalNaive):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            object.__setattr__(self, "modes", [])

        def forecast(self, *arguments, **options) -> Forecast:
            self.modes.append(self.training)
            return SeasonalNaive().forecast(*arguments, **options)

    net = Net()
    backtest(net, Task.on(bars, context=50, horizon=10, max_windows=2), bars, batch_size=2)
    assert net.training
    assert not any(net.modes)
