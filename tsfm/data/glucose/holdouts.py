"""Hold-outs: named, versioned files of the patients and times that nothing is trained on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from tsfm.data import frequency
from tsfm.data.locations import find
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.data.provenance import Provenance

FOLDER = "holdouts"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A panel divided by a hold-out.

    Attributes
    ----------
    train
        Patients that are not held out, before their times.
    later
        The same patients to the end, with their history; targets start at ``first_origin``.
        ``None`` where no time is held out.
    unseen
        Held-out patients, whole. ``None`` where the panel has none.
    first_origin
        When targets of ``later`` may start, by patient.
    """

    train: Panel
    later: Panel | None
    unseen: Panel | None
    first_origin: Mapping[str, pd.Timestamp]


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Patients and times held out of a data set.

    Attributes
    ----------
    name, version
        Kept in ``NAME-vVERSION.yaml``; one that is in use is never changed, but followed by
        another version.
    panel
        The panel's name.
    patients
        Held out altogether.
    times
        Of every other patient: held out from this moment on; ``None``: nothing is.
    """

    name: str
    version: int
    panel: str
    patients: tuple[str, ...] = ()
    times: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "patients", tuple(self.patients))
        if not _NAME.fullmatch(self.name) or self.version < 1:
            raise ConfigError(
                f"hold-out {self.name!r} version {self.version!r} has no name of a file",
                remedy="use letters, digits, - and _, and versions from 1 on",
            )
        both = sorted(set(self.patients) & set(self.times))
        if both:
            raise ConfigError(
                f"patients {', '.join(both)} are held out and have times", where=self.title
            )
        for moment in self.times.values():
            if moment is not None:
                frequency.moment(moment)

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name}-v{self.version}"

    @classmethod
    def make(
        cls,
        panel: Panel,
        *,
        name: str,
        version: int = 1,
        patient_share: float = 0.2,
        time_share: float = 0.2,
        seed: int = 0,
    ) -> Self:
        """Draw patients, and hold out the end of everybody else's time.

        Parameters
        ----------
        patient_share
            At least one patient, where it is positive.
        time_share
            Of each other patient's bars, at their end.
        seed
            Of the draw from the sorted ids: the order of the panel does not matter.

        Raises
        ------
        ConfigError
            When a share is not inside [0, 1).
        DataError
            When nobody would be left to train on.
        """
        if not (0 <= patient_share < 1 and 0 <= time_share < 1):
            raise ConfigError(f"shares {patient_share}, {time_share} lie outside [0, 1)")
        ids = np.array(sorted(panel.item_ids), dtype=object)
        count = max(round(patient_share * len(ids)), 1) if patient_share else 0
        if count >= len(ids):
            raise DataError(
                f"{count} of {len(ids)} patients held out leave nobody to train on",
                where=f"panel {panel.info.name}",
            )
        held = set(np.random.default_rng(seed).permutation(ids)[:count].tolist())
        times: dict[str, str | None] = {}
        for item, item_id in enumerate(panel.item_ids):
            if item_id in held:
                continue
            stamps = panel.timestamps(item)
            if stamps is None:
                raise DataError("the series has no dates", where=f"item {item_id!r}")
            first = max(round((1 - time_share) * len(stamps)), 1)
            times[item_id] = str(stamps[first].astype("M8[s]")) if first < len(stamps) else None
        return cls(
            name=name,
            version=version,
            panel=panel.info.name,
            patients=tuple(sorted(held)),
            times=dict(sorted(times.items())),
        )

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Read a file, or ``NAME-vVERSION`` from the folder ``holdouts`` here or in the data paths.

        Raises
        ------
        DataError
            When there is none, or it is not a hold-out.
        """
        import yaml

        candidates = [str(source), f"{FOLDER}/{source}.yaml"]
        path = next((path for name in candidates if (path := find(name)) is not None), None)
        if path is None or path.is_dir():
            raise DataError(
                f"hold-out {str(source)!r} does not exist",
                remedy=f"give a YAML file, or the name of one in ./{FOLDER}",
            )
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            content["times"] = {str(k): _moment(v) for k, v in (content.get("times") or {}).items()}
            content["patients"] = tuple(str(one) for one in content.get("patients") or ())
            return cls(**content)
        except (OSError, yaml.YAMLError, TypeError, AttributeError, ConfigError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"the hold-out cannot be read: {reason}",
                where=str(path),
                remedy="give name, version, panel, patients and times, as HoldOut.save writes them",
            ) from error

    def save(self, directory: str | Path = FOLDER) -> Path:
        """Write ``NAME-vVERSION.yaml``, whole or not at all.

        Raises
        ------
        DataError
            When the version exists and says something else, or cannot be written.
        """
        import yaml

        path = Path(directory) / f"{self.title}.yaml"
        content = {
            "name": self.name,
            "version": self.version,
            "panel": self.panel,
            "patients": list(self.patients),
            "times": dict(self.times),
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            try:
                os.link(temporary, path)
            except FileExistsError:
                if HoldOut.load(path) != self:
                    raise DataError(
                        f"{self.title} exists and holds out something else",
                        where=str(path),
                        remedy=f"save it as version {self.version + 1}",
                    ) from None
        except OSError as error:
            raise DataError(f"the hold-out cannot be written: {error}", where=str(path)) from error
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def split(self, panel: Panel, *, embargo: int = 0) -> HeldOut:
        """Divide a panel; patients that the hold-out does not know are refused.

        Parameters
        ----------
        embargo
            Bars left out of training before each patient's time; one horizon keeps targets apart.

        Raises
        ------
        DataError
            When a patient is unknown, or nothing is left to train on.
        """
        unknown = sorted(set(panel.item_ids) - set(self.patients) - set(self.times))
        if unknown:
            raise DataError(
                f"patients {', '.join(unknown[:5])} are not in the hold-out",
                where=f"{self.title} of panel {self.panel}",
                remedy=f"make version {self.version + 1} for the new data",
            )
        unseen = [one for one in panel.item_ids if one in self.patients]
        seen = [one for one in panel.item_ids if one not in self.patients]
        if not seen:
            raise DataError("all patients are held out", where=self.title)
        rest = panel.select(seen)
        stops = np.array([self._stop(rest, item) for item in range(len(rest))])
        later = [one for one, stop, length in zip(seen, stops, rest.lengths, strict=True)
                 if stop < length]  # fmt: skip
        cut = np.where(stops < rest.lengths, stops - embargo, stops)
        return HeldOut(
            train=rest.slice(0, cut),
            later=rest.select(later) if later else None,
            unseen=panel.select(unseen) if unseen else None,
            first_origin={one: pd.Timestamp(str(self.times[one])) for one in later},
        )

    def expect_untouched(self, provenance: Provenance) -> None:
        """Refuse a model that was trained on what is held out.

        Raises
        ------
        DataError
            Naming the first patient that training has seen at a held-out time.
        """
        for source in provenance.sources:
            if source.panel != self.panel:
                continue
            for item_id, span in source.spans.items():
                limit = self.times.get(item_id)
                after = limit is not None and (
                    span.last is None or pd.Timestamp(span.last) >= pd.Timestamp(limit)
                )
                if item_id in self.patients or after:
                    raise DataError(
                        f"training has seen held-out readings of patient {item_id!r}",
                        where=f"hold-out {self.title}",
                        remedy="train on HoldOut.split(panel).train",
                    )

    def _stop(self, panel: Panel, item: int) -> int:
        moment = self.times[panel.item_ids[item]]
        return int(panel.lengths[item]) if moment is None else panel.position(item, moment)


def _moment(value: Any) -> str | None:
    return None if value is None else str(pd.Timestamp(value).isoformat())
