"""Readings of glucose sensors as a panel, with a report of their quality and a hold-out file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.config import DataConfig

if TYPE_CHECKING:
    from tsfm.data.glucose.holdouts import HoldOut
    from tsfm.data.panel import Panel
    from tsfm.data.quality import QualityReport

VIRTUAL = "virtual"
EXAMPLE = 1
Teller = Callable[[str, dict[str, Any]], None]


def build_readings(config: DataConfig, tell: Teller) -> None:
    """Read, report, hold out, and write the panel (unless it is only checked), as a run."""
    from tsfm.data.panel import Panel
    from tsfm.tracking.finetune_report import record_hold_outs, record_quality
    from tsfm.tracking.runs import MlflowRun

    with MlflowRun.start("data", entry_point="data") as record:
        record.log_config(asdict(config))
        record.log_environment(seed=config.seed)
        panel, report = read(config)
        record_quality(record, [report] if report else [])
        facts: dict[str, Any] = {
            "people": f"{len(panel)} of {int(panel.lengths.min())} to "
            f"{int(panel.lengths.max())} bars of {panel.info.freq}",
            "covariates": ", ".join(panel.info.past_covariates + panel.info.known_covariates),
        }
        if report is not None:
            repairs = ", ".join(f"{kind} {count:,}" for kind, count in report.counts.items())
            facts |= {"repairs": repairs or "none", "dropped": report.facts["dropped columns"]}
        if config.action == "build":
            directory = parent(config)
            held = hold_out(panel, config)
            trainable = held.split(panel).train
            written = Panel.write(
                directory / panel.info.name, panel, panel.info, overwrite=config.build.overwrite
            )
            path = held.save(directory / "holdouts")
            record.log_panel(written, "train")
            record_hold_outs(record, [held])
            if report is not None:
                report.write(directory / f"{panel.info.name}.quality")
            facts |= {
                "fingerprint": written.fingerprint,
                "panel": written.path,
                "hold-out": f"{path}: {len(set(held.patients) & set(panel.item_ids))} patients, "
                f"{int(panel.lengths.sum() - trainable.lengths.sum()):,} bars in all",
                "report": directory / f"{panel.info.name}.quality" if report else "",
            }
        else:
            facts["report"] = "in the run's artifacts: quality/"
        facts |= {"run": f"{record.name}  {record.run_id}", "see it": record.url()}
    tell(f"{panel.info.name}: glucose of {config.source}", facts)


def read(config: DataConfig) -> tuple[Panel, QualityReport | None]:
    """The panel, and the report where there is something to find."""
    from tsfm.data.glucose.origins import cgm_origin, cohort_origin

    if config.source == VIRTUAL:
        cohort = replace(config.cohort, seed=config.cohort.seed or config.seed)
        origin = cohort_origin(cohort, EXAMPLE)
    else:
        origin = cgm_origin(located(config.source), config.cgm_config(), (), EXAMPLE)
    (panel,) = origin.panels
    return panel, origin.report


def located(source: str) -> str:
    """A path as it is or in a data directory; a data set's name with the folder it lies in."""
    from tsfm.data.glucose.loaders import LOADERS
    from tsfm.data.locations import find

    name, _, folder = source.partition(":")
    found = find(source)
    if name in LOADERS and not (found is not None and found.is_file()):
        return f"{name}:{folder or found or name}"
    return str(found or source)


def hold_out(panel: Panel, config: DataConfig) -> HoldOut:
    """The one to honour, or one drawn by the seed."""
    from tsfm.data.glucose.holdouts import HoldOut
    from tsfm.evaluation.patient_holdout import file_name

    options = config.holdout
    if options.file:
        return HoldOut.load(options.file)
    return HoldOut.make(
        panel,
        name=file_name(panel.info.name),
        version=options.version,
        patient_share=options.patient_share if len(panel) > 1 else 0.0,
        time_share=options.time_share,
        seed=config.seed,
    )


def parent(config: DataConfig) -> Path:
    """The directory that panels are written into."""
    from experiments.data import parent as of

    return of(config)
