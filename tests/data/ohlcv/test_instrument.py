"""Names that may become directories, and names that may not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.data.ohlcv.instrument import Instrument, name_fault
from tsfm.errors import DataError

BAD = [
    "", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a..b", "symbol=x", "a%2Fb", "a\x00b",
    "a\nb", "\x7f", "*", "a?", "[a]", "{a,b}", ".hidden", "_staging", " a", "a ", "x" * 129,
    "\ud800", "\ufffd", "a|b", None, 7,
]  # fmt: skip
GOOD = [
    "AAPL",
    "BRK.B",
    "BTC-USD",
    "^GSPC",
    "005930",
    "RDS-A",
    "Σ",
    "日経",
    "a b",
    "M&M.NS",
    "x" * 128,
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_leaves_its_directory_or_is_read_otherwise_is_refused(name):
    with pytest.raises(DataError, match="cannot name a directory"):
        Instrument(asset_class="equity", freq="1h", symbol=name)
    with pytest.raises(DataError, match="asset_class"):
        Instrument(asset_class=name, freq="1h", symbol="A")


@pytest.mark.parametrize("name", GOOD)
def test_names_of_markets_are_taken_as_they_are(name):
    instrument = Instrument(asset_class="equity", freq="1h", symbol=name)
    assert instrument.directory.as_posix() == f"asset_class=equity/freq=1h/symbol={name}"


@given(st.text(max_size=20))
def test_whatever_is_accepted_stays_one_directory_below(name):
    if name_fault(name) is not None:
        return
    path = Path("/lake") / Instrument(asset_class="e", freq="f", symbol=name).directory
    assert path.parent == Path("/lake/asset_class=e/freq=f")
    assert ".." not in path.parts
    assert path.name == f"symbol={name}"
