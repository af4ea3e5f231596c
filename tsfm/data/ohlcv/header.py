"""Columns of bars recognised by the names that files give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tsfm.errors import DataError

ALIASES: Mapping[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "sym", "instrument", "code", "asset", "itemid", "tic", "pair"),
    "ts": (
        "ts", "timestamp", "timestamputc", "datetime", "datetimeutc", "opentime", "dt", "date",
        "time", "unix", "epoch", "t",
    ),
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh"),
    "low": ("low", "l", "lowprice", "pricelow"),
    "close": ("close", "c", "last", "closeprice", "priceclose"),
    "volume": ("volume", "vol", "v", "tickvolume", "tickvol", "qty", "quantity", "basevolume"),
}  # fmt: skip
TIME_OF_DAY = "time_of_day"


def recognise(names: Sequence[str], mapping: Mapping[str, str], where: str) -> dict[str, str]:
    """The files' column of every column of bars.

    Names are compared without case, blanks and punctuation (``<OPEN>``, ``Open Price``). A file
    with a column of dates and one of times has ``ts`` and ``time_of_day``; ``symbol`` and
    ``volume`` may be absent.

    Parameters
    ----------
    names
        The file's columns.
    mapping
        Columns told by the user.

    Raises
    ------
    DataError
        When a column is missing, several could be it, or a column told is not there.
    """
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise DataError(f"columns {', '.join(repeated)} are named twice", where=where)
    absent = [source for source in mapping.values() if source not in names]
    if absent:
        raise DataError(
            f"column {', '.join(map(repr, absent))} is missing",
            where=where,
            remedy=f"choose from: {', '.join(names)}",
        )
    plain: dict[str, list[str]] = {}
    for name in names:
        if name not in mapping.values():
            plain.setdefault(re.sub(r"[^0-9a-z]", "", name.lower()), []).append(name)
    found = dict(mapping)
    for column, aliases in ALIASES.items():
        if column in found:
            continue
        alias = next((alias for alias in aliases if alias in plain), None)
        if alias is None:
            continue
        if len(plain[alias]) > 1:
            raise DataError(
                f"columns {' and '.join(plain[alias])} could both be {column}",
                where=where,
                remedy=f"choose one with columns={column}:NAME",
            )
        found[column] = plain[alias][0]
    if "ts" not in mapping and found.get("ts") in plain.get("date", []) and "time" in plain:
        found[TIME_OF_DAY] = plain["time"][0]
    missing = [name for name in ("ts", "open", "high", "low", "close") if name not in found]
    if missing:
        raise DataError(
            f"no column is recognised as {', '.join(missing)}",
            where=where,
            remedy=f"name them, such as columns={missing[0]}:NAME; the first line has "
            f"{', '.join(names)}",
        )
    return found
