"""Named data sets from small copies of their original layouts."""

import pandas as pd
import pytest

from tsfm.data.glucose.cgm import glucose_panel
from tsfm.data.glucose.cgm_config import CgmConfig
from tsfm.data.glucose.loaders import LOADERS, load
from tsfm.errors import ConfigError, DataError

CLOCKS = pd.date_range("2019-05-01 23:00", periods=40, freq="5min")


@pytest.fixture
def folder(home, monkeypatch):
    monkeypatch.setenv("TSFM_CACHE", str(home / "cache"))
    return home / "original"


def write(folder, name, columns, sep="|"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_csv(path, sep=sep, index=False)


def glucose(n=40):
    return [100 + k for k in range(n)]


def test_lynch_2022(folder):
    write(folder, "IOBP2 RCT Public Dataset/Data Tables/IOBP2DeviceiLet.txt", {
        "PtID": 7, "DeviceDtTm": CLOCKS.strftime("%m/%d/%Y %I:%M:%S %p"), "CGMVal": glucose(),
        "BasalDelivPrev": 0.1, "BolusDelivPrev": 0.2, "MealBolusDelivPrev": 1.0,
    })  # fmt: skip
    frame = load("lynch_2022", folder)["7"]
    assert frame["glucose_mg_dl"].to_list() == glucose()
    assert frame["dose_units"][0] == pytest.approx(1.2)
    assert frame["basal_rate"][0] == pytest.approx(1.2)


def test_aleppo_2017_counts_days_and_leaves_calibrations_out(folder):
    write(folder, "Data Tables/HDeviceCGM.txt", {
        "RecID": range(40), "PtID": 3, "DeviceDtTmDaysFromEnroll": [-1] * 12 + [0] * 28,
        "DeviceTm": CLOCKS.strftime("%H:%M:%S"), "GlucoseValue": ["High", *glucose()[1:]],
        "RecordType": ["CGM"] * 39 + ["Calibration"],
    })  # fmt: skip
    write(folder, "Data Tables/HDeviceWizard.txt", {
        "PtID": [3], "DeviceDtTmDaysFromEnroll": [0], "DeviceTm": ["00:10:30"], "CarbInput": [45],
    })  # fmt: skip
    panel, _ = glucose_panel(f"aleppo_2017:{folder}", CgmConfig())
    assert panel.item_ids == ("3",)
    assert panel.lengths.tolist() == [39]
    assert panel.series(0).target[0, 0] == 401
    assert panel.info.past_covariates == ("carbohydrates", "cob")


def test_brown_2019_and_tamborlane_2008(folder):
    stamps = CLOCKS.strftime("%Y-%m-%d %H:%M:%S")
    write(folder, "Data Files/cgm.txt", {"PtID": 1, "DataDtTm": stamps, "CGM": glucose()})
    assert set(load("brown_2019", folder)) == {"1"}
    for part in ("Blind_Baseline", "Unblinded_ControlGroup_1"):
        write(folder, f"DataTables/tblADataRTCGM_{part}.csv",
              {"RecID": range(40), "PtID": part, "DeviceDtTm": stamps, "Glucose": glucose()},
              sep=",")  # fmt: skip
    assert set(load("tamborlane_2008", folder)) == {"Blind_Baseline", "Unblinded_ControlGroup_1"}


def test_brist1d_is_kept_and_read_again_when_it_changes(folder, monkeypatch):
    rows = {"id": [f"p01_{k}" for k in range(40)], "p_num": "p01",
            "time": CLOCKS.strftime("%H:%M:%S"), "bg-0:00": [5 + k / 50 for k in range(40)],
            "insulin-0:00": 0.1, "bg+1:00": 9.0}  # fmt: skip
    write(folder, "train.csv", rows, sep=",")
    first = load("brist1d", folder)["p01"]
    assert first["bg_mM"][1] == pytest.approx(5.02)
    with monkeypatch.context() as patch:
        patch.setattr("tsfm.data.glucose.loaders._read", lambda *_: pytest.fail("read again"))
        assert load("brist1d", folder)["p01"].equals(first)
    write(folder, "train.csv", rows | {"p_num": "p022"}, sep=",")
    assert set(load("brist1d", folder)) == {"p022"}


@pytest.mark.parametrize("name", LOADERS)
def test_missing_files_are_named(folder, name):
    with pytest.raises(DataError, match=r"train\.csv|\.txt|RTCGM"):
        load(name, folder)
    folder.mkdir()
    with pytest.raises(DataError, match=r"(train\.csv|\.txt|RTCGM\S*) is missing"):
        load(name, folder)


def test_foreign_files_and_names_are_refused(folder):
    write(folder, "cgm.txt", {"who": [1], "what": [2]})
    with pytest.raises(DataError, match="columns PtID, DataDtTm, CGM are missing"):
        load("brown_2019", folder)
    with pytest.raises(ConfigError, match="hall_2018"):
        load("hall_2018", folder)
