"""Long-horizon data sets in the field's usual form, from the directory that ``LSF_PATH`` names.

ETT, weather, electricity, traffic and exchange rates as Wu et al. 2021 (Autoformer) distribute
them: one CSV each, dates first. Splits and standardisation are theirs: every variate is shifted and
scaled by its mean and standard deviation over the training rows, and errors are of such values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from tsfm.data.panel import Panel

VARIABLE = "LSF_PATH"


def lsf_directory() -> Path:
    """The directory that ``LSF_PATH`` names.

    Raises
    ------
    DataError
        When the variable is not set, or names no directory.
    """
    named = os.environ.get(VARIABLE, "")
    path = Path(named).expanduser()
    if not named or not path.is_dir():
        raise DataError(
            f"{VARIABLE}={named} names no directory" if named else f"{VARIABLE} is not set",
            where="suite lsf",
            remedy="set it to the directory that holds ETTh1.csv, weather.csv, electricity.csv …",
        )
    return path


def lsf_panel(directory: Path, name: str, described: Mapping[str, Any], *, context: int) -> Panel:
    """The test part of one data set, standardised, from a context before its first bar.

    Parameters
    ----------
    described
        ``files`` that it may lie in, relative to the directory; ``freq`` and ``seasonality``;
        ``rows`` of training, validation and test, or their ``shares``.

    Raises
    ------
    DataError
        When no file is there, one cannot be read, or it has too few rows.
    """
    from tsfm.data.panel import Panel
    from tsfm.data.series import PanelInfo, Series

    path = next(
        (directory / file for file in described["files"] if (directory / file).is_file()), None
    )
    if path is None:
        raise DataError(
            f"no {' or '.join(described['files'])}",
            where=f"data set {name}, {directory}",
            remedy=f"put the file there, or set {VARIABLE} to where it is",
        )
    table = _read(path)
    train, stop, begin = _parts(len(table), described, where=str(path))
    if begin < context:
        raise DataError(
            f"{begin} rows before the test part are fewer than a context of {context}",
            where=str(path),
        )
    values = standardised(table.to_numpy(np.float64), train)
    first = begin - context
    info = PanelInfo(
        name=name,
        variates=tuple(map(str, table.columns)),
        freq=described["freq"],
        seasonality=described["seasonality"],
        licence=described.get("licence", ""),
        provenance={"file": path.name, "train_rows": train, "test_rows": [begin, stop]},
    )
    series = Series(item_id=name, target=values[first:stop].T.copy(), start=table.index[first])
    return Panel.from_series([series], info)


def standardised(values: np.ndarray, train: int) -> np.ndarray:
    """By mean and standard deviation over the first ``train`` rows, ``float32 [row, variate]``.

    Sums are exact, so that every machine gets the same bytes; a constant variate is only shifted.
    """
    rows = values[:train]
    mean = np.array([fsum(column) / train for column in rows.T])
    deviation = np.array([np.sqrt(fsum(column) / train) for column in ((rows - mean) ** 2).T])
    return ((values - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path, index_col=0, parse_dates=True)
        dated = isinstance(table.index, pd.DatetimeIndex)
        numbers = all(kind.kind in "fiu" for kind in table.dtypes)
    except (OSError, ValueError) as error:
        raise DataError(f"the file cannot be read: {error}", where=str(path)) from error
    if not (dated and numbers and len(table.columns)):
        raise DataError(
            "the first column is not dates, or another is not numbers",
            where=str(path),
            remedy="give the file as Autoformer's authors distribute it",
        )
    return table


def _parts(rows: int, described: Mapping[str, Any], *, where: str) -> tuple[int, int, int]:
    """Rows of training, the row after the test part, and its first row."""
    if "rows" in described:
        train, validation, test = described["rows"]
        stop = train + validation + test
        if rows < stop:
            raise DataError(f"{rows} rows, but the split takes {stop}", where=where)
        return train, stop, train + validation
    shares = described["shares"]
    train, test = int(rows * shares[0]), int(rows * shares[2])
    return train, rows, rows - test
