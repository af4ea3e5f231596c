"""Zones beside hand-checked points and slow references of their own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.path import Path
from support.glucose_backtests import forecast_with, glucose_panel, glucose_task

from tsfm.errors import ConfigError
from tsfm.evaluation.clinical import MEDIAN, POOLED
from tsfm.evaluation.clinical_config import ClinicalConfig
from tsfm.evaluation.error_grids import (
    EDGE,
    GRIDS,
    LETTERS,
    PARKES_LOWER,
    PARKES_UPPER,
    ZONES,
    clarke_zones,
    lines_of,
    parkes_zones,
    wide_zones,
    zone_table,
    zones_of,
)

CLARKE = [
    (100, 100, "A"), (100, 120, "A"), (100, 120.01, "B"), (100, 80, "A"), (100, 79.99, "B"),
    (70, 70, "A"), (20, 70, "A"), (50, 70.01, "D"), (60, 72, "A"), (70, 84, "A"), (70, 84.01, "D"),
    (70.01, 84.1, "B"), (70, 56, "A"), (70.01, 56, "B"), (70, 10, "A"), (69, 179.9, "D"),
    (70, 180, "E"), (10, 180, "E"), (70.01, 180.02, "C"), (70.01, 180, "B"), (100, 210, "C"),
    (100, 209.9, "B"), (290, 400, "C"), (290, 399.9, "B"), (130, 0, "C"), (129.9, 0, "B"),
    (155, 35, "C"), (155, 35.1, "B"), (180, 70, "E"), (179.9, 69, "C"), (180, 70.1, "B"),
    (400, 0, "E"), (240, 70, "E"), (240, 70.1, "D"), (239.9, 70.1, "B"), (240, 180, "D"),
    (240, 180.1, "B"), (400, 180, "D"), (400, 319.9, "B"), (400, 320, "A"),
]  # fmt: skip

PARKES_1 = [
    (0, 50, "A"), (10, 50.1, "B"), (30, 50, "A"), (85, 110, "A"), (85, 110.1, "B"),
    (210, 275, "A"), (210, 275.1, "B"), (355, 465, "A"), (355, 465.1, "B"), (50, 0, "A"),
    (50.1, 0, "B"), (110, 87.5, "A"), (110, 87.4, "B"), (385, 300, "A"), (385, 299.9, "B"),
    (10, 60, "B"), (10, 60.1, "C"), (40, 70, "B"), (40, 70.1, "C"), (60, 95, "B"), (60, 95.1, "C"),
    (165, 330, "B"), (165, 330.2, "C"), (120, 10, "B"), (120.1, 10, "C"), (190, 80, "B"),
    (190, 79.9, "C"), (550, 250, "B"), (550, 249.9, "C"), (20, 100, "C"), (20, 100.1, "D"),
    (65, 170, "C"), (65, 170.1, "D"), (125, 550, "C"), (124.9, 550, "D"), (250, 39, "C"),
    (250.1, 39, "D"), (400, 95, "C"), (400, 94.9, "D"), (0, 150, "D"), (0, 150.1, "E"),
    (35, 155, "D"), (35, 155.1, "E"), (50, 550, "D"), (49.9, 550, "E"),
]  # fmt: skip

PARKES_2 = [
    (10, 50, "A"), (10, 50.1, "B"), (130, 190, "A"), (130, 190.1, "B"), (440, 550, "A"),
    (50.1, 30, "B"), (70, 55, "A"), (70, 54.9, "B"), (210, 155, "A"), (210, 154.9, "B"),
    (10, 60.1, "C"), (155, 305, "B"), (155, 305.1, "C"), (90, 0, "B"), (175, 65, "B"),
    (175, 64.9, "C"), (10, 80, "C"), (10, 80.1, "D"), (30, 85.1, "D"), (80, 320, "C"),
    (80, 320.1, "D"), (330, 75, "C"), (330, 74.9, "D"), (480, 135, "C"), (480, 134.9, "D"),
    (20, 200, "D"), (20, 200.1, "E"), (42.5, 375, "D"), (42.4, 375, "E"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("grid", "points"), [("clarke", CLARKE), ("parkes_1", PARKES_1), ("parkes_2", PARKES_2)]
)
def test_points_on_and_beside_every_line(grid: str, points: list[tuple[float, float, str]]) -> None:
    reference, forecast, expected = zip(*points)
    found = zones_of(grid, np.array(reference, float), np.array(forecast, float))
    told = [ZONES[zone] for zone in found]
    assert told == list(expected), [
        (point, zone) for point, zone in zip(points, told) if point[2] != zone
    ]


def test_clarke_equals_the_usual_program() -> None:
    """Decisions one after the other, as E. Guevara's ``clarke.m`` makes them."""

    def zone(x: float, y: float) -> int:
        if (y <= 70 and x <= 70) or 0.8 * x <= y <= 1.2 * x:
            return 0
        if (x >= 180 and y <= 70) or (x <= 70 and y >= 180):
            return 4
        if (70 <= x <= 290 and y >= x + 110) or (130 <= x <= 180 and y <= 7 / 5 * x - 182):
            return 2
        low = x <= 175 / 3 and 70 <= y <= 180
        if (x >= 240 and 70 <= y <= 180) or low or (175 / 3 <= x <= 70 and y >= 6 / 5 * x):
            return 3
        return 1

    x, y = (values.ravel() for values in np.meshgrid(np.arange(1, 401, 3), np.arange(0, 401, 3)))
    expected = [zone(a, b) for a, b in zip(x, y)]
    np.testing.assert_array_equal(clarke_zones(x, y), expected)


@pytest.mark.parametrize("diabetes", [1, 2])
def test_parkes_equals_points_in_polygons(diabetes: int) -> None:
    rng = np.random.default_rng(diabetes)
    points = rng.uniform(0.01, 550, (20_000, 2))
    expected = np.zeros(len(points), int)
    for zone, line in enumerate(PARKES_UPPER[diabetes], start=1):
        inside = Path([*line, (0, 550)]).contains_points(points)
        expected = np.where(inside, np.maximum(expected, zone), expected)
    for zone, line in enumerate(PARKES_LOWER[diabetes], start=1):
        inside = Path([*line, (550, 0)]).contains_points(points)
        expected = np.where(inside, np.maximum(expected, zone), expected)
    np.testing.assert_array_equal(parkes_zones(*points.T, diabetes), expected)


def test_shapes_unknown_values_and_what_lies_off_the_chart() -> None:
    reference = np.array([[100.0, np.nan], [60.0, 500.0]])
    forecast = np.array([[100.0, 100.0], [np.nan, 620.0]])
    for grid in GRIDS:
        zones = zones_of(grid, reference, forecast)
        assert zones.shape == (2, 2)
        assert zones.tolist()[0] == [0, -1]
        assert zones[1, 0] == -1
    assert clarke_zones(np.array(450.0), np.array(600.0)) == 2
    assert clarke_zones(np.array(300.0), np.array(-5.0)) == 4
    assert parkes_zones(np.array(600.0), np.array(-5.0)) == 3
    assert parkes_zones(np.array(600.0), np.array(800.0)) == 1
    with pytest.raises(ConfigError, match="grid"):
        zones_of("surveillance", reference, forecast)
    with pytest.raises(ConfigError, match="diabetes"):
        parkes_zones(reference, forecast, 3)


@pytest.mark.parametrize("grid", GRIDS)
def test_charts_name_zones_where_they_are_and_part_them_by_their_lines(grid: str) -> None:
    for letter, across, up in LETTERS[grid]:
        zone = zones_of(grid, np.array(float(across)), np.array(float(up)))
        assert ZONES[int(zone)] == letter
    for line in lines_of(grid):
        assert max(max(point) for point in line) <= EDGE[grid]
        for (x0, y0), (x1, y1) in pairwise(line):
            middle, across = np.array([x0 + x1, y0 + y1]) / 2, np.array([y0 - y1, x1 - x0])
            sides = middle + np.outer([-1, 1], across) / np.hypot(*across) * 0.01
            before, after = zones_of(grid, sides[:, 0], sides[:, 1])
            assert before != after, (line, middle)


def test_shares_by_time_and_patient() -> None:
    panel = glucose_panel(people=4)
    backtest = forecast_with(panel, glucose_task(panel), 15.0)
    table = zone_table(backtest, ClinicalConfig(replicates=50))
    keys = ["grid", "minutes", "aggregation"]
    whole = table[table["aggregation"] != MEDIAN].groupby(keys)["value"].sum()
    np.testing.assert_allclose(whole, 1)
    assert set(table["minutes"]) == {15, 30, 45, 60, 0}
    pooled = table[(table["aggregation"] == POOLED) & (table["grid"] == "clarke")]
    at = pooled[(pooled["minutes"] == 30) & (pooled["zone"] == "A")].iloc[0]
    actual, median = backtest.actual[:, 5, 0], backtest.median[:, 5, 0]
    known = np.isfinite(actual)
    assert at["bars"] == known.sum()
    inside = clarke_zones(actual[known], median[known]) == 0
    assert at["value"] == pytest.approx(inside.mean())
    assert at["low"] <= at["value"] <= at["high"]
    wide = wide_zones(table, "clarke")
    assert wide.columns.tolist() == ["task", "minutes", "model", *ZONES]
    assert wide["minutes"].tolist() == [15, 30, 45, 60, 0]
    assert wide["A"][1] == f"{100 * inside.mean():.2f}"
