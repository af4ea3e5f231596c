"""Which files published collections of CGM consist of, and what their columns mean.

The collections of the Jaeb Center (public.jaeb.org) are laid out as their downloads and the
projects Awesome-CGM and BabelBetes describe them. None is distributed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """One kind of file of a collection.

    Attributes
    ----------
    pattern
        Of the name, wherever in the folder; the parts of a table may lie in several files.
    columns
        Column by name in the frames that are handed out; those after ``+`` are added up.
    item
        The column that names people.
    time
        The column of times, or those of days since enrolment and of clock times.
    only
        Rows are kept where these columns have these values.
    factor
        Of columns, by name in the frames.
    is_needed
        Whether the collection can be read without it.
    """

    pattern: str
    columns: Mapping[str, str]
    item: str = "PtID"
    time: str | tuple[str, str] = "DeviceDtTm"
    only: Mapping[str, str] = field(default_factory=dict)
    factor: Mapping[str, float] = field(default_factory=dict)
    is_needed: bool = False

    @property
    def needed_columns(self) -> list[str]:
        """All columns that are read."""
        sums = [part for columns in self.columns.values() for part in columns.split("+")]
        times = [self.time] if isinstance(self.time, str) else list(self.time)
        return list(dict.fromkeys([self.item, *times, *sums, *self.only]))


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A published collection.

    Attributes
    ----------
    title
        With its source.
    tables
        Its files.
    """

    title: str
    tables: tuple[TableLayout, ...]


_ENROLMENT_DAYS = ("DeviceDtTmDaysFromEnroll", "DeviceTm")

COLLECTIONS: dict[str, Collection] = {
    "lynch_2022": Collection(
        title="Insulin-only bionic pancreas (IOBP2 RCT Public Dataset, Jaeb Center)",
        tables=(
            TableLayout(
                pattern="IOBP2DeviceiLet.txt",
                columns={
                    "glucose_mg_dl": "CGMVal",
                    "dose_units": "BolusDelivPrev+MealBolusDelivPrev",
                    "basal_rate": "BasalDelivPrev",
                },
                factor={"basal_rate": 12.0},
                is_needed=True,
            ),
        ),
    ),
    "brown_2019": Collection(
        title="Closed loop or sensor-augmented pump (DCLP3 Public Dataset, Jaeb Center)",
        tables=(
            TableLayout(
                pattern="cgm.txt",
                columns={"glucose_mg_dl": "CGM"},
                time="DataDtTm",
                is_needed=True,
            ),
            TableLayout(
                pattern="Pump_BolusDelivered.txt",
                columns={"dose_units": "BolusAmount"},
                time="DataDtTm",
            ),
            TableLayout(
                pattern="Pump_BasalRateChange.txt",
                columns={"basal_rate": "CommandedBasalRate"},
                time="DataDtTm",
            ),
        ),
    ),
    "aleppo_2017": Collection(
        title="REPLACE-BG (Protocol_H, Jaeb Center)",
        tables=(
            TableLayout(
                pattern="HDeviceCGM.txt",
                columns={"glucose_mg_dl": "GlucoseValue"},
                time=_ENROLMENT_DAYS,
                only={"RecordType": "CGM"},
                is_needed=True,
            ),
            TableLayout(
                pattern="HDeviceBolus.txt", columns={"dose_units": "Normal"}, time=_ENROLMENT_DAYS
            ),
            TableLayout(
                pattern="HDeviceWizard.txt", columns={"carbs": "CarbInput"}, time=_ENROLMENT_DAYS
            ),
            TableLayout(
                pattern="HDeviceBasal.txt", columns={"basal_rate": "Rate"}, time=_ENROLMENT_DAYS
            ),
        ),
    ),
    "tamborlane_2008": Collection(
        title="JDRF randomised trial of CGM (RT-CGM Public Dataset, Jaeb Center)",
        tables=(
            TableLayout(
                pattern="tblADataRTCGM*.csv", columns={"glucose_mg_dl": "Glucose"}, is_needed=True
            ),
        ),
    ),
}
