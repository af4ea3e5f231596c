"""Spaces: what may be written, what is drawn, what is refused."""

from __future__ import annotations

import itertools

import pytest
from support.sweeps import SPACE

from sweeps.parameters import SearchParameter
from sweeps.space import Space, scope
from sweeps.subject import EXPERIMENTS, Subject
from tsfm.errors import ConfigError

CONDITIONAL = {
    "parameters": {
        "mode": ["lora", "full"],
        "rank": {"low": 1, "high": 4, "when": "mode == 'lora'"},
        "width": [2, 4],
    },
    "constraints": {"rank": "mode == 'full' or rank <= width"},
}


def read(**values):
    return Space.read({**SPACE, **values}, where="here")


def test_what_is_described_is_read_again():
    space = read(**CONDITIONAL, fixed={"seed": 1}, pruner={"name": "asha", "min_resource": 2})
    again = Space.read(space.described(), where="there")
    assert again.described() == space.described()
    assert again.by_name["rank"].integer


def test_a_list_is_a_choice_and_whole_ends_are_whole_numbers():
    space = read(
        parameters={"a": ["x", "y"], "b": {"low": 1, "high": 3}, "c": {"low": 0.5, "high": 3}}
    )
    assert space.by_name["a"].choices == ("x", "y")
    assert space.by_name["b"].integer
    assert not space.by_name["c"].integer


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"parameters": {}}, "empty"),
        ({"parameters": {"x": {"low": 2, "high": 1}}}, "empty"),
        ({"parameters": {"x": {"low": 0, "high": 1, "log": True}}}, "above zero"),
        ({"parameters": {"x": {"low": "1e-3", "high": 1}}}, "not 1e-3"),
        ({"parameters": {"x": {"low": 1, "hihg": 2}}}, "hihg"),
        ({"parameters": {"x": 3}}, "fixed"),
        ({"parameters": {"x": [1, 1]}}, "twice"),
        ({"parameters": {"x": [[1], [2]]}}, "words or numbers"),
        ({"parameters": {"x": {"low": 1, "high": 2.5, "type": "int"}}}, "whole"),
        ({"parameters": {"x": {"choices": [1, 2], "when": "y > 0"}, "y": [1, 2]}}, "above"),
        ({"parameters": {"x": [1, 2]}, "fixed": {"x": 1}}, "both searched and fixed"),
        ({"enqueue": [{"x": 9.0}]}, "outside"),
        ({"enqueue": [{"z": 9.0}]}, "z"),
        ({"objectives": [{"metric": "a", "direction": "up"}]}, "up"),
        ({"objectives": ["a", "a"]}, "twice"),
        ({"parameter": {}}, "parameter"),
        ({"constraints": {"c": "x <"}}, "expression"),
        ({"sampler": {"n": 1}}, "name"),
        ({"constraints": ["x"]}, "list"),
    ],
)
def test_bad_spaces_are_told(values, told):
    with pytest.raises(ConfigError, match=told):
        read(**values)


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="pretrain"):
        Space.load("nowhere")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="no YAML"):
        Space.load(tmp_path / "bad.yaml")


def test_the_grid_is_every_allowed_point_once():
    space = read(**CONDITIONAL)
    expected = [
        {"mode": "lora", "rank": rank, "width": width}
        for rank, width in itertools.product((1, 2, 3, 4), (2, 4))
        if rank <= width
    ] + [{"mode": "full", "width": width} for width in (2, 4)]
    points = space.grid({"rank": 8})
    assert sorted(map(str, points)) == sorted(map(str, expected))


def test_a_grid_needs_steps():
    with pytest.raises(ConfigError, match="grid"):
        read().grid({})


def test_scope_knows_short_names_and_lists():
    values = scope({"model.d_model": 8, "sizes": "16,32"}, {"model.heads": 2, "sizes": "8,16"})
    assert (values["d_model"], values["heads"], values["sizes"]) == (8, 2, [8, 16])
    assert scope({"a.x": 1, "x": 2}, {})["x"] == 2


def test_values_outside_are_known():
    whole = SearchParameter.read("n", {"low": 1, "high": 4})
    assert [whole.contains(v) for v in (1, 4, 5, 2.5, "2", True)] == [True, True] + [False] * 4


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_our_spaces_are_of_their_experiments(name):
    subject, space = Subject(name), Space.load(name)
    subject.check(space, subject.base({}))
    base = subject.base(space.fixed)
    assert space.directions == ["minimize"]
    for point in space.enqueue:
        assert not space.violations(point, base)
        subject.config({**space.fixed, **point})


@pytest.mark.parametrize(
    ("name", "close"),
    [("lern", "lr"), ("mask_ration_min", "mask_ratio_min"), ("model.dmodel", "model.d_model")],
)
def test_unknown_parameters_are_told_with_the_closest(name, close):
    subject = Subject("pretrain")
    space = read(parameters={name: [1, 2]})
    with pytest.raises(ConfigError, match=f"no parameter '{name}'.*{close}|{name}") as told:
        subject.check(space, subject.base({}))
    assert close in str(told.value) or name == "lern"


def test_constraints_look_at_known_names_only():
    subject = Subject("rehearsal")
    space = read(constraints={"c": "x < hieght"})
    with pytest.raises(ConfigError, match=r"hieght.*constraints\.c"):
        subject.check(space, subject.base({}))


def test_a_command_trains_the_point():
    command = Subject("pretrain").command({"lr": 1e-3, "model.d_model": 128, "patch_sizes": "8,16"})
    assert command == (
        "mlflow run . -e pretrain -P lr=0.001 -P patch_sizes=8,16 -P overrides=model.d_model=128"
    )
