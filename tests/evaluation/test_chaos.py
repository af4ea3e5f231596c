from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from dysts.metrics import smape as dysts_smape
from support.dynamics_backtests import LYAPUNOV, answered, chaotic_panel, chaotic_task

from tsfm.data.panel import Panel, PanelInfo
from tsfm.errors import ConfigError, DataError
from tsfm.evaluation.chaos import (
    COLUMNS,
    VALID_TIME,
    dynamics_of,
    in_context_units,
    medians,
    normalised_error,
    score_chaos,
    to_dysts_smape,
    valid_steps,
    valid_times,
)
from tsfm.evaluation.chaos_config import ChaosConfig
from tsfm.evaluation.error_growth import error_by_step, error_growth, valid_time_gains
from tsfm.evaluation.leaderboard import compare, leaderboard
from tsfm.evaluation.metrics import SCORE_COLUMNS, concat_scores


@pytest.fixture(scope="module")
def panel() -> Panel:
    return chaotic_panel()


def test_errors_by_horizon_are_those_of_a_slow_reference(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=80)
    result = answered(panel, task, "persistence")
    scores = score_chaos(result, panel)
    assert tuple(scores.columns) == COLUMNS == (*SCORE_COLUMNS, "instance", "first_step")
    assert set(scores["task"]) == {"chaos@16", "chaos@32", "chaos@64", "chaos"}
    past, answer = list(task.crops(panel))[4]
    mean, spread = past.target.mean(axis=1), past.target.std(axis=1)
    true = ((answer.target.T - mean) / spread)[:32]
    guess = np.broadcast_to((past.target[:, -1] - mean) / spread, true.shape)
    expected = {
        "smape": 200 * np.mean(np.abs(true - guess) / (np.abs(true) + np.abs(guess))),
        "mae": np.abs(true - guess).mean(),
        "rmse": np.sqrt(((true - guess) ** 2).mean()),
    }
    rows = scores[(scores["task"] == "chaos@32") & (scores["origin"] == 4)].set_index("metric")
    for metric, value in expected.items():
        assert rows["value"][metric] == pytest.approx(value, rel=1e-4)
    assert rows["item_id"]["mae"] == "Lorenz"
    assert rows["instance"]["mae"] == past.item_id == "Lorenz/0/1"
    assert rows["first_step"]["mae"] == answer.start
    assert to_dysts_smape(rows["value"]["smape"]) == pytest.approx(
        dysts_smape(true, guess), rel=1e-4
    )


def test_scores_without_standardising_are_in_the_data_s_units(panel: Panel) -> None:
    result = answered(panel, chaotic_task(panel, horizon=16), "mean")
    scores = score_chaos(result, panel, ChaosConfig(standardise=False))
    rows = scores[scores["metric"] == "mae"].set_index("origin")
    for window in range(len(result.origins)):
        expected = np.abs(result.actual - result.mean)[window].mean()
        assert rows["value"][window] == pytest.approx(expected, rel=1e-6)


def test_leaderboard_and_comparison_take_the_scores_clustered_by_system(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=64)
    results = [answered(panel, task, kind) for kind in ("growing", "persistence", "mean")]
    scores = concat_scores([score_chaos(result, panel) for result in results])
    table = leaderboard(scores, replicates=100)
    assert set(table["clusters"].round(6)) == {5.0}
    best = table[(table["task"] == "chaos@64") & (table["metric"] == "rmse")]
    assert best["model"].iloc[0] == "growing"
    errors = in_context_units(results[1], panel)
    expected = np.sqrt(((errors.actual - errors.mean) ** 2).mean())
    assert best.set_index("model")["value"]["persistence"] == pytest.approx(expected, rel=1e-5)
    versus = compare(scores, "growing", "smape", replicates=100)
    assert set(versus["verdict"]) == {"win"}
    assert len(versus) == 3 * 2
    by_family = score_chaos(results[0], panel, ChaosConfig(cluster="family"))
    assert set(by_family["item_id"]) == {"L", "R", "C", "T", "H"}


def test_unobserved_variates_do_not_count() -> None:
    whole = chaotic_panel(("Lorenz",), 1)
    (series,) = whole
    padded = np.vstack([series.target, np.full((2, series.length), np.nan, np.float32)])
    info = PanelInfo(name="chaos", variates=tuple(f"x{k}" for k in range(5)))
    wide = Panel.from_series([replace(series, target=padded)], info)
    one, other = (
        score_chaos(answered(each, chaotic_task(each, 64), "persistence"), each)
        for each in (whole, wide)
    )
    pd.testing.assert_frame_equal(one, other)
    assert len(one) == 3 * 3 * 3 + 3


def test_valid_time_is_when_the_error_passes_the_threshold(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=400)
    for kind, factor in (("growing", 1.0), ("2", 2.0)):
        times = valid_times(answered(panel, task, kind), panel, ChaosConfig(valid_threshold=0.1))
        known = dynamics_of(panel, panel.item_ids)
        reach = np.array([known[name].lyapunov * known[name].dt for name in panel.item_ids])
        reach = np.repeat(reach, 3)
        expected = np.minimum(np.log(100) / factor, 400 * reach)
        np.testing.assert_allclose(times, expected, atol=reach.max())
    perfect = valid_times(answered(panel, task, "perfect"), panel)
    np.testing.assert_allclose(perfect, 400 * reach)


def test_valid_steps_count_until_the_first_wrong_or_unknown_one() -> None:
    error = np.array([[0.1, 0.5, 0.1], [0.9, 0.1, 0.1], [0.1, 0.2, 0.3], [0.1, np.nan, 0.1]])
    assert valid_steps(error, 0.4).tolist() == [1, 0, 3, 1]


def test_the_normalised_error_leaves_out_what_stands_still() -> None:
    actual = np.array([[[0.0, 5.0, np.nan], [0.0, 5.0, np.nan]]])
    forecast = np.array([[[2.0, 9.0, 1.0], [4.0, 9.0, 1.0]]])
    error = normalised_error(actual, forecast, np.array([[2.0, 0.0, 1.0]]))
    assert error.tolist() == [[1.0, 2.0]]
    assert np.isnan(normalised_error(actual, forecast, np.zeros((1, 3)))).all()


def test_error_growth_finds_the_system_s_rate(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=400)
    for kind, expected in (("growing", 1.0), ("1.5", 1.5)):
        growth = error_growth(answered(panel, task, kind), panel, replicates=50)
        assert growth.rate == pytest.approx(expected, rel=1e-3)
        early = growth.times < 3
        np.testing.assert_allclose(
            growth.error[early], 1e-3 * np.exp(expected * growth.times[early]), rtol=1e-2
        )
        assert (growth.low <= growth.error * 1.001).all()
        assert (growth.high >= growth.error * 0.999).all()
    assert np.isnan(error_growth(answered(panel, task, "mean"), panel, replicates=50).rate)


def test_errors_by_step_are_the_scores_of_each_horizon(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=64)
    result = answered(panel, task, "persistence")
    board = leaderboard(score_chaos(result, panel), replicates=20)
    for metric in ("smape", "mae", "rmse"):
        table = error_by_step(result, panel, metric=metric, replicates=20).set_index("step")
        values = board[board["metric"] == metric].set_index("task")["value"]
        for steps in (16, 32, 64):
            assert table["value"][steps] == pytest.approx(values[f"chaos@{steps}"], rel=1e-5)
    single = error_by_step(result, panel, metric="mae", cumulative=False, replicates=20)
    units = in_context_units(result, panel)
    expected = np.abs(units.actual - units.mean).mean(axis=(0, 2))
    np.testing.assert_allclose(single["value"], expected, rtol=1e-5)
    assert (single["low"] <= single["value"]).all()


def test_gains_in_valid_time_are_paired(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=300)
    results = [answered(panel, task, kind) for kind in ("growing", "2", "growing")]
    results[2] = replace(results[2], model="again")
    scores = concat_scores([score_chaos(result, panel) for result in results])
    gains = valid_time_gains(scores, "growing", replicates=100).set_index("baseline")
    own, other = (valid_times(result, panel) for result in results[:2])
    assert gains["gain"]["2"] == pytest.approx((own - other).mean())
    assert gains["low"]["2"] > 0
    assert gains.loc["again", ["gain", "low", "high"]].tolist() == [0, 0, 0]
    with pytest.raises(ConfigError, match="nobody"):
        valid_time_gains(scores, "nobody")


def test_medians_are_of_windows(panel: Panel) -> None:
    result = answered(panel, chaotic_task(panel, horizon=16), "persistence")
    scores = score_chaos(result, panel)
    table = medians(scores).set_index("metric")
    values = scores[scores["metric"] == "mae"]["value"]
    expected = values.quantile([0.5, 0.25, 0.75]).tolist()
    assert table.loc["mae", ["median", "lower", "upper"]].tolist() == expected
    assert table["windows"]["mae"] == 30
    assert table["systems"]["mae"] == 5


def test_systems_without_an_exponent_are_measured() -> None:
    whole = chaotic_panel(("Lorenz",), 1)
    (series,) = whole
    static = {key: value for key, value in series.static.items() if key != "lyapunov"}
    bare = Panel.from_series([replace(series, static=static)], whole.info)
    found = dynamics_of(bare, bare.item_ids)[series.item_id]
    assert found.lyapunov == pytest.approx(LYAPUNOV["Lorenz"], rel=0.25)
    still = replace(series, static=static, target=np.ones_like(series.target))
    flat = Panel.from_series([still], whole.info)
    result = answered(flat, chaotic_task(flat, 64), "persistence")
    assert VALID_TIME not in set(score_chaos(result, flat)["metric"])
    with pytest.raises(DataError, match="Lyapunov exponent"):
        error_growth(result, flat)


def test_what_judging_needs_is_asked_for(panel: Panel) -> None:
    task = chaotic_task(panel, horizon=8)
    with pytest.raises(ConfigError, match="longer than the task's 8 steps"):
        score_chaos(answered(panel, task, "mean"), panel)
    (series,) = chaotic_panel(("Lorenz",), 1)
    for static in ({"dt": 0.1}, {"system": "Lorenz"}, {"system": "Lorenz", "dt": -1.0}):
        bare = Panel.from_series([replace(series, static=static)], panel.info)
        with pytest.raises(DataError, match="static attributes"):
            dynamics_of(bare, bare.item_ids)
    with pytest.raises(ConfigError, match="metric"):
        error_by_step(answered(panel, task, "mean"), panel, metric="crps")


def test_every_bad_value_of_the_configuration_is_refused() -> None:
    for horizons in ((), (0, 1), (4, 2), (2, 2)):
        with pytest.raises(ConfigError, match="horizons"):
            ChaosConfig(horizons=horizons)
    for name in ("kl_method", "cluster"):
        with pytest.raises(ConfigError, match=name):
            ChaosConfig(**{name: "guess"})
    for item in fields(ChaosConfig):
        if item.type in ("int", "float"):
            with pytest.raises(ConfigError, match=item.name):
                ChaosConfig(**{item.name: -1})
