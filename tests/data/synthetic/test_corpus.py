"""The corpus: reproducible, as large and as mixed as configured, fast, and a source of panels."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tsfm.data.sources import SourceConfig, load_source
from tsfm.data.synthetic.corpus import synthetic_panel, synthetic_values
from tsfm.data.synthetic.corpus_config import FAMILIES, CorpusConfig
from tsfm.errors import ConfigError

SMALL_SIZE = {"n_series": 60, "length": 400}
SMALL = CorpusConfig(**SMALL_SIZE)


def test_the_same_configuration_gives_the_same_corpus():
    panel, again = synthetic_panel(SMALL), synthetic_panel(SMALL)
    assert panel.fingerprint == again.fingerprint
    other = synthetic_panel(CorpusConfig(n_series=60, length=400, seed=1))
    assert panel.fingerprint != other.fingerprint


def test_series_are_standardised_and_named_by_their_family():
    panel = synthetic_panel(SMALL)
    assert len(panel) == 60
    assert (panel.lengths == 400).all()
    kinds = {name.partition("_")[0] for name in panel.item_ids}
    assert kinds <= {*FAMILIES, "mixed"}
    for series in panel:
        seen = series.target[np.isfinite(series.target)]
        assert len(seen) > 100
        assert np.abs(seen).max() < 100
    assert panel.info.provenance["structures"] == SMALL.structures


def test_shares_are_those_asked_for():
    config = CorpusConfig(n_series=1_000, length=32, mixed=0.2)
    ((families, values),) = synthetic_values(config)
    assert values.shape == (1_000, 32)
    for name, share in config.shares.items():
        assert (families == name).mean() == pytest.approx(0.8 * share, abs=0.05)
    assert (families == "mixed").mean() == pytest.approx(0.2, abs=0.05)


def test_one_family_alone_without_disturbances():
    shares = {**dict.fromkeys(FAMILIES, 0.0), "walks": 1.0}
    config = CorpusConfig(**SMALL_SIZE, **shares, mixed=0, gaps=0, disturbed=False)
    ((families, values),) = synthetic_values(config)
    assert set(families) == {"walks"}
    np.testing.assert_allclose(values.std(axis=1), 1, atol=1e-3)


def test_a_longer_corpus_begins_like_a_shorter_one():
    first, longer = (
        [values for _, values in synthetic_values(CorpusConfig(n_series=n, length=32))]
        for n in (1_000, 1_200)
    )
    np.testing.assert_array_equal(first[0], longer[0])
    assert len(longer[1]) == 200


def test_thousands_of_points_in_a_millisecond():
    started = time.process_time()
    for _ in synthetic_values(CorpusConfig(n_series=1_000, length=1_024)):
        pass
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"n_series": 0}, "n_series=0"),
        ({"length": 3}, "length=3"),
        ({"seed": -1}, "seed=-1"),
        ({"mixed": 1.5}, "mixed=1.5"),
        ({"gaps": -0.1}, "gaps=-0.1"),
        ({"structures": 0.9}, "sum to 1"),
        ({"structures": 0.72, "walks": -0.04}, "sum to 1"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, told):
    with pytest.raises(ConfigError, match=told):
        CorpusConfig(**fields)


def test_a_source_of_panels():
    config = SourceConfig(name="synthetic", synthetic=SMALL, seed=7)
    source = load_source(config, example_bars=50)
    (panel,) = source.panels
    assert panel.fingerprint == synthetic_panel(CorpusConfig(**SMALL_SIZE, seed=7)).fingerprint
    assert len(source.example) == 50
    assert source.preparation.panel(source.example).info.variates == panel.info.variates


def test_variates_that_it_does_not_have_are_refused():
    config = SourceConfig(name="synthetic", synthetic=SMALL, variates=("glucose",))
    with pytest.raises(ConfigError, match=r"glucose.*not some of the panel"):
        load_source(config)
