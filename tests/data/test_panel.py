"""Panels: what is written is read, views share memory, and damage is told."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.series import INFO, series, small, small_info

from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError


def test_what_is_written_is_read(written):
    reopened = Panel.open(written.path)
    assert reopened.info == INFO
    assert reopened.item_ids == ("I0", "I1", "I2", "I3", "I4")
    assert list(reopened.lengths) == [50, 51, 52, 53, 54]
    for k, one in enumerate(reopened):
        expected = series(f"I{k}", 50 + k, k)
        np.testing.assert_array_equal(one.target, expected.target)
        np.testing.assert_array_equal(
            one.known_covariates, expected.known_covariates.astype(np.float32)
        )
        np.testing.assert_array_equal(
            one.past_covariates, expected.past_covariates.astype(np.float32)
        )
        assert one.static == {"sector": "tech", "size": 3.0}
        assert one.start == expected.start
        assert one.target.dtype == np.float32


def test_window_copies_nothing(written):
    window = written.window(2, 10, 20, future=5)
    stored = written.series(2)
    assert np.shares_memory(window.target, stored.target)
    assert np.shares_memory(window.known_covariates, stored.known_covariates)
    assert window.target.ctypes.data == stored.target.ctypes.data + 10 * 4
    assert not window.target.flags.writeable
    np.testing.assert_array_equal(window.target, series("I2", 52, 2).target[:, 10:30])
    assert window.known_covariates.shape == (2, 25)
    assert window.past_covariates.shape == (1, 20)
    expected = pd.date_range("2024-01-01 10:00", periods=25, freq="h").to_numpy()
    np.testing.assert_array_equal(window.timestamps, expected[:20])
    np.testing.assert_array_equal(window.future_timestamps, expected[20:])
    assert (window.start, window.freq, window.variate_names) == (10, "h", INFO.variates)


def test_known_covariates_beyond_the_view_are_unknown(written):
    view = written.slice(0, 30)
    window = view.window(0, 20, 10, future=4)
    assert np.isnan(window.known_covariates[:, 10:]).all()
    np.testing.assert_array_equal(
        window.known_covariates[:, :10], written.series(0).known_covariates[:, 20:30]
    )
    assert len(window.future_timestamps) == 4


def test_explicit_future_timestamps_end_with_the_view(make_panel):
    panel = make_panel(1, 50, explicit=True)
    whole = panel.timestamps(0)
    np.testing.assert_array_equal(panel.window(0, 5, 10, 3).future_timestamps, whole[15:18])
    assert panel.window(0, 38, 10, 3).future_timestamps is None
    assert panel.slice(0, 20).window(0, 10, 10, 1).future_timestamps is None


@pytest.mark.parametrize("freq", ["15min", "D", "B", "W", "MS", "ME", "QE", "YS"])
def test_dates_are_those_of_pandas(freq):
    start = pd.date_range("2020-01-01", periods=1, freq=freq)[0]
    expected = pd.date_range(start, periods=60, freq=freq).to_numpy()
    panel = Panel.from_series([small(np.arange(60), start=start)], small_info(freq=freq))
    np.testing.assert_array_equal(panel.timestamps(0), expected)
    view = panel.slice(7, 40)
    np.testing.assert_array_equal(view.timestamps(0), expected[7:40])
    assert view.series(0).start == expected[7]
    np.testing.assert_array_equal(view.window(0, 3, 30, 9).future_timestamps, expected[40:49])
    assert next(view.gluonts())["start"].start_time <= expected[7]


def test_positions_count_from_the_view_and_start_from_the_whole_series(written):
    view = written.slice(10, 40).slice(5, 100)
    assert list(view.lengths) == [25] * 5
    window = view.window(3, 2, 4)
    assert window.start == 17
    np.testing.assert_array_equal(window.target, written.series(3).target[:, 17:21])
    assert view.series(3).offset == 17 - 2


def test_between_is_half_open(written):
    view = written.between("2024-01-01 03:00", "2024-01-02")
    assert view.timestamps(0)[0] == np.datetime64("2024-01-01T03")
    assert view.timestamps(0)[-1] == np.datetime64("2024-01-01T23")


def test_views_drop_items_without_bars(written):
    view = written.slice(0, [10, 0, 10, 0, 10])
    assert view.item_ids == ("I0", "I2", "I4")
    assert view.select(["I4", "I0"]).item_ids == ("I4", "I0")
    assert view.item("I2") == 1
    with pytest.raises(DataError, match="no series has a bar"):
        written.slice(1000, 2000)
    with pytest.raises(DataError, match="'I1'"):
        view.select(["I1"])


def test_variates_are_views(written):
    for names in (("close",), ("volume", "open"), ("open", "close"), ("volume", "close", "open")):
        view = written.variates(names)
        rows = [INFO.variates.index(name) for name in names]
        np.testing.assert_array_equal(view.series(1).target, written.series(1).target[rows])
        assert np.shares_memory(view.window(1, 0, 9).target, written.series(1).target)
        assert view.window(1, 0, 9).variate_names == names
    assert written.variates(["volume", "open"]).variates(["open"]).info.variates == ("open",)
    with pytest.raises(ConfigError, match="open, close, volume"):
        written.variates(["high"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_views_of_views_equal_numpy(make_panel_once, data):
    panel, arrays = make_panel_once
    kept = data.draw(st.lists(st.sampled_from(panel.item_ids), min_size=1, unique=True))
    start = data.draw(st.integers(0, 29))
    stop = data.draw(st.integers(start + 1, 30))
    view = panel.select(kept).slice(start, stop)
    again_start = data.draw(st.integers(0, stop - start - 1))
    view = view.slice(again_start, 1000)
    for one in view:
        expected = arrays[one.item_id][:, start + again_start : stop]
        np.testing.assert_array_equal(one.target, expected)
        assert one.offset == start + again_start
    assert Panel.from_series(view, view.info).fingerprint == view.fingerprint


@pytest.fixture(scope="module")
def make_panel_once(make_panel):
    panel = make_panel(4, [30, 31, 40, 35], missing=0.1)
    return panel, {one.item_id: one.target.copy() for one in panel}


@pytest.mark.parametrize(
    ("item", "start", "length"), [(0, -1, 5), (0, 48, 5), (0, 0, 0), (5, 0, 1), (-1, 0, 1)]
)
def test_windows_outside_are_refused(written, item, start, length):
    with pytest.raises(DataError):
        written.window(item, start, length)


def test_a_window_outside_a_view_is_refused(written):
    with pytest.raises(DataError, match="20 bars"):
        written.slice(0, 20).window(0, 10, 11)


def test_views_pickle(written, make_panel):
    for panel in (written, make_panel(3, 60)):
        view = panel.slice(3, 20).select([panel.item_ids[2]])
        copy = pickle.loads(pickle.dumps(view))
        assert copy.fingerprint == view.fingerprint
        np.testing.assert_array_equal(copy.window(0, 1, 5).target, view.window(0, 1, 5).target)


def test_gluonts_reads_the_entries(make_panel):
    from gluonts.dataset.common import ListDataset
    from gluonts.dataset.split import split

    panel = make_panel(3, 120, known_covariates=("k",), past_covariates=("p",))
    dataset = ListDataset(panel.gluonts(), freq="h", one_dim_target=False)
    entries = list(dataset)
    np.testing.assert_array_equal(entries[1]["target"], panel.series(1).target)
    assert entries[1]["start"] == pd.Period("2024-01-01", "h")
    assert entries[1]["feat_dynamic_real"].shape == (1, 120)
    assert entries[1]["past_feat_dynamic_real"].shape == (1, 120)
    assert entries[1]["feat_static_real"].tolist() == [1.0]
    _, template = split(dataset, offset=-24)
    past, label = next(iter(template.generate_instances(prediction_length=24)))
    assert past["target"].shape == (2, 96)
    np.testing.assert_array_equal(label["target"], panel.series(0).target[:, 96:])


def test_gluonts_univariate_forecasts(make_panel):
    from gluonts.model.seasonal_naive import SeasonalNaivePredictor
    from gluonts.transform import AddObservedValuesIndicator

    panel = make_panel(2, 120, variates=("a",), missing=0.05)
    entries = list(panel.gluonts())
    assert entries[0]["target"].shape == (120,)
    seen = AddObservedValuesIndicator("target", "observed")(iter(entries), is_train=False)
    observed = [entry["observed"] for entry in seen]
    np.testing.assert_array_equal(observed[0], ~np.isnan(panel.series(0).target[0]))
    naive = SeasonalNaivePredictor(prediction_length=5, season_length=24)
    (forecast, _) = naive.predict(make_panel(2, 120, variates=("a",)).gluonts())
    np.testing.assert_array_equal(
        forecast.samples[0], make_panel(2, 120, variates=("a",)).series(0).target[0, -24:-19]
    )
    assert forecast.start_date == pd.Period("2024-01-01", "h") + 120


def test_undated_series_have_no_dates(make_panel):
    panel = make_panel(2, 50, freq=None)
    assert panel.timestamps(0) is None
    assert panel.window(0, 5, 10, 3).timestamps is None
    assert "start" not in next(panel.gluonts())
    with pytest.raises(DataError, match="no dates"):
        panel.between("2024-01-01")


def test_block_hashes_are_aligned_with_the_whole_series(make_panel):
    panel = make_panel(1, 300)
    whole = panel.block_hashes(50)["item-0"]
    assert whole.shape == (2, 6)
    assert (whole != 0).all()
    assert len(np.unique(whole)) == 12
    part = panel.slice(60, 220).block_hashes(50)["item-0"]
    assert part.shape == (2, 4)
    np.testing.assert_array_equal(part[:, 2:], whole[:, 2:4])
    assert (part[:, :2] == 0).all()
    stored = Panel.from_series(panel.slice(60, 220), panel.info)
    np.testing.assert_array_equal(stored.block_hashes(50)["item-0"], part)
    with pytest.raises(ConfigError, match="block=1"):
        panel.block_hashes(1)


def test_blocks_that_identify_nothing_have_no_hash():
    values = np.random.default_rng(0).normal(size=200)
    values[50:100] = 3.0
    values[120] = np.nan
    hashes = Panel.from_series([small(values)], small_info()).block_hashes(50)["A"]
    assert (hashes[0] != 0).tolist() == [True, False, False, True]


def test_importing_the_panel_is_light():
    heavy = "('torch', 'mlflow', 'lightning', 'datasets', 'gluonts')"
    script = f"import sys, tsfm.data.panel; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert shown.stdout.strip() == "[]"


def test_variates_not_asked_for_may_become_past_covariates(make_panel, tmp_path):
    made = make_panel(3, 120, ("a", "b", "c", "d"), past_covariates=("p",), known_covariates=("k",))
    view = made.variates(("c", "a"), others_as_past=True).slice(10, 100)
    assert view.info.variates == ("c", "a")
    assert view.info.past_covariates == ("b", "d", "p")
    whole = made.series(1)
    expected = np.concatenate([whole.target[[1, 3]], whole.past_covariates])
    np.testing.assert_array_equal(view.series(1).target, whole.target[[2, 0], 10:100])
    np.testing.assert_array_equal(view.series(1).past_covariates, expected[:, 10:100])
    window = view.window(1, 5, 20, future=3)
    assert window.past_covariate_names == view.info.past_covariates
    np.testing.assert_array_equal(window.past_covariates, expected[:, 15:35])
    np.testing.assert_array_equal(window.known_covariates, whole.known_covariates[:, 15:38])
    narrower = view.variates(("a",), others_as_past=True)
    assert narrower.info.past_covariates == ("c", "b", "d", "p")
    np.testing.assert_array_equal(
        narrower.series(0).past_covariates[0], made.series(0).target[2, 10:100]
    )
    np.testing.assert_array_equal(
        view.variates(("a",)).series(0).past_covariates, view.series(0).past_covariates
    )
    copied = Panel.write(tmp_path / "copy", view, view.info)
    assert copied.fingerprint == view.fingerprint
