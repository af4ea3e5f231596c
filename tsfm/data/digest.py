"""The fingerprint of a panel's content, whatever file or batches it lies in."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import xxhash

from tsfm.data.series import PanelInfo, Series


class Digest:
    """The fingerprint of a panel's content, fed one series at a time."""

    def __init__(self, info: PanelInfo) -> None:
        names = [info.variates, info.past_covariates, info.known_covariates]
        shared = [*names, info.freq, info.calendar, sorted(info.units.items())]
        self._hash = xxhash.xxh3_128(json.dumps(shared).encode())

    def add(self, series: Series) -> None:
        text = [series.item_id, series.length, sorted(series.static.items())]
        if series.timestamps is None:
            text.append(None if series.start is None else series.start.as_unit("ns").value)
        self._hash.update(json.dumps(text).encode())
        arrays = (series.timestamps, series.target, series.past_covariates, series.known_covariates)
        for array in arrays:
            if array is not None:
                self._hash.update(np.ascontiguousarray(array).view(np.uint8).data)

    def copy(self) -> Digest:
        """The same so far, fed independently from here on."""
        twin = Digest.__new__(Digest)
        twin._hash = self._hash.copy()
        return twin

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def fingerprint_of(series: Iterable[Series], info: PanelInfo) -> str:
    """The fingerprint of series that are all at hand."""
    digest = Digest(info)
    for one in series:
        digest.add(one)
    return digest.hexdigest()
