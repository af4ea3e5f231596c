"""Units of glucose: found, refused, converted."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.data.glucose.units import detect_units, from_mg_dl, named_units, read_numbers, to_mg_dl
from tsfm.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("column", "units"),
    [
        ("bg_mM", "mmol/L"),
        ("Glucose Value (mmol/L)", "mmol/L"),
        ("Historic Glucose mmol/L", "mmol/L"),
        ("glucose_value_mg_dl", "mg/dL"),
        ("Glucose Value (mg/dL)", "mg/dL"),
        ("bg", None),
        ("mmse", None),
    ],
)
def test_names_tell_units(column, units):
    assert named_units(column) == units


def test_values_tell_units():
    assert detect_units(np.array([4.2, 7.0, 11.1]), where="x") == "mmol/L"
    assert detect_units(np.array([70.0, 140.0, np.inf, np.nan]), where="x") == "mg/dL"


@pytest.mark.parametrize(
    ("values", "column", "message"),
    [
        ([30.0, 31.0, 32.0], "bg", "unclear"),
        ([0.2, 0.4, 0.9], "bg", "unclear"),
        ([120.0, 140.0, 160.0], "bg_mM", "said to be in mmol/L"),
        ([5.0, 6.0, 7.0], "glucose_mg_dl", "said to be in mg/dL"),
        ([5.0, 6.0, 7.0, 120.0, 130.0], "bg", "mixed"),
    ],
)
def test_unclear_units_are_refused(values, column, message):
    with pytest.raises(DataError, match=message):
        detect_units(np.array(values), where="file.csv", column=column)


def test_what_the_user_says_settles_what_is_unclear():
    assert detect_units(np.array([30.0, 31.0]), where="x", units="mg/dL") == "mg/dL"
    with pytest.raises(ConfigError, match=r"units='mg' is not known"):
        detect_units(np.array([30.0]), where="x", units="mg")


@given(st.floats(1, 40))
def test_conversion_is_18_016_and_comes_back(value):
    assert to_mg_dl(np.array([value]), "mmol/L")[0] == pytest.approx(value * 18.016)
    assert from_mg_dl(to_mg_dl(np.array([value]), "mmol/L"), "mmol/L")[0] == pytest.approx(value)


def test_cells_with_words_and_decimal_commas():
    cells = pl.Series(["101", " 5,4 ", "LOW", "High", "", "NaN", None, "sick", "inf"])
    numbers = read_numbers(cells)
    assert numbers.values.to_list() == [101, 5.4, -np.inf, np.inf, None, None, None, None, None]
    assert numbers.unreadable.to_list() == [False] * 7 + [True, True]
    assert numbers.example == "'sick' in row 7"


def test_infinities_are_no_readings():
    numbers = read_numbers(pl.Series([100.0, np.inf, -np.inf, np.nan, None]))
    assert numbers.values.to_list() == [100, None, None, None, None]
    assert numbers.unreadable.to_list() == [False, True, True, False, False]
