"""The quality report of a lake: every instrument cleaned in turn, nothing written back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from tsfm.data.ohlcv.cleaning import Cleaned, clean
from tsfm.data.ohlcv.cleaning_config import KINDS, CleaningConfig
from tsfm.data.ohlcv.instrument import Instrument
from tsfm.data.ohlcv.sessions import Sessions
from tsfm.data.quality import UNREADABLE, Coverage, QualityReport, SeriesQuality
from tsfm.data.quality_findings import Kind
from tsfm.errors import DataError

if TYPE_CHECKING:
    import polars as pl

    from tsfm.data.ohlcv.lake import Lake

CHECKED = {**KINDS, UNREADABLE: Kind("Unreadable", "left out of everything", repaired=False)}
FINDINGS_KEPT = 25


def check_lake(
    lake: Lake,
    config: CleaningConfig | None = None,
    *,
    splits: pl.DataFrame | None = None,
    asset_class: str | None = None,
    freq: str | None = None,
    symbols: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> QualityReport:
    """What cleaning finds in a lake, or in some of its instruments.

    One instrument is in memory at a time. One that cannot be read is named in the report, the rest
    is checked; strictness does not apply.

    Parameters
    ----------
    splits
        :func:`tsfm.data.ohlcv.corporate_actions.split_table` of all instruments.
    asset_class, freq, symbols
        Check only these.
    progress
        Called with the instruments done and their number.

    Raises
    ------
    ConfigError
        When the sessions' exchange is not known.
    DataError
        When no instrument is left.
    """
    config = replace(config or CleaningConfig(), strict=False, findings_kept=FINDINGS_KEPT)
    catalogue = lake.catalogue(asset_class, freq)
    if symbols is not None:
        catalogue = catalogue.filter(catalogue["symbol"].is_in(list(symbols)))
    if catalogue.is_empty():
        raise DataError(
            "there is nothing to check",
            where=str(lake.path),
            remedy="ingest bars first, or correct asset_class, freq and symbols",
        )
    rows = catalogue.to_dicts()

    def series() -> Iterator[SeriesQuality]:
        for done, row in enumerate(rows, start=1):
            yield _check(lake, row, config, splits)
            if progress:
                progress(done, len(rows))

    options = {k: v for k, v in asdict(config).items() if k not in ("strict", "findings_kept")}
    return QualityReport.collect(
        series(),
        title=f"Quality of {lake.path.name}",
        noun="bars",
        kinds=CHECKED,
        facts={
            "lake": str(lake.path),
            "fingerprint": lake.fingerprint(),
            "splits": "from a table" if splits is not None else "by rule",
            "cleaning": ", ".join(f"{name}={value}" for name, value in options.items()),
        },
    )


def assess(
    name: str, bars: pl.DataFrame, cleaned: Cleaned, sessions: Sessions | None
) -> SeriesQuality:
    """One instrument's part of the report.

    Parameters
    ----------
    bars
        As they were before cleaning.
    """
    observed = cleaned.bars.filter(cleaned.bars["close"].is_not_null())["ts"]
    facts = dict(sessions.facts) if sessions else {}
    splits = [one for one in cleaned.findings if one.kind.startswith("split")]
    if splits:
        facts["splits"] = "; ".join(
            f"{one.at:%Y-%m-%d} {one.what.split(',')[0]} ({KINDS[one.kind].label.lower()})"
            for one in splits
        )
    return SeriesQuality(
        name=name,
        rows=len(cleaned.bars),
        observed=len(observed),
        first=_date(bars, first=True),
        last=_date(bars, first=False),
        counts=cleaned.counts,
        findings=tuple(cleaned.findings),
        coverage=Coverage.of(observed.dt.replace_time_zone(None).to_numpy()),
        facts=facts,
    )


def _check(
    lake: Lake, row: dict[str, Any], config: CleaningConfig, splits: pl.DataFrame | None
) -> SeriesQuality:
    instrument = Instrument(asset_class=row["asset_class"], freq=row["freq"], symbol=row["symbol"])
    name = str(instrument)
    try:
        bars = lake.read(instrument)
        ts = bars.drop_nulls("close")["ts"]
        sessions = Sessions.of(config.sessions, ts, freq=row["freq"], timezone=row["timezone"])
        own = None if splits is None else splits.filter(splits["symbol"] == row["symbol"])
        return assess(
            name, bars, clean(bars, config, sessions=sessions, splits=own, where=name), sessions
        )
    except DataError as error:
        return SeriesQuality(
            name=name,
            rows=0,
            observed=0,
            first=None,
            last=None,
            counts={UNREADABLE: 1},
            facts={"unreadable": str(error)},
        )


def _date(bars: pl.DataFrame, *, first: bool) -> Any:
    return bars["ts"].min() if first else bars["ts"].max()
