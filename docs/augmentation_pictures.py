"""The pictures of docs/augmentations.md.

    python docs/augmentation_pictures.py [FOLDER]

Each shows the Lorenz system before, an augmented window beside it, and both over time; what the
picture of phase surrogates shows over frequency is what they keep.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tsfm.data.dynamics.augmentation_config import AUGMENTATIONS, AugmentationConfig
from tsfm.data.dynamics.augmentations import DimensionSelection, RandomAffine, TakensEmbedding
from tsfm.data.dynamics.augmenter import Augmenter
from tsfm.data.dynamics.systems import load_system
from tsfm.data.ode import integrate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path(__file__).parent / "images"
SEEDS = dict.fromkeys(AUGMENTATIONS, 3) | {"select": 0, "affine": 2, "takens": 0}
POINTS, PER_PERIOD, SHOWN = 1024, 64, 320
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1}
CONFIG = AugmentationConfig(
    which=AUGMENTATIONS,
    standardize="both",
    affine=RandomAffine(dimensions=(3, 3)),
    takens=TakensEmbedding(lags=(6, 6)),
    select=DimensionSelection(dimension=2),
)
NAMES = {
    "affine": "affine image",
    "convex": "convex combinations",
    "skew": "projected skew product with Rössler",
    "takens": "Takens embedding",
    "phase": "phase surrogate",
    "fourier": "random Fourier series",
    "select": "two of three variates",
}


def trajectory(name: str) -> np.ndarray:
    """``[variate, time]`` on the attractor."""
    system = load_system(name)
    transient, times = 20 * PER_PERIOD, np.arange(20 * PER_PERIOD + POINTS)
    solution = integrate(
        system.rhs, system.initial[None], system.vector, times * system.period / PER_PERIOD
    )
    return solution.states[0, transient:].T


def picture(name: str, lorenz: np.ndarray, other: np.ndarray) -> Figure:
    """Portraits before and after, then series or spectra of both."""
    made = Augmenter(CONFIG).apply(name, lorenz, np.random.default_rng(SEEDS[name]), other=other)
    figure = Figure(figsize=(9, 2.5), layout="constrained")
    before, after, beside = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    portrait(before, lorenz, "Lorenz", "tab:blue")
    portrait(after, made, NAMES[name], "tab:orange")
    if name == "phase":
        spectra(beside, lorenz, made)
    else:
        series(beside, lorenz, made)
    return figure


def portrait(axes: Axes, target: np.ndarray, title: str, color: str) -> None:
    """The first row against the last."""
    axes.plot(target[0], target[-1], color=color, linewidth=0.6)
    axes.set(title=title, xlabel="first row", ylabel="last row", xticks=[], yticks=[])


def series(axes: Axes, lorenz: np.ndarray, made: np.ndarray) -> None:
    """Rows over time, one above the other: first those before, then those after."""
    rows = [*(("tab:blue", row) for row in lorenz), *(("tab:orange", row) for row in made)]
    for level, (color, row) in enumerate(rows):
        shown = (row - np.nanmean(row)) / np.nanstd(row)
        axes.plot(shown[:SHOWN] / 4 - level, color=color)
    axes.set(title="rows over time", xlabel="bar", yticks=[])


def spectra(axes: Axes, lorenz: np.ndarray, made: np.ndarray) -> None:
    """Cross-spectrum of two variates, before and after."""
    for target, style in ((lorenz, "tab:blue"), (made, "tab:orange")):
        scaled = (target - target.mean(1, keepdims=True)) / target.std(1, keepdims=True)
        first, last = np.fft.rfft(scaled)[[0, -1]]
        power, cross = np.abs(first) ** 2, np.abs(first * last.conj())
        dashes = "-" if style == "tab:blue" else (0, (3, 3))
        axes.loglog(power[1:], color=style, linestyle=dashes)
        axes.loglog(cross[1:] / 1e4, color=style, linestyle=dashes)
    axes.set(
        title="power (above) and cross-spectrum, before and after", xlabel="frequency", yticks=[]
    )
    axes.minorticks_off()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lorenz, rossler = (trajectory(name) for name in ("Lorenz", "Rossler"))
    with mpl.rc_context(STYLE):
        for name in AUGMENTATIONS:
            save(picture(name, lorenz, rossler), folder / f"augmentation_{name}.png")


def save(figure: Figure, path: Path) -> None:
    """As a PNG of few colours, hence few bytes."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=80)
    Image.open(drawn).convert("RGB").quantize(24).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
