from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest, backtest
from tsfm.evaluation.leaderboard import compare
from tsfm.evaluation.metrics import concat_scores, score
from tsfm.evaluation.plots import (
    calibration,
    error_by_horizon,
    fan_chart,
    fan_chart_of,
    skill_chart,
)
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context
from tsfm.models.statistical import RandomWalk


def _rendered(figure: Figure) -> int:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert not Gcf.get_all_fig_managers(), "a figure is registered with pyplot"
    return buffer.tell()


def _line(axis, label: str) -> np.ndarray:
    (line,) = [line for line in axis.get_lines() if line.get_label() == label]
    return np.asarray(line.get_ydata())


def _titles(figure: Figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes]


def test_fans_show_the_windows_own_past_median_and_answer(bars: Panel) -> None:
    task = Task.on(bars, context=50, horizon=10, max_windows=3)
    result = backtest(RandomWalk(), task, bars)
    figure = fan_chart_of(result, bars, windows=[4], variates=["log_range"], history=30)
    (axis,) = figure.axes
    item, origin = task.windows(bars)[4]
    series = bars.series(item).target[2]
    np.testing.assert_array_equal(_line(axis, "actual"), series[origin : origin + 10])
    np.testing.assert_allclose(_line(axis, "median"), result.median[4, :, 2])
    np.testing.assert_array_equal(axis.get_lines()[0].get_ydata(), series[origin - 30 : origin])
    assert axis.get_ylabel().startswith(bars.item_ids[item])
    assert _rendered(figure) > 1000


def test_fans_need_no_answer_and_no_dates() -> None:
    context = Context(past=np.random.default_rng(0).standard_normal((2, 40, 3)))
    figure = fan_chart(context, RandomWalk().predict(context, 5), title="forecast")
    assert len(figure.axes) == 6
    assert _rendered(figure) > 1000


def test_windows_and_variates_that_do_not_exist_are_refused(bars: Panel) -> None:
    result = backtest(RandomWalk(), Task.on(bars, context=50, horizon=10, max_windows=1), bars)
    for arguments in ({"windows": [99]}, {"windows": 0}, {"variates": ["open"]}):
        with pytest.raises(ConfigError):
            fan_chart_of(result, bars, **arguments)


def test_a_calibrated_forecaster_lies_on_the_diagonal(answered: Callable[..., Backtest]) -> None:
    from scipy.stats import norm

    result = answered(windows=900)
    levels = np.array(result.task.quantile_levels)
    quantiles = np.broadcast_to(3 + norm.ppf(levels), result.quantiles.shape)
    figure = calibration(replace(result, quantiles=quantiles))
    reliability, histogram = figure.axes
    np.testing.assert_allclose(_line(reliability, "v0"), levels, atol=0.03)
    for patch in histogram.patches:
        np.testing.assert_allclose(patch.get_data().values, 1, atol=0.2)
    assert _rendered(figure) > 1000


def test_variates_that_are_not_covered_are_left_out(answered: Callable[..., Backtest]) -> None:
    result = answered()
    quantiles = result.quantiles.copy()
    quantiles[:, :, 1] = np.nan
    reliability, _ = calibration(replace(result, quantiles=quantiles)).axes
    assert [line.get_label() for line in reliability.get_lines()][1:] == ["v0"]


@pytest.mark.parametrize("metric", ["crps", "rmse", "wql"])
def test_errors_by_horizon_are_the_scores_of_each_step(
    answered: Callable[..., Backtest], metric: str
) -> None:
    ours, theirs = answered(name="ours"), answered(seed=0, name="theirs")
    figure = error_by_horizon([ours, theirs], metric)
    assert _titles(figure) == ["v0", "v1"]
    step = 2
    cut = replace(
        ours,
        task=replace(ours.task, horizon=1),
        actual=ours.actual[:, [step]],
        quantiles=ours.quantiles[:, [step]],
        mean=ours.mean[:, [step]],
        timestamps=ours.timestamps[:, [step]],
    )
    part = score(cut)
    part = part[(part["metric"] == metric) & (part["variate"] == "v1")]
    expected = part["numerator"].sum() / part["denominator"].sum()
    expected = np.sqrt(expected) if metric == "rmse" else expected
    assert _line(figure.axes[1], "ours")[step] == pytest.approx(expected)
    assert _rendered(figure) > 1000


def test_skill_has_a_column_per_task_and_a_dot_per_baseline(
    answered: Callable[..., Backtest],
) -> None:
    backtests = [answered(windows=60, seed=seed, name=f"m{seed}") for seed in range(3)]
    scores = concat_scores([score(result) for result in backtests])
    comparison = compare(scores, "m0", replicates=50)
    figure = skill_chart(comparison)
    assert _titles(figure) == ["random"]
    dots = [line for line in figure.axes[0].get_lines() if line.get_marker() in ("o", "<")]
    assert len(dots) == len(comparison) == 4
    assert _rendered(figure) > 1000
    no_interval = skill_chart(comparison.assign(low=np.nan, high=np.nan))
    assert _rendered(no_interval) > 1000


def test_nothing_to_draw_is_refused(answered: Callable[..., Backtest]) -> None:
    with pytest.raises(ConfigError):
        error_by_horizon([])
    alone = compare(score(answered()), "model", replicates=10)
    with pytest.raises(ConfigError):
        skill_chart(alone)


def test_global_style_is_left_alone(answered: Callable[..., Backtest]) -> None:
    before = dict(mpl.rcParams)
    calibration(answered())
    assert dict(mpl.rcParams) == before
