from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from support.dynamics_backtests import answered, chaotic_panel, chaotic_task

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.chaos_plots import (
    channel_attention_map,
    growth_chart,
    horizon_chart,
    phase_portraits,
    phase_portraits_of,
)
from tsfm.evaluation.error_growth import error_by_step, error_growth


@pytest.fixture(scope="module")
def panel() -> Panel:
    return chaotic_panel(("Lorenz", "Roessler", "Chen"), 1)


@pytest.fixture(scope="module")
def results(panel: Panel) -> list[Backtest]:
    task = chaotic_task(panel, horizon=128, windows=2)
    return [answered(panel, task, kind) for kind in ("growing", "persistence")]


def test_portraits_show_both_trajectories_in_space_and_planes(results: list[Backtest]) -> None:
    figure = phase_portraits_of(results[0], windows=[0, 3])
    assert [axis.name for axis in figure.axes].count("3d") == 2
    planes = [axis for axis in figure.axes if axis.name == "rectilinear"]
    assert len(planes) == 6
    true, forecast, origin = planes[4].get_lines()
    np.testing.assert_array_equal(true.get_ydata(), results[0].actual[3, :, 2])
    np.testing.assert_array_equal(forecast.get_xdata(), results[0].mean[3, :, 0])
    assert origin.get_label() == "origin"
    assert (planes[4].get_xlabel(), planes[4].get_ylabel()) == ("x0", "x2")
    _inside(figure)


def test_portraits_of_two_variates_are_planes(results: list[Backtest]) -> None:
    actual = results[0].actual[:1, :, :2]
    figure = phase_portraits(actual, actual, past=actual + 1, names=("x", "y"), rows=["Lorenz"])
    (axis,) = figure.axes
    assert len(axis.get_lines()) == 4
    _inside(figure)
    holed = results[0].actual.copy()
    holed[..., 1] = np.nan
    figure = phase_portraits_of(replace(results[0], actual=holed), windows=1)
    assert [axis.get_ylabel() for axis in figure.axes] == ["x2"]


def test_growth_has_the_lyapunov_slope(panel: Panel, results: list[Backtest]) -> None:
    growths = [error_growth(result, panel, replicates=20) for result in results]
    figure = growth_chart(growths, title="Growth")
    (axis,) = figure.axes
    assert axis.get_yscale() == "log"
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert list(lines) == ["persistence", "growing (1.0 λ)", "exp(λt)", "valid until"]
    x, y = lines["exp(λt)"].get_data()
    np.testing.assert_allclose(np.diff(np.log(y)) / np.diff(x), 1)
    np.testing.assert_array_equal(lines["persistence"].get_ydata(), growths[1].error)
    assert len(axis.collections) == 2
    _inside(figure)


def test_horizons_have_a_line_and_a_band_per_model(panel: Panel, results: list[Backtest]) -> None:
    tables = [error_by_step(result, panel, replicates=20) for result in results]
    figure = horizon_chart(tables, marks=(16, 64, 128))
    (axis,) = figure.axes
    assert axis.get_ylabel() == "sMAPE (0–200)"
    assert axis.get_xticks().tolist() == [16, 64, 128]
    front = axis.get_lines()[-1]
    assert front.get_label() == "growing"
    np.testing.assert_array_equal(front.get_ydata(), tables[0]["value"])
    assert len(axis.collections) == 2
    _inside(figure)


def test_attention_maps_part_driver_from_response() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=(3, 5))
    figure = channel_attention_map(
        weights, list("xyzuv"), groups=[("driver", 3), ("response", 2)], title="Coupled"
    )
    maps = [axis for axis in figure.axes if axis.images]
    assert len(maps) == 3
    np.testing.assert_array_equal(maps[1].images[0].get_array(), weights[1])
    assert {image.get_clim() for axis in maps for image in axis.images} == {(0, weights.max())}
    assert [line.get_ydata()[0] for line in maps[0].get_lines()[:1]] == [2.5]
    _inside(figure)
    assert len(channel_attention_map(weights[0], list("xyzuv")).axes) == 2


def test_what_cannot_be_drawn_is_refused(results: list[Backtest]) -> None:
    for draw in (growth_chart, horizon_chart):
        with pytest.raises(ConfigError, match="to draw"):
            draw([])
    for windows in (0, [99]):
        with pytest.raises(ConfigError, match="cannot be drawn"):
            phase_portraits_of(results[0], windows=windows)
    with pytest.raises(ConfigError, match="cannot be drawn"):
        phase_portraits(np.ones((1, 9, 1)), np.ones((1, 9, 1)))
    with pytest.raises(ConfigError, match="no maps over"):
        channel_attention_map(np.ones((2, 3)), ["x", "y"])
    with pytest.raises(ConfigError, match="add up"):
        channel_attention_map(np.ones((2, 2)), ["x", "y"], groups=[("driver", 1)])


def test_global_style_is_left_alone(results: list[Backtest]) -> None:
    before = dict(mpl.rcParams)
    phase_portraits_of(results[0], windows=1)
    assert dict(mpl.rcParams) == before


def _inside(figure: Figure) -> None:
    """Everything that is drawn, legends too, lies on the page."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    assert buffer.tell() > 1000
    assert not Gcf.get_all_fig_managers(), "a figure is registered with pyplot"
    page = figure.bbox
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert page.x0 - 1 <= box.x0
        assert box.x1 <= page.x1 + 1
