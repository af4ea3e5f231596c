"""The quality report of readings: what was found in each person's, and how well time is covered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tsfm.data.glucose.harmonise import Harmonised
from tsfm.data.quality import UNREADABLE, Coverage, Kind, QualityReport, SeriesQuality

KINDS: Mapping[str, Kind] = {
    "duplicate": Kind("Duplicate", "the same reading again; dropped"),
    "conflict": Kind("Conflict", "another value at the same time; the first was kept"),
    "repeated": Kind("Repeated", "the same dose, meal or other value again at its time; dropped"),
    "crowded": Kind("Crowded", "several readings for one bar; the nearest in time was kept"),
    "moved": Kind(
        "Moved",
        "a reading about midway between two bars, put on the one that follows the last reading's",
        repaired=False,
    ),
    "clock": Kind("Clock went back", "summer time or a corrected clock; sorted by time"),
    "time": Kind("Unreadable time", "no date, or one that the clock skipped; the row was dropped"),
    "text": Kind("No number", "a cell that holds text or infinity; unobserved"),
    "text_other": Kind("No number (covariate)", "a cell that holds text or infinity; unobserved"),
    "range": Kind("Impossible", "glucose outside 10–1000 mg/dL; unobserved"),
    "saturated": Kind(
        "Saturated", "at the sensor's limits (LOW, HIGH, 39 or 401 mg/dL)", repaired=False
    ),
    "gap": Kind("Gap", "one bar or more without a reading; unobserved", repaired=False),
    "long_gap": Kind("Long gap", "days without a reading; unobserved", repaired=False),
    "constant": Kind("Constant", "glucose never changes; the person is left out", repaired=False),
    UNREADABLE: Kind("Left out", "the person's readings cannot be used", repaired=False),
}


def person_quality(person: Harmonised) -> SeriesQuality:
    """One person's part of the report."""
    observed = ~np.isnan(person.glucose)
    minutes = np.timedelta64(person.minutes, "m")
    stamps = person.start.to_datetime64() + np.arange(len(observed)) * minutes
    share = 1 - observed.mean()
    facts = {
        **person.facts,
        "resolution": f"{person.minutes} min",
        "unobserved": f"{share:.1%}",
        **{
            f"unobserved {name}": f"{np.isnan(values).mean():.1%}"
            for name, values in person.covariates.items()
        },
    }
    return SeriesQuality(
        name=person.item_id,
        rows=len(observed),
        observed=int(observed.sum()),
        first=person.start.to_pydatetime(),
        last=(person.start + (len(observed) - 1) * minutes).to_pydatetime(),
        counts=person.counts,
        findings=person.findings,
        coverage=Coverage.of(stamps[observed]),
        facts=facts,
    )


def left_out(item_id: str, kind: str, reason: str) -> SeriesQuality:
    """A person whose readings are not used, and why."""
    return SeriesQuality(
        name=item_id,
        rows=0,
        observed=0,
        first=None,
        last=None,
        counts={kind: 1},
        facts={"left out": reason},
    )


def quality_report(
    series: Sequence[SeriesQuality], *, name: str, facts: Mapping[str, str]
) -> QualityReport:
    """The report of all people.

    Parameters
    ----------
    facts
        Of the whole: zero-variance columns, units, the fingerprint.
    """
    return QualityReport.collect(
        series, title=f"Quality of {name}", noun="readings", kinds=KINDS, facts=facts
    )
