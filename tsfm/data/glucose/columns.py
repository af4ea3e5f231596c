"""Which column means what: guessed from names, shown, and overridden by the user."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tsfm.errors import ConfigError, DataError

ITEM, TIME, DATE, CLOCK, GLUCOSE = "item_id", "timestamp", "date", "time", "glucose"
INSULIN, CARBOHYDRATES, BASAL = "insulin", "carbohydrates", "basal_rate"
IOB, COB = "iob", "cob"

SYNONYMS: dict[str, tuple[str, ...]] = {
    ITEM: (
        "itemid", "pnum", "patientid", "patient", "subjectid", "subject", "ptid", "participantid",
        "participant", "personid", "person", "deidentid", "userid", "id",
    ),
    TIME: (
        "timestamp", "datetime", "dateandtime", "devicetimestamp", "devicedttm", "datadttm",
        "localtime", "eventdatetime", "ts", "datestring", "createdat", "ds", "time", "date",
    ),
    GLUCOSE: (
        "bgmm", "bg", "bgmmol", "bgmgdl", "glucose", "glucosevaluemgdl", "glucosevalue",
        "glucosevaluemmoll", "glucosemgdl", "glucosemmoll", "glucosemmol", "glucoselevel",
        "bloodglucose", "bloodglucosemgdl", "bloodglucosemmoll", "cgm", "cgmmgdl", "cgmmmoll",
        "cgmvalue", "cgmval", "cbg", "sgv", "sensorglucose", "sensorglucosemgdl",
        "sensorglucosemmoll", "historicglucosemgdl", "historicglucosemmoll", "gl", "egv", "y",
    ),
    INSULIN: (
        "doseunits", "dose", "insulin", "insulinunits", "bolus", "bolusunits", "bolusamount",
        "bolusvolumedelivered", "insulindose", "normal", "insulinbolus",
    ),
    CARBOHYDRATES: (
        "carbs", "carbohydrates", "carb", "foodg", "carbsg", "carbgrams", "carbinput", "carbsize",
        "carbohydratesgrams", "mealcarbs", "carbohydrateg", "cho",
    ),
    BASAL: ("basalrate", "basal", "basalunits", "rate", "commandedbasalrate"),
    IOB: ("iob", "insulinonboard"),
    COB: ("cob", "carbsonboard"),
}  # fmt: skip
"""Names without case, blanks and signs; of item and time the first that is found counts."""

_PREFERRED = frozenset({ITEM, TIME})
_OTHERS: dict[str, tuple[str, ...]] = {
    "heart_rate": ("hr", "heartrate", "hrmean", "bpm"),
    "steps": ("steps", "stepcount"),
    "calories": ("cals", "calories", "kcal"),
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The meaning of a table's columns.

    Attributes
    ----------
    roles
        Column by role: ``timestamp`` (or ``date`` and ``time``), ``glucose``, and where there are
        any ``item_id``, ``insulin`` (U), ``carbohydrates`` (g), ``basal_rate`` (U/h), ``iob``
        (U), ``cob`` (g) and covariates under names of their own.
    unused
        Columns without a role.
    """

    roles: Mapping[str, str]
    unused: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        shown = ", ".join(f"{role} ← {column}" for role, column in self.roles.items())
        return shown + (f"; unused: {', '.join(self.unused)}" if self.unused else "")

    @property
    def covariates(self) -> tuple[str, ...]:
        """Roles that hold numbers beside glucose."""
        keys = {ITEM, TIME, DATE, CLOCK, GLUCOSE}
        return tuple(role for role in self.roles if role not in keys)


def guess_columns(
    names: Sequence[str],
    given: Mapping[str, str] | None = None,
    *,
    where: str,
    row_ids: Collection[str] = (),
) -> Columns:
    """The meaning of columns by their names.

    Parameters
    ----------
    given
        Column by role, for what cannot be guessed or is guessed wrongly; an empty name takes a
        role away. A role that is not known makes the column a covariate of that name.
    row_ids
        Columns that number rows: never taken for people.

    Raises
    ------
    ConfigError
        When a column named in ``given`` does not exist.
    DataError
        When there is no column of times or of glucose, or two columns could be one.
    """
    given = dict(given or {})
    absent = sorted({column for column in given.values() if column and column not in names})
    if absent:
        raise ConfigError(
            f"columns {', '.join(absent)} do not exist",
            where=where,
            remedy=f"choose from {', '.join(names)}",
        )
    roles = {role: column for role, column in given.items() if column}
    plain = {name: _plain(name) for name in names if name not in roles.values()}
    if TIME not in given and {"date", "time"} <= set(plain.values()) and not _whole_time(plain):
        for role in (DATE, CLOCK):
            roles[role] = next(name for name, key in plain.items() if key == role)
            del plain[roles[role]]
    for role, synonyms in (SYNONYMS | _OTHERS).items():
        if role in given or (role == TIME and CLOCK in roles):
            continue
        found = _found(role, synonyms, plain, row_ids, where)
        if found is not None:
            roles[role] = found
            del plain[found]
    for role, known in ((TIME, TIME in roles or CLOCK in roles), (GLUCOSE, GLUCOSE in roles)):
        if not known:
            raise DataError(
                f"no column is known as {role}",
                where=where,
                remedy=f"give columns={{'{role}': '…'}}, one of {', '.join(names)}",
            )
    return Columns(roles=roles, unused=tuple(name for name in names if name not in roles.values()))


def _whole_time(plain: Mapping[str, str]) -> bool:
    return any(key in SYNONYMS[TIME][:-2] for key in plain.values())


def _found(
    role: str,
    synonyms: Sequence[str],
    plain: Mapping[str, str],
    row_ids: Collection[str],
    where: str,
) -> str | None:
    usable = {name: key for name, key in plain.items() if role != ITEM or name not in row_ids}
    matches = [name for synonym in synonyms for name, key in usable.items() if key == synonym]
    if len(matches) > 1 and role not in _PREFERRED:
        raise DataError(
            f"columns {', '.join(matches)} could all be {role}",
            where=where,
            remedy=f"choose one: columns={{'{role}': '{matches[0]}'}}",
        )
    return matches[0] if matches else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
