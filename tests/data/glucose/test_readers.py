"""Readers of each format, on files written here in their layouts."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
from support.readings import person

from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.readers import detect_format, read_source
from tsfm.errors import ConfigError, DataError

CONFIG = CgmConfig(min_readings=2)


def only(source, config=CONFIG):
    people = read_source(source, config)
    assert len(people) == 1
    return next(iter(people.values()))


def test_a_users_csv_is_understood(tmp_path):
    table = person(50, p_num="patient_01", cob=1.5, iob=0.5, dose_units=0.0, note="x")
    table.rename(columns={"glucose_mg_dl": "bg"}).to_csv(tmp_path / "mine.csv", index=False)
    one = only(tmp_path / "mine.csv")
    assert one.item_id == "patient_01"
    assert set(one.frame.columns) == {"timestamp", "glucose", "cob", "iob", "insulin"}
    assert "glucose ← bg" in one.facts["columns"]
    assert "unused: note" in one.facts["columns"]


def test_semicolons_decimal_commas_and_split_dates(tmp_path):
    text = "date;time;Glucose (mmol/L);id\n31.12.2023;23:55;5,4;1\n01.01.2024;00:00;5,6;2\n"
    (tmp_path / "eu.csv").write_text(text, encoding="utf-16")
    one = only(tmp_path / "eu.csv", CgmConfig(columns={"glucose": "Glucose (mmol/L)"}))
    assert one.item_id == "eu"
    assert one.frame["glucose"].to_list() == [5.4, 5.6]
    assert str(one.frame["timestamp"][1]) == "2024-01-01 00:00:00"


def test_parquet_and_folders_name_people(tmp_path):
    (tmp_path / "a").mkdir()
    person(30).to_parquet(tmp_path / "a" / "p1.parquet")
    person(30, seed=1).to_csv(tmp_path / "p2.csv", index=False)
    assert set(read_source(tmp_path, CONFIG)) == {"a/p1", "p2"}


@pytest.mark.parametrize("kind", ["pandas", "polars", "index"])
def test_frames_and_dicts_of_them(kind):
    both = {"a": person(30), "b": person(30, seed=1)}
    if kind == "polars":
        both = {key: pl.from_pandas(frame) for key, frame in both.items()}
    if kind == "index":
        both = {key: frame.set_index("datetime") for key, frame in both.items()}
    assert {k: len(v.frame) for k, v in read_source(both, CONFIG).items()} == {"a": 30, "b": 30}


def test_what_cannot_be_guessed_is_asked_for(tmp_path):
    frame = person(30).rename(columns={"glucose_mg_dl": "zucker"})
    with pytest.raises(DataError, match=r"no column is known as glucose.*zucker"):
        only(frame)
    assert len(only(frame, CgmConfig(columns={"glucose": "zucker"})).frame) == 30
    with pytest.raises(ConfigError, match="sugar"):
        only(frame, CgmConfig(columns={"glucose": "sugar"}))
    with pytest.raises(DataError, match="could all be glucose"):
        only(person(30).assign(bg=100.0))
    with pytest.raises(DataError, match="does not exist"):
        only(tmp_path / "none.csv")


OHIO = """<?xml version="1.0"?><patient id="559" weight="99" insulin_type="Novalog">
<glucose_level><event ts="{day} 01:17:00" value="101"/><event ts="{day} 01:22:00" value="98"/>
</glucose_level><finger_stick><event ts="{day} 01:20:00" value="140"/></finger_stick>
<basal><event ts="{day} 00:00:00" value="0.7"/></basal>
<temp_basal><event ts_begin="{day} 02:00:00" ts_end="{day} 03:00:00" value="0.1"/></temp_basal>
<bolus><event ts_begin="{day} 01:18:00" ts_end="{day} 01:18:00" type="normal" dose="6.5"/></bolus>
<meal><event ts="{day} 01:16:00" type="Lunch" carbs="45"/></meal></patient>"""


def test_ohio_joins_training_and_testing(tmp_path):
    (tmp_path / "559-ws-training.xml").write_text(OHIO.format(day="07-12-2021"))
    (tmp_path / "559-ws-testing.xml").write_text(OHIO.format(day="08-12-2021"))
    one = only(tmp_path)
    assert (one.item_id, one.units) == ("559", "mg/dL")
    assert sorted(one.frame["glucose"].drop_nulls()) == [98, 98, 101, 101]
    assert one.frame["insulin"].sum() == 13
    assert one.frame["carbohydrates"].sum() == 90
    basal = one.frame.select("timestamp", "basal_rate").drop_nulls().sort("timestamp")
    assert basal["basal_rate"].to_list() == [0.7, 0.1, 0.7] * 2


def test_broken_xml_is_named(tmp_path):
    (tmp_path / "x.xml").write_text("<patient id='1'><glucose")
    with pytest.raises(DataError, match=r"cannot be read.*x\.xml"):
        only(tmp_path)


DEXCOM = """Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Patient Info,\
Glucose Value (mg/dL),Insulin Value (u),Carb Value (grams)
1,,FirstName,,Ada,,,
2,2024-03-01T00:04:12,EGV,,,Low,,
3,2024-03-01T00:09:12,EGV,,,112,,
4,2024-03-01T00:10:00,Insulin,Fast-Acting,,,4.5,
5,2024-03-01T00:11:00,Insulin,Long-Acting,,,20,
6,2024-03-01T00:12:00,Carbs,,,,,30
7,2024-03-01T00:13:00,Calibration,,,118,,
"""


def test_dexcom_clarity(tmp_path):
    (tmp_path / "clarity.csv").write_text(DEXCOM, encoding="utf-8-sig")
    assert detect_format(tmp_path / "clarity.csv") == "dexcom"
    one = only(tmp_path / "clarity.csv")
    assert one.frame["glucose"].drop_nulls().to_list() == [-np.inf, 112]
    sums = {name: one.frame[name].sum() for name in one.frame.columns[2:]}
    assert sums == {"insulin": 4.5, "long_acting_insulin": 20, "carbohydrates": 30}
    assert "Ada" not in str(one)


LIBRE = """Glucose Data,Generated on,05-03-2024 10:00 UTC,Generated by,Ada
Device,Serial Number,Device Timestamp,Record Type,Historic Glucose mmol/L,Scan Glucose mmol/L,\
Rapid-Acting Insulin (units),Carbohydrates (grams),Long-Acting Insulin Value (units)
FreeStyle,1,25-02-2024 10:00,0,6.1,,,,
FreeStyle,1,25-02-2024 10:07,1,,6.4,,,
FreeStyle,1,25-02-2024 10:15,0,6.6,,,,
FreeStyle,1,25-02-2024 10:16,4,,,5,,
FreeStyle,1,25-02-2024 10:17,5,,,,40,
"""


def test_libreview(tmp_path):
    (tmp_path / "libre.csv").write_text(LIBRE)
    one = only(tmp_path / "libre.csv")
    assert one.units == "mmol/L"
    assert one.frame["glucose"].drop_nulls().to_list() == [6.1, 6.6]
    assert (one.frame["insulin"].sum(), one.frame["carbohydrates"].sum()) == (5, 40)
    assert str(one.frame["timestamp"][0]) == "2024-02-25 10:00:00"


def test_nightscout_joins_the_pages_of_a_folder(tmp_path):
    (tmp_path / "ada").mkdir()
    entries = [
        {"type": "sgv", "sgv": 120 + k, "date": 1709280000000 + 300_000 * k, "utcOffset": 60}
        for k in range(5)
    ]
    entries.append({"type": "sgv", "sgv": 5, "date": 1709290000000})
    doses = [
        {"eventType": "Meal Bolus", "created_at": "2024-03-01T08:02:00.000Z", "insulin": 3.5,
         "carbs": 40},
        {"eventType": "Note", "created_at": "2024-03-01T08:02:00.000Z"},
    ]  # fmt: skip
    (tmp_path / "ada" / "entries.json").write_text(json.dumps(entries[::-1]))
    (tmp_path / "ada" / "treatments.json").write_text(json.dumps(doses))
    one = only(tmp_path)
    assert (one.item_id, one.units, one.absolute) == ("ada", "mg/dL", True)
    assert sorted(one.frame["glucose"].drop_nulls()) == [120, 121, 122, 123, 124]
    assert one.frame["insulin"].sum() == 3.5
    assert one.offset_minutes == 60


def test_brist1d_counts_days_and_reads_nothing_ahead(tmp_path):
    rows = [
        (f"p01_{k}", "p01", stamp.strftime("%H:%M:%S"), 5 + k / 100, 0.1, None, 99.0)
        for k, stamp in enumerate(pd.date_range("2020-01-01 22:00", periods=60, freq="5min"))
    ]
    names = ["id", "p_num", "time", "bg-0:00", "insulin-0:00", "carbs-0:00", "bg+1:00"]
    frame = pd.DataFrame(rows, columns=names)
    frame.to_csv(tmp_path / "train.csv", index=False)
    one = only(tmp_path / "train.csv")
    assert (one.item_id, one.units) == ("p01", "mmol/L")
    steps = one.frame["timestamp"].diff().drop_nulls().unique().to_list()
    assert [step.total_seconds() for step in steps] == [300]
    assert one.frame["glucose"].max() < 6
    frame.drop(columns="bg+1:00").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(DataError, match=r"give train\.csv|Give train\.csv"):
        only(tmp_path / "test.csv")
