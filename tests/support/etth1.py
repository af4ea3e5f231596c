"""The mean squared error that papers report on ETTh1."""

from pathlib import Path

import numpy as np
import pandas as pd

MONTH = 30 * 24


def etth1_error(model, shared: Path, *, context: int = 512, horizon: int = 96) -> float:
    """Of all windows of the test split, standardised by the training year."""
    values = pd.read_csv(shared / "data" / "lsf" / "ETTh1.csv").iloc[:, 1:].to_numpy()
    train = values[: 12 * MONTH]
    scaled = ((values - train.mean(0)) / train.std(0)).astype(np.float32)
    test = scaled[16 * MONTH - context : 20 * MONTH]
    view = np.lib.stride_tricks.sliding_window_view
    windows = view(test, context + horizon, axis=0).swapaxes(1, 2)
    assert len(windows) == 2785
    total = 0.0
    for first in range(0, len(windows), 256):
        past, future = np.split(windows[first : first + 256], [context], axis=1)
        total += float(((model.predict(past=past, horizon=horizon).mean - future) ** 2).sum())
    return total / windows[:, context:].size
