"""The exact CRPS from a forecast to the leaderboard's column beside the quantile loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scoringrules
from scipy import stats
from support.glucose_backtests import glucose_panel, glucose_task
from support.moirai import make_model
from support.scripted_forecasters import Crossing, Joint

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest, backtest, stream
from tsfm.evaluation.chaos import in_context_units
from tsfm.evaluation.clinical import glucose_of
from tsfm.evaluation.conformal import rolling
from tsfm.evaluation.exact_crps import exact_crps, fair_crps
from tsfm.evaluation.metrics import score
from tsfm.evaluation.results import result_of, results_frame
from tsfm.evaluation.standings import standings
from tsfm.evaluation.standings_page import standings_page
from tsfm.evaluation.standings_text import readable, standings_markdown
from tsfm.evaluation.tasks import Task
from tsfm.evaluation.window_blocks import block_table
from tsfm.models.base import Forecaster
from tsfm.models.har import Har
from tsfm.models.parroting import Parroting
from tsfm.models.statistical import RandomWalk, SeasonalNaive

Answered = Callable[..., Backtest]


def make_task(bars: Panel, **fields: object) -> Task:
    asked: dict[str, object] = {
        "name": "bars", "targets": ("log_close", "log_return"), "past": ("log_range",),
        "context": 50, "horizon": 6, "stride": 20,
    }  # fmt: skip
    return Task.on(bars, **asked | fields)


def test_draws_are_scored_fairly() -> None:
    rng = np.random.default_rng(0)
    samples, actual = rng.normal(size=(3, 8, 4, 2)), rng.normal(size=(3, 4, 2))
    actual[0, 1, 0], samples[2, 3, 2, 1] = np.nan, np.inf
    found = fair_crps(samples, actual)
    for row, step, variate in np.ndindex(actual.shape):
        x, y = samples[row, :, step, variate], actual[row, step, variate]
        if np.isfinite(x).all() and np.isfinite(y):
            pairs = [abs(x[i] - x[j]) for i in range(8) for j in range(8) if i != j]
            slow = np.abs(x - y).mean() - np.mean(pairs) / 2
            assert found[row, step, variate] == pytest.approx(slow)
        else:
            assert np.isnan(found[row, step, variate])


def test_few_draws_are_not_biased() -> None:
    rng = np.random.default_rng(0)
    found = fair_crps(rng.normal(size=(20_000, 3, 1, 1)), np.full((20_000, 1, 1), 0.7))
    closed = scoringrules.crps_normal(0.7, 0.0, 1.0, backend="numpy")
    assert found.mean() == pytest.approx(closed, abs=4 * found.std() / np.sqrt(20_000))


def test_quantiles_alone_have_none_and_so_has_one_draw() -> None:
    past = np.random.default_rng(0).normal(size=(2, 60, 3)).cumsum(1)
    actual = np.zeros((2, 4, 3))
    assert exact_crps(Parroting(neighbours=5).predict(past=past, horizon=4), actual) is None
    assert exact_crps(Joint(draws=1).predict(past=past, horizon=4), actual) is not None
    drawn = replace(Joint(draws=1).predict(past=past, horizon=4), distribution=None)
    assert exact_crps(drawn, actual) is None


@pytest.mark.parametrize("batch_size", [3, 64])
def test_backtest_scores_a_normal_forecast_as_a_slow_loop_does(
    bars: Panel, batch_size: int
) -> None:
    task = make_task(bars)
    found = backtest(RandomWalk(), task, bars, batch_size=batch_size)
    assert found.crps_exact is not None
    place = found.task.quantile_levels.index(0.9)
    spread = (found.quantiles[..., place] - found.mean) / stats.norm.ppf(0.9)
    for at in np.ndindex(found.actual.shape):
        y = found.actual[at]
        if np.isnan(y):
            assert np.isnan(found.crps_exact[at])
            continue
        closed = scoringrules.crps_normal(y, found.mean[at], spread[at], backend="numpy")
        assert found.crps_exact[at] == pytest.approx(closed, rel=1e-3)
    terms = found.crps_exact[..., 0][np.isfinite(found.actual[..., 0])]
    table = score(replace(found, task=replace(task, metrics=("crps_exact",))))
    own = table[table["variate"] == "log_close"]
    assert own["numerator"].sum() / own["denominator"].sum() == pytest.approx(terms.mean())


def test_backtest_of_a_mixture_is_that_of_its_forecasts(bars: Panel) -> None:
    model, task = make_model(), make_task(bars)
    parts = list(stream(model, task, bars, batch_size=4, windows=8))
    assert len(parts) > 1
    found = np.concatenate([part.crps_exact for part in parts])
    slow = []
    for context, part in zip(task.contexts(bars, 8), parts, strict=True):
        forecast = model.predict(context, task.horizon)
        assert forecast.distribution is not None
        asked = np.full(forecast.mean.shape, np.nan)
        asked[..., :2] = part.actual
        slow.append(forecast.distribution.crps(asked)[..., :2])
    np.testing.assert_allclose(found, np.concatenate(slow), rtol=1e-3)
    assert np.isfinite(found).sum() == sum(np.isfinite(part.actual).sum() for part in parts)


def test_draws_are_scored_where_nothing_else_is_known(bars: Panel) -> None:
    class Drawing(Joint):
        def forecast(self, *asked):  # type: ignore[no-untyped-def]
            return replace(super().forecast(*asked), distribution=None)

    task = make_task(bars, past=(), stride=60)
    for is_joint in (True, False):
        found = backtest(Drawing(is_joint=is_joint), task, bars)
        assert found.crps_exact is not None
        assert (found.energy is not None) == is_joint
        assert "crps_exact" in result_of(found).errors


@pytest.mark.parametrize("model", [Parroting(neighbours=5), Har(), Crossing()])
def test_forecasters_of_quantiles_have_no_figure(bars: Panel, model: Forecaster) -> None:
    found = backtest(model, make_task(bars), bars)
    assert found.crps_exact is None
    assert "crps_exact" not in result_of(found).errors
    table = block_table(found)
    assert table["crps_exact.numerator"].null_count == len(table)


def test_other_quantiles_or_units_drop_it(bars: Panel) -> None:
    found = backtest(RandomWalk(), make_task(bars), bars)
    assert found.crps_exact is not None
    assert rolling(found).crps_exact is None
    assert in_context_units(found, bars).crps_exact is None
    assert replace(found, quantiles=found.quantiles[..., ::-1]).crps_exact is None
    panel = glucose_panel()
    glucose = backtest(RandomWalk(), glucose_task(panel, max_windows=2), panel)
    assert glucose.crps_exact is not None
    assert glucose_of(glucose).crps_exact is None


def test_a_hole_in_it_leaves_the_metric_out(answered: Answered) -> None:
    result = answered(windows=12)
    whole = replace(result, crps_exact=np.ones(result.actual.shape))
    assert result_of(whole).errors["crps_exact"] == 1.0
    holed = whole.crps_exact.copy()
    holed[tuple(np.argwhere(result.scored)[3])] = np.nan
    assert "crps_exact" not in result_of(replace(whole, crps_exact=holed)).errors
    unobserved = np.where(result.scored, 1.0, np.nan)
    assert result_of(replace(whole, crps_exact=unobserved)).errors["crps_exact"] == 1.0


def test_leaderboard_has_a_column_of_those_that_tell_it(bars: Panel) -> None:
    tasks = [make_task(bars, name=f"t{k}", horizon=6 + k) for k in range(3)]
    models = (SeasonalNaive(), RandomWalk(), Har())
    cells = [result_of(backtest(model, task, bars)) for model in models for task in tasks]
    frame = results_frame(cells)
    found = standings(frame, replicates=20)
    own = found.table.set_index("model")["crps_exact"]
    errors = frame.pivot_table(index="task", columns="model", values="error/crps_exact")
    ratio = np.log(errors["random_walk"] / errors["seasonal_naive"]).mean()
    assert own["random_walk"] == pytest.approx(np.exp(ratio))
    assert own["seasonal_naive"] == 1.0
    assert np.isnan(own["har"])
    assert readable(found)["exact CRPS"].tolist().count("–") == 1
    assert "exact CRPS" in standings_markdown(found)
    assert "exact CRPS" in standings_page(found, frame)
    without = frame.drop(columns="error/crps_exact")
    bare = standings(without, replicates=20)
    assert "crps_exact" not in bare.table
    assert "exact CRPS" not in readable(bare)
    assert "exact CRPS" not in standings_page(bare, without)
    same = found.table.drop(columns="crps_exact")
    assert same.equals(bare.table), "models are ranked without it"


def test_a_model_that_tells_it_on_some_tasks_only_has_no_figure(bars: Panel) -> None:
    tasks = [make_task(bars, name=f"t{k}", horizon=6 + k) for k in range(2)]
    cells = [
        result_of(backtest(model, task, bars))
        for model in (SeasonalNaive(), RandomWalk())
        for task in tasks
    ]
    cells[-1].errors.pop("crps_exact")
    own = standings(results_frame(cells), replicates=20).table.set_index("model")["crps_exact"]
    assert np.isnan(own["random_walk"])


def test_models_are_not_ranked_by_it() -> None:
    from experiments.evaluate_config import EvaluateConfig

    with pytest.raises(ConfigError, match="crps_exact"):
        EvaluateConfig(model="baselines", tasks="general", metric="crps_exact")
