from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.tracking.parameters import LONGEST_VALUE, as_yaml, flatten

texts = st.text(st.characters(exclude_categories=["C", "Z"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
names = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1)
trees = st.recursive(leaves, lambda inner: st.dictionaries(names, inner), max_leaves=20)


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Config:
    size: tuple[int, ...] = (1, 2)
    where: Path = Path("/data")
    colour: Colour = Colour.RED
    rate: object = np.float64(0.5)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, trees))
def test_every_leaf_is_found_under_its_path(tree):
    flat = flatten(tree)

    def walk(values, prefix):
        for key, value in values.items():
            if isinstance(value, dict) and value:
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", str(value)

    assert flat == {key[-250:]: text[:LONGEST_VALUE] for key, text in walk(tree, "")}


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, trees))
def test_yaml_gives_the_configuration_back(tree):
    text, _ = as_yaml(tree)
    assert (yaml.safe_load(text) or {}) == tree


def test_dataclasses_become_plain_values():
    text, values = as_yaml(Config())
    assert values == {"size": [1, 2], "where": "/data", "colour": "red", "rate": 0.5}
    assert yaml.safe_load(text) == values


def test_omegaconf_is_resolved():
    from omegaconf import OmegaConf

    _, values = as_yaml(OmegaConf.create({"a": 1, "b": {"c": "${a}"}}))
    assert values == {"a": 1, "b": {"c": 1}}


def test_long_values_are_cut_visibly():
    (value,) = flatten({"x": "y" * 10_000}).values()
    assert len(value) == LONGEST_VALUE
    assert value.endswith("…")
