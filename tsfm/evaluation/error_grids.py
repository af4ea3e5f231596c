"""Error grids: how dangerous it would be to act on a forecast of glucose, in zones A to E.

Zones are numbered 0 (A, no harm) to 4 (E, the opposite treatment). Reference is what the sensor
measured later, forecast the median, both in mg/dL.

References
----------
Clarke et al., Evaluating clinical accuracy of systems for self-monitoring of blood glucose,
Diabetes Care 10 (1987). Parkes et al., A new consensus error grid, Diabetes Care 23 (2000), with
the coordinates of Pfützner et al., Technical aspects of the Parkes error grid, Journal of Diabetes
Science and Technology 7 (2013), Table 1. Neither says to which zone a line belongs. Clarke's belong
as in the most used program (E. Guevara's ``clarke.m``): to A first, then to E, C and D; those of
Parkes to the safer zone. Lines that end at the edge of the published charts go on beyond it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from tsfm.errors import one_of
from tsfm.evaluation.backtest import Backtest
from tsfm.evaluation.clinical import POOLED, glucose_of, patient_aggregates, reported_steps
from tsfm.evaluation.clinical_config import ClinicalConfig

ZONES = ("A", "B", "C", "D", "E")
GRIDS = ("clarke", "parkes_1", "parkes_2")
"""Clarke's, and those of Parkes for type 1 and type 2 diabetes."""

EDGE = {"clarke": 400, "parkes_1": 550, "parkes_2": 550}
"""Of the published charts, mg/dL."""

Line = tuple[tuple[float, float], ...]

PARKES_UPPER: dict[int, tuple[Line, ...]] = {
    1: (
        ((0, 50), (30, 50), (140, 170), (280, 380), (430, 550)),
        ((0, 60), (30, 60), (50, 80), (70, 110), (260, 550)),
        ((0, 100), (25, 100), (50, 125), (80, 215), (125, 550)),
        ((0, 150), (35, 155), (50, 550)),
    ),
    2: (
        ((0, 50), (30, 50), (230, 330), (440, 550)),
        ((0, 60), (30, 60), (280, 550)),
        ((0, 80), (25, 80), (35, 90), (125, 550)),
        ((0, 200), (35, 200), (50, 550)),
    ),
}
"""Lines A/B, B/C, C/D and D/E above the diagonal: (reference, forecast)."""

PARKES_LOWER: dict[int, tuple[Line, ...]] = {
    1: (
        ((50, 0), (50, 30), (170, 145), (385, 300), (550, 450)),
        ((120, 0), (120, 30), (260, 130), (550, 250)),
        ((250, 0), (250, 40), (550, 150)),
    ),
    2: (
        ((50, 0), (50, 30), (90, 80), (330, 230), (550, 450)),
        ((90, 0), (260, 130), (550, 250)),
        ((250, 0), (250, 40), (410, 110), (550, 160)),
    ),
}
"""Lines A/B, B/C and C/D below the diagonal."""

CLARKE_LINES: tuple[Line, ...] = (
    ((0, 70), (175 / 3, 70), (1000 / 3, 400)),
    ((70, 0), (70, 56), (400, 320)),
    ((70, 84), (70, 400)),
    ((0, 180), (70, 180), (290, 400)),
    ((130, 0), (180, 70)),
    ((180, 0), (180, 70), (400, 70)),
    ((240, 70), (240, 180), (400, 180)),
)

LETTERS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "clarke": (
        ("A", 365, 350), ("A", 35, 35), ("B", 360, 235), ("B", 245, 325), ("B", 100, 30),
        ("C", 150, 345), ("C", 165, 16), ("D", 35, 130), ("D", 320, 125), ("E", 35, 290),
        ("E", 290, 35),
    ),
    "parkes_1": (
        ("A", 480, 490), ("B", 480, 330), ("B", 310, 470), ("C", 470, 165), ("C", 175, 460),
        ("D", 450, 50), ("D", 82, 460), ("E", 20, 460),
    ),
    "parkes_2": (
        ("A", 470, 480), ("B", 480, 300), ("B", 310, 470), ("C", 470, 175), ("C", 175, 460),
        ("D", 450, 50), ("D", 76, 460), ("E", 20, 460),
    ),
}  # fmt: skip
"""Where zones are named in a chart."""


def clarke_zones(
    reference: Float[np.ndarray, "*bars"], forecast: Float[np.ndarray, "*bars"]
) -> Int[np.ndarray, "*bars"]:
    """Clarke's zones, 0 (A) to 4 (E); -1 where a value is not known."""
    x, y = _pair(reference, forecast)
    zones = np.select(
        [
            ((x <= 70) & (y <= 70)) | ((y >= 0.8 * x) & (y <= 1.2 * x)),
            ((x >= 180) & (y <= 70)) | ((x <= 70) & (y >= 180)),
            ((x >= 70) & (y >= x + 110)) | ((x >= 130) & (x <= 180) & (y <= 1.4 * x - 182)),
            ((x >= 240) & (y >= 70) & (y <= 180)) | ((x <= 70) & (y >= 70) & (y <= 180)),
        ],
        [0, 4, 2, 3],
        default=1,
    )
    return _known(zones, x, y)


def parkes_zones(
    reference: Float[np.ndarray, "*bars"], forecast: Float[np.ndarray, "*bars"], diabetes: int = 1
) -> Int[np.ndarray, "*bars"]:
    """Zones of the consensus grid, 0 (A) to 4 (E); -1 where a value is not known.

    Parameters
    ----------
    diabetes
        Type 1 or 2, which have grids of their own.

    Raises
    ------
    ConfigError
        When the type is another one.
    """
    one_of("diabetes", diabetes, tuple(PARKES_UPPER))
    x, y = _pair(reference, forecast)
    above = sum((y > _height(line, x)).astype(int) for line in PARKES_UPPER[diabetes])
    below = sum((y < _height(line, x)).astype(int) for line in PARKES_LOWER[diabetes])
    return _known(np.maximum(above, below), x, y)


def zones_of(
    grid: str, reference: Float[np.ndarray, "*bars"], forecast: Float[np.ndarray, "*bars"]
) -> Int[np.ndarray, "*bars"]:
    """Zones of one of :data:`GRIDS`.

    Raises
    ------
    ConfigError
        When the grid is unknown.
    """
    one_of("grid", grid, GRIDS)
    if grid == "clarke":
        return clarke_zones(reference, forecast)
    return parkes_zones(reference, forecast, int(grid[-1]))


def lines_of(grid: str) -> tuple[Line, ...]:
    """What is drawn of a grid."""
    one_of("grid", grid, GRIDS)
    if grid == "clarke":
        return CLARKE_LINES
    return PARKES_UPPER[int(grid[-1])] + PARKES_LOWER[int(grid[-1])]


def zone_table(backtest: Backtest, config: ClinicalConfig | None = None) -> pd.DataFrame:
    """Share of each zone at every reported time and over the horizon.

    Returns
    -------
    pd.DataFrame
        One row per ``task, model, grid, minutes`` (0: the whole horizon), ``zone`` and
        ``aggregation`` with ``value`` (a share), its interval ``low, high`` over patients, the
        number of ``bars`` and ``patients``.

    Raises
    ------
    ConfigError
        As :func:`tsfm.evaluation.clinical.glucose_of`.
    """
    config = config or ClinicalConfig()
    glucose = glucose_of(backtest, config)
    rows = []
    for grid in GRIDS:
        zones = zones_of(grid, glucose.actual, glucose.median)[:, :, 0]
        for minutes, steps in reported_steps(glucose, config).items():
            known = zones[:, steps] >= 0
            for zone, name in enumerate(ZONES):
                inside = (zones[:, steps] == zone).sum(axis=1)
                keys = {
                    "task": backtest.task.name,
                    "model": backtest.model,
                    "grid": grid,
                    "minutes": minutes,
                    "zone": name,
                }
                counts = known.sum(axis=1)
                found = patient_aggregates(inside, counts, backtest.item_ids, config)
                rows += [keys | row | {"bars": int(counts.sum())} for row in found]
    return pd.DataFrame(rows)


def wide_zones(table: pd.DataFrame, grid: str, aggregation: str = POOLED) -> pd.DataFrame:
    """Zones as people read them: a row per task, time and model, a column per zone, in percent."""
    one_of("grid", grid, GRIDS)
    chosen = table[(table["grid"] == grid) & (table["aggregation"] == aggregation)]
    keys = ["task", "minutes", "model"]
    cells = chosen.assign(cell=(100 * chosen["value"]).map("{:.2f}".format))
    wide = cells.set_index([*keys, "zone"])["cell"].unstack("zone")  # noqa: PD010
    order = chosen.set_index(keys).index.unique()
    return wide.loc[order, list(ZONES)].rename_axis(columns=None).reset_index()


def _pair(reference: np.ndarray, forecast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.broadcast_arrays(
        np.asarray(reference, dtype=np.float64), np.asarray(forecast, dtype=np.float64)
    )
    return x, y


def _height(line: Line, x: np.ndarray) -> np.ndarray:
    """Of a line at each reference, going on beyond its end; zero before it begins."""
    xs, ys = np.array(line, dtype=np.float64).T
    slope = (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    beyond = ys[-1] + slope * (x - xs[-1])
    inside = np.where(x <= xs[0], ys[0], np.interp(x, xs, ys))
    return np.where(x > xs[-1], beyond, inside)


def _known(zones: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(x) & np.isfinite(y), zones, -1)
