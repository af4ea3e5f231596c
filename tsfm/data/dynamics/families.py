"""Families of systems, and the split that keeps whole families out of training.

A panel's items carry their systems in ``static["members"]`` (a skew product has two), so that the
split needs no look at names. Families are in ``families.yaml``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

PROVENANCE = "held_out_families"
"""Where a panel's provenance names the families that its making left for tests."""

_DRAW = 10
"""Chosen so that the textbook systems of Lorenz and Rössler are trained on at seed 0."""


class FamilySplit(NamedTuple):
    """Views of one panel; None where no item belongs there.

    Attributes
    ----------
    train
        Systems of training families and skew products of such systems only.
    held_out_systems
        Systems of held-out families.
    held_out_skew
        Skew products with at least one member of a held-out family.
    """

    train: Panel
    held_out_systems: Panel | None
    held_out_skew: Panel | None


@lru_cache(maxsize=1)
def families() -> Mapping[str, tuple[str, ...]]:
    """Systems by family, both in alphabetical order."""
    import yaml

    text = resources.files("tsfm.data.dynamics").joinpath("families.yaml").read_text("utf-8")
    table = yaml.safe_load(text)
    return MappingProxyType({name: tuple(sorted(table[name])) for name in sorted(table)})


@lru_cache(maxsize=1)
def _family_by_system() -> Mapping[str, str]:
    return {system: family for family, systems in families().items() for system in systems}


def family_of(system: str) -> str:
    """The family of a system; one that the file does not know is a family by itself."""
    return _family_by_system().get(system, system)


@lru_cache(maxsize=64)
def held_out_families(share: float = 0.3, seed: int = 0) -> frozenset[str]:
    """Families that hold ``share`` of all systems, drawn by ``seed``.

    Drawn from the whole catalogue, whatever systems a panel is made of: panels and streams of one
    seed hold out the same families. Families are taken in random order as long as they fit; one
    that would be more than half of what is held out stays in training, so that several are tested.

    Raises
    ------
    ConfigError
        When the share is not from 0 to below 1, or the seed is negative.
    """
    if not 0 <= share < 1 or seed < 0:
        raise ConfigError(
            f"held_out={share}, seed={seed}",
            remedy="give a share from 0 to below 1 and a seed from 0",
        )
    table = families()
    room = round(share * sum(map(len, table.values())))
    largest = room / 2
    names = list(table)
    chosen = set()
    for place in np.random.default_rng([seed, _DRAW]).permutation(len(names)):
        size = len(table[names[place]])
        if size <= min(room, largest):
            chosen.add(names[place])
            room -= size
    return frozenset(chosen)


def is_held_out(members: Iterable[str], held_out: Iterable[str]) -> bool:
    """Whether any of these systems is of a held-out family."""
    return not {family_of(member) for member in members}.isdisjoint(held_out)


def members_of(static: Mapping[str, float | str], where: str = "") -> tuple[str, ...]:
    """The systems in an item: itself, or driver and response.

    Raises
    ------
    DataError
        When the item is not one of an ensemble.
    """
    members = str(static.get("members", ""))
    if not members:
        raise DataError(
            "the item does not say which systems it is of",
            where=where or None,
            remedy="give a panel that simulate_ensemble or read_layout made",
        )
    return tuple(members.split(","))


def split_by_family(
    panel: Panel, held_out: float | None = None, seed: int | None = None
) -> FamilySplit:
    """Views of a panel without and with the held-out families.

    Parameters
    ----------
    held_out
        Share of all systems that is held out; by default the families that the panel itself says
        it was made with.
    seed
        Draws the families; by default 0.

    Raises
    ------
    DataError
        When an item does not say which systems it is of, or nothing is left to train on.
    """
    stored = panel.info.provenance.get(PROVENANCE)
    if held_out is None and seed is None and stored is not None:
        apart = frozenset(stored)
    else:
        apart = held_out_families(0.3 if held_out is None else held_out, seed or 0)
    groups: dict[str, list[str]] = {"train": [], "systems": [], "skew": []}
    for series in panel:
        members = members_of(series.static, f"panel {panel.info.name}, item {series.item_id!r}")
        group = ("systems", "skew")[len(members) > 1] if is_held_out(members, apart) else "train"
        groups[group].append(series.item_id)
    if not groups["train"]:
        raise DataError(
            f"every item has a system of a held-out family ({json.dumps(sorted(apart))})",
            where=f"panel {panel.info.name}",
            remedy="simulate more systems, or hold out a smaller share",
        )
    systems, skew = (
        panel.select(groups[name]) if groups[name] else None for name in ("systems", "skew")
    )
    return FamilySplit(panel.select(groups["train"]), systems, skew)
