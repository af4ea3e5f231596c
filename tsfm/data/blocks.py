"""Content hashes of blocks of bars: how the same data are recognised in two panels."""

from __future__ import annotations

import numpy as np
import xxhash
from jaxtyping import Float, UInt64

from tsfm.data.series import Series
from tsfm.errors import ConfigError

BLOCK = 64
_ROWS_AT_ONCE = 16_384


def hash_blocks(series: Series, block: int = BLOCK) -> UInt64[np.ndarray, "variate block"]:
    """Hash the blocks of one series, counted from bar 0 of the whole series it was cut from.

    Zero stands for a block that cannot identify anything: partly outside the series, partly
    unobserved, or constant.

    Raises
    ------
    ConfigError
        When ``block`` is shorter than 2 bars.
    """
    if block < 2:
        raise ConfigError(f"block={block} is too short to compare", remedy="give at least 2 bars")
    first = -(-series.offset // block)
    skipped = first * block - series.offset
    count = max(series.length - skipped, 0) // block
    table = np.zeros((len(series.target), first + count), np.uint64)
    if count:
        cut = series.target[:, skipped : skipped + count * block]
        for row, values in enumerate(cut.reshape(len(cut), count, block)):
            table[row, first:] = hash_rows(values)
    return table


def hash_rows(values: Float[np.ndarray, "row time"]) -> UInt64[np.ndarray, " row"]:
    """xxHash64 of the bytes of every row; zero where it is constant or holds a NaN."""
    hashes = np.zeros(len(values), np.uint64)
    for begin in range(0, len(values), _ROWS_AT_ONCE):
        rows = np.ascontiguousarray(values[begin : begin + _ROWS_AT_ONCE])
        telling = (rows != rows[:, :1]).any(axis=1) & ~np.isnan(rows).any(axis=1)
        for k in np.flatnonzero(telling):
            hashes[begin + k] = xxhash.xxh3_64_intdigest(rows[k])
    return hashes
