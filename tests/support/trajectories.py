"""Made-up trajectories with what an ensemble says of its items; nothing is integrated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tsfm.data.dynamics.families import PROVENANCE, family_of
from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series

HELD_OUT = ("lorenz",)
MEMBERS: Mapping[str, tuple[str, ...]] = {
    "Rossler": ("Rossler",),
    "Chen": ("Chen",),
    "Halvorsen": ("Halvorsen",),
    "Lorenz": ("Lorenz",),
    "LorenzBounded": ("LorenzBounded",),
    "Rossler->Chen/flow": ("Rossler", "Chen"),
    "Lorenz->Chen/flow": ("Lorenz", "Chen"),
}


def trajectories(
    subjects: Mapping[str, tuple[str, ...]] = MEMBERS, count: int = 4, points: int = 160
) -> Panel:
    """Smooth noise: three variates of a system, six of a pair; Lorenz's family is held out."""
    rng = np.random.default_rng(5)
    width = 3 * max(map(len, subjects.values()))
    series = []
    for name, members in subjects.items():
        for start in range(count):
            target = np.full((width, points), np.nan, np.float32)
            noise = rng.standard_normal((3 * len(members), points + 15))
            smooth = [np.convolve(row, np.hanning(16), "valid") for row in noise]
            target[: 3 * len(members)] = smooth
            series.append(
                Series(
                    item_id=f"{name}/{start // 2}/{start % 2}",
                    target=target,
                    static={
                        "system": "->".join(members),
                        "members": ",".join(members),
                        "family": "->".join(map(family_of, members)),
                        "role": "system" if len(members) == 1 else "skew",
                        "coupling": name.partition("/")[2],
                        "dt": 0.05,
                        "period": 1.0,
                        "lyapunov": 0.9,
                    },
                )
            )
    info = PanelInfo(
        name="made",
        variates=tuple(f"x{k}" for k in range(width)),
        provenance={PROVENANCE: list(HELD_OUT)},
    )
    return Panel.from_series(series, info)
