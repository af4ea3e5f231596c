"""A panel in a folder."""

import pytest
from support.series import INFO, series

from tsfm.data.panel import Panel


@pytest.fixture
def written(tmp_path):
    return Panel.write(tmp_path / "bars", (series(f"I{k}", 50 + k, k) for k in range(5)), INFO)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """An empty place for what is built or compiled."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("TSFM_CACHE", str(folder))
        yield folder
