"""No held-out family reaches training, whatever the seed, the share and the pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm.data.dynamics.families import (
    families,
    family_of,
    held_out_families,
    is_held_out,
    split_by_family,
)
from tsfm.data.dynamics.systems import system_names
from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import ConfigError, DataError

SHARES = st.sampled_from([0.1, 0.2, 0.3, 0.5])


def panel_of(*members: tuple[str, ...], provenance: dict | None = None) -> Panel:
    """A panel of tiny items of these systems and pairs."""
    info = PanelInfo(name="dynamics", variates=("x0",), provenance=provenance or {})
    target = np.zeros((1, 4), np.float32)
    return Panel.from_series(
        (
            Series(item_id=f"{k}", target=target, static={"members": ",".join(names)})
            for k, names in enumerate(members)
        ),
        info,
    )


def members(view: Panel | None) -> set[str]:
    return {
        name
        for series in (view if view is not None else ())
        for name in str(series.static["members"]).split(",")
    }


# --- the file -------------------------------------------------------------------------------------


def test_every_system_is_in_one_family():
    listed = [system for systems in families().values() for system in systems]
    assert sorted(listed) == sorted(system_names())


@pytest.mark.parametrize(
    "relatives",
    [
        ("Lorenz", "LorenzBounded", "LorenzCoupled", "HyperLorenz", "LorenzStenflo"),
        ("Chen", "LuChen", "HyperLu", "RayleighBenard"),
        ("Rossler", "HyperRossler"),
        tuple(name for name in system_names() if name.startswith("Sprott")),
        ("SprottA", "NoseHoover"),
        ("Hadley", "Lorenz84"),
        ("Arneodo", "Coullet"),
        ("Chua", "MultiChua"),
        ("Qi", "HyperQi"),
        ("DequanLi", "PanXuZhou", "Tsucs2"),
        ("Sakarya", "LiuChen"),
        ("CaTwoPlus", "CaTwoPlusQuasiperiodic"),
    ],
)
def test_relatives_are_of_one_family(relatives: tuple[str, ...]):
    assert len(set(map(family_of, relatives))) == 1


def test_systems_with_the_same_equations_are_of_one_family():
    """Those of dysts whose right-hand sides read alike, parameter names aside."""
    import ast

    from tsfm.data.dynamics import systems

    by_text: dict[str, set[str]] = {}
    for name in system_names():
        method = systems._method(name, "_rhs")
        if method is not None:
            text = ast.unparse(ast.Module(method.body, []))
            by_text.setdefault(text, set()).add(name)
    alike = [names for names in by_text.values() if len(names) > 1]
    assert len(alike) >= 5
    for names in alike:
        assert len(set(map(family_of, names))) == 1, names


def test_a_system_that_the_file_lacks_is_a_family_by_itself():
    assert family_of("MyOwn") == "MyOwn"


# --- what is held out -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_thirty_per_cent_of_the_systems_are_held_out_in_several_families(seed: int):
    held_out = held_out_families(0.3, seed)
    sizes = [len(families()[name]) for name in held_out]
    assert sum(sizes) == round(0.3 * len(system_names()))
    assert max(sizes) <= sum(sizes) / 2
    assert held_out == held_out_families(0.3, seed)


def test_the_seed_decides():
    assert len({held_out_families(0.3, seed) for seed in range(10)}) == 10
    assert held_out_families(0.0, 0) == frozenset()


@pytest.mark.parametrize(("share", "seed"), [(1.0, 0), (-0.1, 0), (0.3, -1)])
def test_bad_shares_and_seeds_are_told(share: float, seed: int):
    with pytest.raises(ConfigError, match="held_out="):
        held_out_families(share, seed)


# --- the split ------------------------------------------------------------------------------------


@given(
    pairs=st.lists(st.tuples(*[st.sampled_from(system_names())] * 2), max_size=30),
    share=SHARES,
    seed=st.integers(0, 50),
)
def test_no_held_out_family_reaches_training_through_a_skew_product_either(pairs, share, seed):
    singles = [(name,) for name in system_names()]
    split = split_by_family(panel_of(*singles, *pairs), share, seed)
    apart = held_out_families(share, seed)
    assert not {family_of(name) for name in members(split.train)} & apart
    assert {family_of(name) for name in members(split.held_out_systems)} == apart
    for series in split.held_out_skew or ():
        assert is_held_out(str(series.static["members"]).split(","), apart)
    sizes = [len(view) for view in split if view is not None]
    assert sum(sizes) == len(singles) + len(pairs)


def test_a_panel_splits_by_the_families_it_was_made_with():
    provenance = {"held_out_families": ["rossler"]}
    panel = panel_of(("Lorenz",), ("Rossler",), ("Lorenz", "HyperRossler"), provenance=provenance)
    split = split_by_family(panel)
    assert [view.item_ids for view in split] == [("0",), ("1",), ("2",)]
    other = split_by_family(panel, 0.0, 0)
    assert (len(other.train), other.held_out_systems, other.held_out_skew) == (3, None, None)


def test_nothing_to_train_on_is_told():
    panel = panel_of(("Rossler",), provenance={"held_out_families": ["rossler"]})
    with pytest.raises(DataError, match=r"held-out family.*rossler"):
        split_by_family(panel)


def test_a_panel_of_something_else_is_refused():
    info = PanelInfo(name="prices", variates=("x0",))
    panel = Panel.from_series([Series(item_id="A", target=np.zeros((1, 4)))], info)
    with pytest.raises(DataError, match="panel prices, item 'A'"):
        split_by_family(panel)
