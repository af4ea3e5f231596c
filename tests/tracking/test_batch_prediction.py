"""Forecasts of a file: the same as of a frame, whatever the order of its rows; complete or none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.families import PREPARATION, save, walks

from tsfm.errors import DataError, UserError
from tsfm.models.frames import NOTES, forecast_frame
from tsfm.models.source import load_local
from tsfm.models.statistical import SeasonalNaive
from tsfm.tracking import batch_prediction, item_parts, registry
from tsfm.tracking.batch_prediction import main, predict_parquet
from tsfm.tracking.item_parts import ItemParts
from tsfm.tracking.registry import log_model
from tsfm.tracking.runs import MlflowRun

LEVELS = (0.1, 0.5)


@pytest.fixture
def model(tmp_path):
    return str(save(SeasonalNaive(), tmp_path / "model"))


def written(frame, path, rows=37):
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=rows)
    return path


def directly(model, frame):
    made = forecast_frame(load_local(model), PREPARATION, frame, 4, LEVELS)
    made.attrs.pop(NOTES)
    return made


def of_file(path):
    return pd.read_parquet(path).sort_values(["item_id", "step", "variate"], ignore_index=True)


@pytest.mark.parametrize("order", ["together", "by time", "shuffled"])
def test_any_order_of_rows_gives_the_forecasts_of_the_frame(model, tmp_path, monkeypatch, order):
    monkeypatch.setattr(item_parts, "BATCH_ROWS", 50)
    frame = walks(items=7, bars=60)
    chosen = {
        "together": frame,
        "by time": frame.sort_values("timestamp", kind="stable"),
        "shuffled": frame.sample(frac=1, random_state=0),
    }[order]
    source, out = written(chosen, tmp_path / "rows.parquet"), tmp_path / "out.parquet"
    report = predict_parquet(
        model, source, out, horizon=4, quantile_levels=LEVELS, rows_at_once=130
    )
    assert (report.items, report.rows, report.left_out) == (7, 56, {})
    expected = directly(model, frame).sort_values(["item_id", "step", "variate"], ignore_index=True)
    found = of_file(out)
    pd.testing.assert_frame_equal(found.drop(columns="note"), expected, check_dtype=False)
    assert found["note"].str.contains("out of order").any() == (order == "shuffled")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model",
        "out.parquet",
        "rows.parquet",
    ]


@pytest.mark.parametrize("kind", [int, str, "category"])
def test_parts_are_whole_items_within_bounds(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(item_parts, "BATCH_ROWS", 50)
    frame = pd.concat(
        [pd.DataFrame({"item_id": k, "x": np.arange(10 + 30 * (k % 3))}) for k in range(9)]
    )
    source = written(frame.astype({"item_id": kind}), tmp_path / "rows.parquet")
    parts = ItemParts.plan(source, ["x"], rows_at_once=85, items_at_once=3)
    assert parts.together
    read = list(parts)
    assert [len(part) for part in read] == list(parts.rows)
    assert all(len(part) <= 85 or len(set(part["item_id"])) == 1 for part in read)
    assert max(part["item_id"].nunique() for part in read) <= 3
    pd.testing.assert_series_equal(
        pd.concat(read)["x"].reset_index(drop=True), frame["x"].reset_index(drop=True)
    )


def test_memory_follows_the_part_not_the_file(model, tmp_path):
    import tracemalloc

    peaks = []
    for items in (10, 80):
        source = written(walks(items, bars=500), tmp_path / f"{items}.parquet", rows=500)
        tracemalloc.start()
        predict_parquet(
            model, source, tmp_path / f"out{items}.parquet", horizon=4, rows_at_once=2000
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_a_bad_item_ends_it_or_is_left_out_and_told(model, tmp_path):
    frame = walks(items=5, bars=60)
    frame = frame[(frame["item_id"] != "item-2") | (frame.index % 60 < 2)]
    source, out = written(frame, tmp_path / "rows.parquet"), tmp_path / "out.parquet"
    with pytest.raises(DataError, match=r"too short a history.*item-2 \(2\)"):
        predict_parquet(model, source, out, horizon=4)
    assert not out.exists()
    report = predict_parquet(model, source, out, horizon=4, bad_items="leave_out")
    assert list(report.left_out) == ["item-2"]
    assert "too short a history" in report.left_out["item-2"]
    assert json.loads((tmp_path / "out.left_out.json").read_text()) == report.left_out
    assert set(of_file(out)["item_id"]) == {"item-0", "item-1", "item-3", "item-4"}
    good = written(walks(items=2, bars=60), tmp_path / "good.parquet")
    predict_parquet(model, good, out, horizon=4, overwrite=True)
    assert not (tmp_path / "out.left_out.json").exists()


def test_when_no_item_can_be_forecast_there_is_no_file(model, tmp_path):
    source = written(walks(bars=2), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"no item can be forecast.*item-0: too short"):
        predict_parquet(model, source, tmp_path / "out.parquet", horizon=4, bad_items="leave_out")
    assert not (tmp_path / "out.parquet").exists()


def test_a_failure_half_way_leaves_what_was_there(model, tmp_path, monkeypatch):
    source = written(walks(items=6, bars=60), tmp_path / "rows.parquet")
    out = tmp_path / "out.parquet"
    out.write_text("earlier")
    made = []

    def fail_later(*given, **named):
        if len(made) == 2:
            raise OSError(28, "No space left on device")
        made.append(1)
        return forecast_frame(*given, **named)

    monkeypatch.setattr("tsfm.models.frames.forecast_frame", fail_later)
    with pytest.raises(DataError, match="No space left"):
        predict_parquet(model, source, out, horizon=4, rows_at_once=60, overwrite=True)
    assert out.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model",
        "out.parquet",
        "rows.parquet",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"horizon": 0}, "horizon=0"),
        ({"quantile_levels": (0.9, 0.1)}, "quantile_levels="),
        ({"as_of": "soon"}, "as_of='soon' is no date"),
        ({"bad_items": "skip"}, "bad_items='skip'"),
        ({"out": "out.csv"}, "is no place"),
        ({"out": "nowhere/out.parquet"}, "is no place"),
        ({"out": "rows.parquet"}, "the file exists"),
        ({"source": "none.parquet"}, "does not exist"),
        ({"source": "text.parquet"}, "cannot be read"),
        ({"source": "empty.parquet"}, "no rows"),
        ({"source": "narrow.parquet"}, "columns a, b are missing"),
        ({"source": "unnamed.parquet"}, "item_id is empty in 3 rows"),
        ({"model": "none"}, "no model at"),
    ],
)
def test_bad_arguments_are_told(model, tmp_path, monkeypatch, changes, told):
    monkeypatch.chdir(tmp_path)
    frame = walks(bars=60)
    written(frame, "rows.parquet")
    written(frame.iloc[:0], "empty.parquet")
    written(frame[["item_id", "timestamp"]], "narrow.parquet")
    unnamed = frame.assign(item_id=frame["item_id"].where(frame.index > 2))
    written(unnamed, "unnamed.parquet")
    (tmp_path / "text.parquet").write_text("x")
    given = {"model": model, "source": "rows.parquet", "out": "out.parquet", "horizon": 4} | changes
    with pytest.raises(UserError, match=told):
        predict_parquet(**given)
    assert not (tmp_path / "out.parquet").exists()


def test_the_command_says_what_it_did_and_what_is_wrong(model, tmp_path, capsys):
    source = str(written(walks(bars=60), tmp_path / "rows.parquet"))
    out = str(tmp_path / "out.parquet")
    assert main([model, source, out, "--horizon", "3", "--quantile-levels", "0.1,0.5"]) == 0
    assert "2 items, 12 rows in" in capsys.readouterr().out
    assert {"q0.1", "q0.5"} <= set(of_file(out).columns)
    assert main([model, source, out, "--horizon", "3"]) == 2
    assert "error: the file exists" in capsys.readouterr().err
    assert main([model, source, out, "--horizon", "3", "--quantile-levels", "x"]) == 2


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("uri", "told"),
    [("models:/nobody@champion", "there is no model"), ("models:/m-000", "there is no model")],
)
def test_a_model_that_is_not_registered_is_one_line(tmp_path, capsys, uri, told):
    source = str(written(walks(bars=60), tmp_path / "rows.parquet"))
    assert main([uri, source, str(tmp_path / "out.parquet"), "--horizon", "3"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert told in error


def test_a_version_whose_files_are_gone_or_incomplete_is_one_line(client, model, tmp_path, capsys):
    with MlflowRun.start("trial", entry_point="pretrain") as run:
        logged = log_model(run, model, name="m", register_as="walks", input_example=walks(bars=60))
    files = client.get_logged_model(logged.model_id).artifact_location.removeprefix("file://")
    source = str(written(walks(bars=60), tmp_path / "rows.parquet"))

    def told(uri):
        registry._fetch.cache_clear()
        assert main([uri, source, str(tmp_path / "out.parquet"), "--horizon", "3"]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "versions of walks: 1" in told("models:/walks@champion").lower()
    next(Path(files).glob("artifacts/*/preparation.json")).unlink()
    assert "no preparation.json" in told("models:/walks/1")
    shutil.rmtree(Path(files) / "artifacts")
    assert "holds no forecaster" in told("models:/walks/1")
    shutil.rmtree(files)
    assert "is gone" in told("models:/walks/1")
    assert not (tmp_path / "out.parquet").exists()


def test_features_among_items_need_all_items_at_once():
    from tsfm.data.ohlcv.feature_preparation import FeaturePreparation

    assert batch_prediction._needs_all_items(FeaturePreparation())
    assert not batch_prediction._needs_all_items(PREPARATION)
