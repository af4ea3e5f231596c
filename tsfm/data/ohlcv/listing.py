"""The files of a lake: found, told apart by their paths, and read many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tsfm.data.ohlcv import part
from tsfm.data.ohlcv.instrument import Instrument

Month = tuple[int, int]
Result = TypeVar("Result")

FILES_AT_ONCE, FILES_ALONE = 64, 1000


def parts_of(directory: Path) -> list[str]:
    """Paths of the parts of an instrument's directory, months increasing."""
    found = []
    try:
        years = [entry.path for entry in os.scandir(directory) if entry.name.startswith("year=")]
        for year in years:
            for entry in os.scandir(year):
                path = f"{entry.path}/{part.FILE_NAME}"
                if entry.name.startswith("month=") and os.path.exists(path):
                    found.append(path)
    except FileNotFoundError:
        return []
    return sorted(found)


def month_of(path: str) -> Month:
    """The year and month of a part."""
    year, month = (int(name.split("=", 1)[1]) for name in path.split("/")[-3:-1])
    return year, month


def instrument_of(path: Path) -> Instrument:
    """The instrument of a part."""
    asset_class, freq, symbol = (name.split("=", 1)[1] for name in path.parts[-6:-3])
    return Instrument(asset_class=asset_class, freq=freq, symbol=symbol)


def each(function: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
    """Called for each argument, by as many threads as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(function, *arguments))


def read_all(paths: Sequence[str]) -> list[np.ndarray]:
    """:func:`tsfm.data.ohlcv.part.read_bits` of many, some at a time for a thread: a small one
    takes less time than to ask for it.

    Some dozens of months for each of a few instruments are read right here: whoever reads batch
    after batch has threads of its own.

    Raises
    ------
    DataError
        When one is damaged.
    """
    if len(paths) <= FILES_ALONE:
        return [*map(part.read_bits, paths)]
    some = [paths[first : first + FILES_AT_ONCE] for first in range(0, len(paths), FILES_AT_ONCE)]
    return [bits for read in each(lambda few: [*map(part.read_bits, few)], some) for bits in read]
