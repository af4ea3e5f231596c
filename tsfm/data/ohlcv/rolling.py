"""Rolling means within symbols, compiled; rounding errors do not add up along a series."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tsfm.data.kernel_cache import njit


def rolling_mean(
    values: Float[np.ndarray, " bar"], spans: Sequence[tuple[int, int]], window: int
) -> Float[np.ndarray, " bar"]:
    """Mean of the known ones among the last ``window`` values, where at least half are known.

    Parameters
    ----------
    values
        ``float64``, NaN where unknown.
    spans
        First bar and the bar after the last of every symbol: no window reaches across.

    Returns
    -------
    np.ndarray
        NaN where too few are known.
    """
    means = np.empty(len(values))
    _rolling_mean(values, np.array(spans, np.int64).reshape(-1, 2), window, means)
    return means


@njit(cache=True, nogil=True)
def _rolling_mean(values: np.ndarray, spans: np.ndarray, window: int, means: np.ndarray) -> None:
    """A window is the end of one block and the start of the next (van Herk, 1992).

    Both are running sums of at most ``window`` values, whose rounding errors end with the block.
    """
    fewest = max(window // 2, 1)
    for first, stop in spans:
        size = min(window, stop - first)
        ends, known_in_end = np.zeros(size + 1), np.zeros(size + 1, np.int64)
        for block in range(first, stop, size):
            total, known = 0.0, 0
            last = min(block + size, stop)
            for bar in range(block, last):
                value = values[bar]
                if not np.isnan(value):
                    total += value
                    known += 1
                place = bar - block + 1
                count = known + known_in_end[place]
                means[bar] = (total + ends[place]) / count if count >= fewest else np.nan
            total, known = 0.0, 0
            for bar in range(last - 1, block - 1, -1):
                value = values[bar]
                if not np.isnan(value):
                    total += value
                    known += 1
                ends[bar - block], known_in_end[bar - block] = total, known
