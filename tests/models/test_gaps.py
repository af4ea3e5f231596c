from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from tsfm.models.gaps import bridged


@given(st.integers(0, 9999), st.floats(0, 1), st.integers(1, 30))
def test_gaps_are_bridged_as_pandas_does(seed, share, length):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((4, 2, length))
    values[rng.random(values.shape) < share] = np.nan
    frame = pd.DataFrame(values.reshape(8, length).T)
    expected = frame.interpolate(limit_direction="both").to_numpy().T.reshape(values.shape)
    np.testing.assert_allclose(bridged(values), expected, atol=1e-12)


def test_what_has_no_gap_is_returned_as_it_is():
    values = np.arange(6.0).reshape(2, 3)
    assert bridged(values) is values
