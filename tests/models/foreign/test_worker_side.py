"""The file that runs in the model's environment, by itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tsfm.models.foreign.process import SIDE
from tsfm.models.foreign.standalone.worker_side import HEAD, MAGIC, Request, pack, unpack

SHAPES = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)


def test_it_runs_on_python_3_9_with_pyarrow_and_numpy_alone() -> None:
    source = Path(SIDE).read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).partition(".")[0])
    assert names - sys.stdlib_module_names == {"numpy", "pyarrow"}
    annotated = [n.annotation for n in ast.walk(tree) if isinstance(n, ast.AnnAssign)]
    assert not any(isinstance(n, ast.BinOp) for a in annotated for n in ast.walk(a))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), text=st.lists(st.text(), min_size=1, max_size=3))
def test_messages_return_what_was_put_in(data: st.DataObject, text: list[str]) -> None:
    kinds = (np.float32, np.float64, np.int64, bool, "datetime64[ns]")
    columns: dict[str, object] = {"text": text}
    for number, kind in enumerate(kinds):
        shape = (len(text), *data.draw(SHAPES)[1:])
        columns[str(number)] = data.draw(arrays.arrays(kind, shape))
    message = pack("forecast", {"levels": [0.1, 0.5], "name": "µ"}, columns)
    magic, size = HEAD.unpack_from(message)
    assert (magic, size) == (MAGIC, len(message) - HEAD.size)
    header, found = unpack(message[HEAD.size :])
    assert header == {"protocol": 1, "kind": "forecast", "levels": [0.1, 0.5], "name": "µ"}
    assert list(found) == list(columns)
    assert found.pop("text") == text
    for name, values in found.items():
        assert values.dtype == np.asarray(columns[name]).dtype
        np.testing.assert_array_equal(values, columns[name])


def test_arrays_in_any_order_of_memory_are_packed_by_their_index() -> None:
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (values.transpose(2, 0, 1), values[:, ::-1], np.asfortranarray(values)):
        _, found = unpack(pack("x", {}, {"values": view})[HEAD.size :])
        np.testing.assert_array_equal(found["values"], view)


def test_a_message_without_arrays_is_only_its_header() -> None:
    header, columns = unpack(pack("ready", {"python": "3.9"})[HEAD.size :])
    assert (header["python"], columns) == ("3.9", {})


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ([[np.nan, 1, np.nan, 3]], [[1, 1, 3]]),
        ([[1, 2], [np.nan, 4]], [[1, 2], [4]]),
        ([[1, 2, np.nan]], [[1, 2, 2]]),
    ],
)
def test_series_have_neither_padding_nor_gaps(past: list, expected: list) -> None:
    values = np.array(past, np.float32)[..., None]
    header = {"horizon": 1, "quantile_levels": [0.5], "freq": None, "seasonality": 1, "seed": 0}
    header |= {"variate_names": ["x"], "past_covariate_names": []}
    columns = {"past": values, "observed": np.isfinite(values), "variates": None, "item_ids": []}
    for found, wanted in zip(Request(header, columns).series(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
