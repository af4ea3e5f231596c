"""Whether a run that was done again gave the same, and what around it is no longer the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose, isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from tsfm.errors import UserError
from tsfm.tracking import store
from tsfm.tracking.environment import Environment
from tsfm.tracking.lineage import PANEL_TAG
from tsfm.tracking.run_record import RunRecord

REPRODUCES_TAG, VERDICT_TAG = "reproduces", "reproduction"
NAMED = 6
OF_MACHINE = ("processor", "python", "cpus", "threads", "gpus")
"""What makes two machines of one type."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something around a run that is not as it was.

    Attributes
    ----------
    kind
        ``code``, ``packages``, ``machine`` or ``data``.
    """

    kind: str
    told: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.told}"


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """Recorded and reproduced results, side by side.

    Attributes
    ----------
    table
        ``part, metric, recorded, reproduced, difference, equal``.
    data
        Panels that differ.
    weights
        ``equal``, ``different`` or ``not compared``.
    """

    table: pd.DataFrame
    data: tuple[Difference, ...]
    weights: str

    @property
    def is_equal(self) -> bool:
        """Whether every metric agrees and the data were the same."""
        return bool(self.table["equal"].all()) and not self.data

    @property
    def differing(self) -> pd.DataFrame:
        return self.table[~self.table["equal"]]


def changes(record: RunRecord, now: Environment) -> list[Difference]:
    """What of code, packages, machine and stored panels is not as the run recorded it."""
    return [
        *_changed_code(record, now),
        *_changed_packages(record.packages, now.packages),
        *_changed_machine(record.environment.get("machine", {}), now.machine),
        *_changed_panels(record),
    ]


def rerun_commands(record: RunRecord) -> list[str]:
    """How to do the run again with the code it was done with; empty where that is unknown."""
    commit = record.code.get("commit")
    if not commit:
        return []
    folder = f"../at-{commit[:8]}"
    lines = [f"git worktree add {folder} {commit}"]
    if record.is_dirty:
        lines += [
            f"mlflow artifacts download -r {record.run_id} -a environment/uncommitted.patch -d .",
            f'git -C {folder} apply "$PWD/environment/uncommitted.patch"',
        ]
    uri = store.masked(record.client.tracking_uri)
    again = f"python -m experiments.reproduce run_id={record.run_id}"
    return [*lines, f"cd {folder} && MLFLOW_TRACKING_URI='{uri}' {again}"]


def compare_runs(old: RunRecord, new: RunRecord, *, tolerance: float) -> Reproduction:
    """Every result of two runs and of their parts.

    Parameters
    ----------
    tolerance
        Values agree within it, relative to the larger one, or absolutely where they are small.
    """
    rows = _rows("", old.results, new.results, tolerance)
    parts, others = old.parts(), new.parts()
    for name, part in parts.items():
        found = others[name].results if name in others else {}
        rows += _rows(name, part.results, found, tolerance)
    columns = ["part", "metric", "recorded", "reproduced", "difference", "equal"]
    before, after = (
        [one.weights() for one in (whole, *(found[name] for name in sorted(found)))]
        for whole, found in ((old, parts), (new, others))
    )
    return Reproduction(
        table=pd.DataFrame(rows, columns=columns),
        data=tuple(_other_inputs(old, new)),
        weights="not compared" if not any(before) else "equal" if before == after else "different",
    )


def _rows(
    part: str, old: Mapping[str, float], new: Mapping[str, float], tolerance: float
) -> list[dict[str, Any]]:
    rows = []
    for metric in dict.fromkeys([*old, *new]):
        a, b = old.get(metric, nan), new.get(metric, nan)
        both = metric in old and metric in new
        same = isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (isnan(a) and isnan(b))
        rows.append(
            {
                "part": part,
                "metric": metric,
                "recorded": a,
                "reproduced": b,
                "difference": b - a,
                "equal": both and same,
            }
        )
    return rows


def _changed_code(record: RunRecord, now: Environment) -> list[Difference]:
    code = record.code
    if not code:
        return [Difference(kind="code", told="the run recorded no commit")]
    same_sources = code.get("sources") == now.code.sources
    told = []
    if code.get("commit") != now.code.commit:
        told.append(f"commit {_short(code.get('commit'))}, now {_short(now.code.commit)}")
    if record.diff != now.code.diff:
        told.append("uncommitted changes differ" if record.is_dirty else "uncommitted changes now")
    if not told:
        return []
    alike = " (the package's sources are the same)" if same_sources else ""
    return [Difference(kind="code", told="; ".join(told) + alike)]


def _changed_packages(old: Mapping[str, str], new: Mapping[str, str]) -> list[Difference]:
    if not old:
        return [Difference(kind="packages", told="the run recorded no versions")]
    changed = [
        f"{name} {old.get(name, 'absent')} → {new.get(name, 'absent')}"
        for name in sorted({*old, *new}, key=str.lower)
        if old.get(name) != new.get(name)
    ]
    if not changed:
        return []
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return [Difference(kind="packages", told=", ".join(changed[:NAMED]) + more)]


def _changed_machine(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    changed = [
        f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}"
        for name in OF_MACHINE
        if old.get(name) != new.get(name) and not (name == "threads" and name not in old)
    ]
    return [Difference(kind="machine", told=", ".join(changed))] if changed else []


def _changed_panels(record: RunRecord) -> list[Difference]:
    """Panels on disk that hold something else by now, or are gone."""
    from tsfm.data.panel import Panel

    found = []
    for tag, value in record.tags.items():
        digest = tag.removeprefix(PANEL_TAG)
        name, _, place = value.partition(" ")
        if digest == tag or not place:
            continue
        try:
            held = Panel.open(Path(place)).fingerprint
        except UserError as error:
            found.append(Difference(kind="data", told=f"panel {name}: {error}"))
            continue
        if not held.startswith(digest):
            told = f"panel {name} at {place} has fingerprint {held}, then {digest}"
            found.append(Difference(kind="data", told=told))
    return found


def _other_inputs(old: RunRecord, new: RunRecord) -> list[Difference]:
    before, after = ({(i.role, i.name, i.digest) for i in r.inputs} for r in (old, new))
    return [
        Difference(kind="data", told=f"{role} panel {name} {digest} was {what}")
        for what, keys in (("not seen again", before - after), ("not seen then", after - before))
        for role, name, digest in sorted(keys)
    ]


def _short(commit: str | None) -> str:
    return commit[:8] if commit else "unknown"
