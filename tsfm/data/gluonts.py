"""Panels as GluonTS sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.series import PanelInfo, Series


def entries(series: Iterable[Series], info: PanelInfo) -> Iterator[dict[str, Any]]:
    """Series under GluonTS's field names; arrays are not copied.

    A single variate gives ``target [time]``, several ``[variate, time]``. ``start`` is a period
    where the panel has a frequency (explicit timestamps then keep only their first date), else it
    is left out. Numbers among the static attributes become ``feat_static_real``, by name.
    """
    for one in series:
        numbers = [value for _, value in sorted(one.static.items()) if not isinstance(value, str)]
        optional = {
            "start": _period(one.start, info.freq),
            "feat_dynamic_real": one.known_covariates,
            "past_feat_dynamic_real": one.past_covariates,
            "feat_static_real": np.array(numbers, np.float32) if numbers else None,
        }
        target = one.target[0] if len(info.variates) == 1 else one.target
        yield {
            "item_id": one.item_id,
            "target": target,
            **{name: value for name, value in optional.items() if value is not None},
        }


def _period(start: pd.Timestamp | None, freq: str | None) -> pd.Period | None:
    if start is None or freq is None:
        return None
    return pd.DatetimeIndex([start]).to_period(frequency.period(freq))[0]
