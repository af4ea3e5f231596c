"""Readings of made-up people."""

import numpy as np
import pandas as pd


def person(
    n: int = 400, *, seed: int = 0, start: str = "2024-01-01", mean: float = 140.0, **columns
) -> pd.DataFrame:
    """``datetime, glucose_mg_dl``: smooth, every five minutes."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6)
    wave = mean + 40 * np.sin(np.arange(n) / 25 + phase) + rng.normal(0, 1, n)
    stamps = pd.date_range(start, periods=n, freq="5min")
    return pd.DataFrame({"datetime": stamps, "glucose_mg_dl": wave.round(), **columns})
