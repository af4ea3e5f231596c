"""What a lake keeps bars of: an asset class, a bar frequency and a symbol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tsfm.errors import DataError

LONGEST_NAME = 128
_FORBIDDEN = re.compile(
    r"\.\.|[/\\=%*?\[\]{}\"<>|\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd\ud800-\udfff]"
)
_HIDDEN = (".", "_")


@dataclass(frozen=True, kw_only=True, order=True)
class Instrument:
    """One series of bars in a lake; each part of the name is one directory's.

    Attributes
    ----------
    asset_class
        Such as ``equity``, ``crypto``, ``fx``.
    freq
        Of the bars, such as ``1h``, ``1min``, ``1d``.
    symbol
        As the market writes it, such as ``AAPL``, ``BRK.B``, ``BTC-USD``.

    Raises
    ------
    DataError
        When a part cannot be a directory's name: see :func:`name_fault`.
    """

    asset_class: str
    freq: str
    symbol: str

    def __post_init__(self) -> None:
        for part in ("asset_class", "freq", "symbol"):
            check_name(part, getattr(self, part))

    @property
    def directory(self) -> PurePosixPath:
        """Below the lake's: ``asset_class=X/freq=Y/symbol=Z``."""
        return PurePosixPath(
            f"asset_class={self.asset_class}", f"freq={self.freq}", f"symbol={self.symbol}"
        )

    def __str__(self) -> str:
        return f"{self.asset_class}/{self.freq}/{self.symbol}"


def name_fault(name: object) -> str | None:
    """Why a name cannot be a directory's, or ``None`` where it can.

    It must not be empty, leave its directory (``/``, ``\\``, ``..``), be read as another partition
    (``=``, ``%``) or as a pattern (``* ? [ ] { }``), be hidden from Spark (a leading ``.`` or
    ``_``), hold control characters or ``" < > |``, begin or end in a space, or be longer than 128
    bytes of UTF-8.
    """
    if not isinstance(name, str) or not name:
        return "it is empty" if name in ("", None) else "it is not text"
    if found := _FORBIDDEN.search(name):
        return f"it holds {found.group()!r}"
    if name.startswith(_HIDDEN):
        return f"it begins with {name[0]!r}"
    if name != name.strip():
        return "it begins or ends with a space"
    if len(name.encode()) > LONGEST_NAME:
        return f"it is longer than {LONGEST_NAME} bytes"
    return None


def check_name(part: str, name: object) -> None:
    """Raise :class:`DataError` where :func:`name_fault` finds one."""
    fault = name_fault(name)
    if fault is not None:
        raise DataError(
            f"{part}={name!r} cannot name a directory of the lake: {fault}",
            remedy=f"rename the {part}, such as BTC-USD for BTC/USD",
        )
