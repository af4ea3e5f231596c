"""Expressions give what Python gives, and nothing but arithmetic is evaluated."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.expressions import Expression
from tsfm.errors import ConfigError

VALUES = {"a": 7, "b": 2.5, "model.d_model": 64, "name": "lora", "sizes": [8, 16]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + 2 * b", 12.0),
        ("-a // 2 % 3", 2),
        ("model.d_model % a == 1", True),
        ("name == 'lora' and not a < 3", True),
        ("name in ['full', 'lora'] or b", True),
        ("1 < b <= a", True),
        ("ceil(a / b) + max(1, a, 3) - len(sizes) - min(sizes)", 0),
        ("log2(model.d_model) ** 2", 36.0),
    ],
)
def test_it_is_python_arithmetic(text, value):
    assert Expression(text, where="here").value(VALUES) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "(lambda: 1)()", "a.__class__()", "open('x')", "[x for x in sizes]",
        "sizes[0]", "f'{a}'", "a if b else 1", "max(a, key=b)", "a; b", "a =", "b'x'", "a @ b",
    ],
)  # fmt: skip
def test_nothing_else_is_evaluated(text):
    with pytest.raises(ConfigError, match="here"):
        Expression(text, where="here").value(VALUES)


@pytest.mark.parametrize("text", ["missing > 1", "a / 0", "name + 1", "2 ** 1000", "sqrt(0 - a)"])
def test_what_cannot_be_computed_is_told(text):
    with pytest.raises(ConfigError, match="here"):
        Expression(text, where="here").value(VALUES)


def test_names():
    assert Expression("a < model.d_model", where="").names == {"a", "model.d_model"}


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_violation_is_positive_where_it_does_not_hold_and_as_large_as_the_gap(a, b):
    for text in ("a <= b", "a < b", "a == b", "a >= b and a != b", "a > b or a < b - 1"):
        expression = Expression(text, where="")
        size = expression.violation({"a": a, "b": b})
        assert (size > 0) != expression.holds({"a": a, "b": b})
    if a > b:
        gap = Expression("a <= b", where="").violation({"a": a, "b": b})
        assert math.isclose(gap, a - b)
