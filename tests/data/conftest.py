"""A panel in a folder."""

import pytest
from support.series import INFO, series

from tsfm.data.panel import Panel


@pytest.fixture
def written(tmp_path):
    return Panel.write(tmp_path / "bars", (series(f"I{k}", 50 + k, k) for k in range(5)), INFO)
