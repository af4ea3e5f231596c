"""Panels from tables, lakes and equations, lakes from files, panels that come with the project.

mlflow run . -e data -P source=sales.csv -P layout=wide -P out=panels
mlflow run . -e data -P source=bars.parquet -P layout=long -P date_offset=2020-12-31 -P out=panels
mlflow run . -e data -P dataset=sample -P out=panels
mlflow run . -e data -P action=check -P source=panels/sample_bars

mlflow run . -e data -P dataset=ohlcv -P action=ingest -P source=files -P lake=lake \
    -P asset_class=equity -P freq=1h -P timezone=America/New_York
mlflow run . -e data -P dataset=ohlcv -P action=check -P lake=lake
mlflow run . -e data -P dataset=ohlcv -P action=build -P lake=lake -P out=panel

mlflow run . -e data -P dataset=dynamics -P n_systems=100 -P n_trajectories=16 -P out=panels

mlflow run . -e data -P dataset=glucose -P source=my_cgm -P columns=glucose:bg_mM -P out=panels
mlflow run . -e data -P dataset=glucose -P source=virtual -P out=panels

Exits with 4 when some files, rows or assets were bad and the rest was processed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parameter, run
from experiments.config import DataConfig
from tsfm.data.panel_state import STATE_FILE
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

DONE_WITH_PROBLEMS = 4
PROBLEMS_SHOWN = 20

PARAMETERS = {
    "dataset": Parameter(
        "dataset", "table, bars (sample, simulated), ohlcv: a lake, dynamics, or glucose"
    ),
    "action": Parameter("action", "build a panel, check a panel or lake, or ingest into a lake"),
    "source": Parameter("source", "file(s) to read, or panel to check; of glucose also virtual"),
    "lake": Parameter("lake", "directory of the lake; ingest makes it"),
    "asset_class": Parameter("asset_class", "of a lake's bars: equity, crypto …"),
    "freq": Parameter("freq", "of bars: 1h, 1d …; of a table a pandas alias, empty: inferred"),
    "out": Parameter(
        "out", "a lake's panel or report; of other panels the parent, empty: CUSTOM_DATA_PATH"
    ),
    "features": Parameter("features", "of a lake's panel: default, none or a YAML file"),
    "timezone": Parameter("timezone", "of ingested dates without an offset; empty: UTC"),
    "columns": Parameter("columns", "of the files, as ts:Date,open:Open; empty: the usual"),
    "splits": Parameter("splits", "CSV or Parquet file of a lake's splits; empty: by rule"),
    "strict": Parameter("strict", "refuse what would be skipped or repaired: true or false"),
    "layout": Parameter("table.layout", "of the table: wide, wide_multivariate or long"),
    "date_offset": Parameter("table.date_offset", "last date of the training part; empty: all"),
    "normalize": Parameter("table.normalize", "standardise by the training part: true or false"),
    "hold_out": Parameter("holdout.file", "of glucose: a hold-out to honour; empty: make one"),
    "n_systems": Parameter("dynamics.n_systems", "of dynamics: systems drawn from the catalogue"),
    "n_trajectories": Parameter("dynamics.n_trajectories", "of dynamics: of each system"),
}


def main(config: DataConfig) -> None:
    if config.dataset == "ohlcv":
        action = {"ingest": ingest_bars, "check": check_bars, "build": build_bars}
        problems = action[config.action](config)
        if problems:
            tell_problems(problems)
            sys.exit(DONE_WITH_PROBLEMS)
        return
    if config.dataset == "glucose":
        from experiments.glucose_data import build_readings

        build_readings(config, tell)
        return
    if config.dataset == "dynamics" and config.action == "build" and not config.source:
        simulate(config)
        return
    for panel in check(config) if config.action == "check" else build(config):
        describe(panel)


# --- lakes ----------------------------------------------------------------------------------------


def ingest_bars(config: DataConfig) -> list[str]:
    """Files into a lake; what was skipped is told and written beside the lake."""
    from tsfm.data.ohlcv.bar_files import find
    from tsfm.data.ohlcv.ingest import ingest
    from tsfm.data.ohlcv.lake import Lake
    from tsfm.data.ohlcv.progress_bar import progress_bar

    find(Path(config.source).expanduser())
    lake = Lake.create(config.lake)
    with progress_bar("ingesting", "files") as show:
        report = ingest(
            config.source,
            lake,
            config.ingest_config(),
            lambda files, of, rows: show(files, of, f"{rows:,} rows"),
        )
    path = lake.path.with_name(f"{lake.path.name}.ingest.json")
    path.write_text(json.dumps(report.to_dict(), indent=2, default=str))
    change = report.change
    tell(
        f"ingested into {lake.path}",
        {
            "files": f"{report.files:,}",
            "rows": f"{report.rows:,} read, {report.skipped:,} skipped",
            "bars": f"{change.added:,} added, {change.replaced:,} replaced, "
            f"{change.unchanged:,} there already",
            "notes": "; ".join(dict.fromkeys(note.what for note in report.notes)),
            "report": path,
        },
    )
    return [str(problem) for problem in report.problems]


def check_bars(config: DataConfig) -> list[str]:
    """A quality report of a lake, logged as a run, and written to ``out`` where it is given."""
    from tsfm.data.ohlcv.check import check_lake
    from tsfm.data.ohlcv.corporate_actions import read_splits
    from tsfm.data.ohlcv.lake import Lake
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.tracking.runs import MlflowRun

    lake = Lake.open(config.lake)
    splits = read_splits(Path(config.splits).expanduser()) if config.splits else None
    with MlflowRun.start("data", entry_point="data") as record:
        record.log_config(asdict(config))
        record.log_environment(seed=config.seed)
        with progress_bar("checking", "assets") as show:
            report = check_lake(
                lake,
                config.cleaning_config(),
                splits=splits,
                asset_class=config.asset_class or None,
                freq=config.freq or None,
                symbols=config.build.symbols or None,
                progress=lambda done, of: show(done, of, ""),
            )
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(config.out or folder)
            report.write(directory)
            for path in sorted(directory.glob("quality.*")):
                record.log_file(path, "quality")
        figures = {"assets": len(report.series), "bars": report.rows}
        record.log_metrics({**figures, "clean_share": report.clean_share, **report.counts}, step=0)
    tell(
        f"checked {lake.path}",
        {
            "assets": f"{len(report.series):,}",
            "bars": f"{report.rows:,}, {report.clean_share:.3%} clean",
            "findings": in_words(report.counts),
            "report": config.out or "in the run's artifacts: quality/",
            "run": f"{record.name}  {record.run_id}",
            "see it": record.url(),
        },
    )
    unreadable = set(report.unreadable)
    return [one.facts["unreadable"] for one in report.series if one.name in unreadable]


def build_bars(config: DataConfig) -> list[str]:
    """A panel of a lake's bars, logged as a run."""
    from tsfm.data.ohlcv.builder import IterativeFinancialDatasetBuilder
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.tracking.runs import MlflowRun

    builder = IterativeFinancialDatasetBuilder(config.lake, config.out, config.builder_config())
    with MlflowRun.start("data", entry_point="data") as record:
        record.log_config(asdict(config))
        record.log_environment(seed=config.seed)
        with progress_bar(f"building {builder.out.name}") as show:
            report = builder.build(show)
        record.log_panel(report.panel, "train")
        record.log_file(report.path)
        figures = {"assets": report.assets, "bars": report.bars, "seconds": report.seconds}
        record.log_metrics({**figures, **report.counts}, step=0)
    describe(report.panel)
    tell(
        f"built from {builder.lake.path}",
        {
            "assets": f"{report.assets:,} of {len(builder.catalogue):,}",
            "bars": f"{report.bars:,} in {report.seconds:.1f} s",
            "cleaning": in_words(report.counts),
            "left out": "; ".join(f"{s}: {why}" for s, why in list(report.dropped.items())[:5]),
            "features": f"{len(report.past_covariates)} past, {len(report.known_covariates)} known",
            "fitted on": f"bars before {report.fitted_until}" if report.fitted_until else "",
            "notes": "; ".join(report.notes),
            "report": report.path,
            "run": f"{record.name}  {record.run_id}",
            "see it": record.url(),
        },
    )
    return list(report.problems)


# --- dynamical systems ----------------------------------------------------------------------------


def simulate(config: DataConfig) -> None:
    """An ensemble as a panel, beside it a report and its trajectories as folders of files."""
    from tsfm.data.dynamics.ensembles import NAME, simulate_ensemble
    from tsfm.data.dynamics.layout import expect_free, write_layout
    from tsfm.data.ohlcv.progress_bar import progress_bar
    from tsfm.tracking.runs import MlflowRun

    ensemble, out, overwrite = config.ensemble_config(), parent(config), config.build.overwrite
    if config.arrow_files:
        expect_free(out, overwrite=overwrite)
    with MlflowRun.start("data", entry_point="data") as record:
        record.log_config(asdict(config))
        record.log_environment(seed=ensemble.seed)
        with progress_bar("simulating", "systems") as show:
            panel, report = simulate_ensemble(
                ensemble, out=out / NAME, overwrite=overwrite, progress=show
            )
        if config.arrow_files:
            write_layout(panel, out, overwrite=overwrite)
        record.log_panel(panel, "train")
        path = report.save(out / f"{NAME}.json")
        record.log_file(path)
        figures = {"trajectories": report.trajectories, "seconds": report.seconds}
        record.log_metrics({**figures, **report.failed_tests}, step=0)
    describe(panel)
    systems = sum("->" not in name for name in report.kept)
    tell(
        f"simulated into {out}",
        {
            "trajectories": f"{report.trajectories:,} in {report.seconds:.1f} s",
            "of": f"{systems} systems, {len(report.kept) - systems} skew products",
            "draws left out": in_words(report.dropped_draws),
            "left out": in_words(report.dropped_trajectories),
            "without any": ", ".join(report.missing),
            "report": path,
            "run": f"{record.name}  {record.run_id}",
            "see it": record.url(),
        },
    )


# --- panels ---------------------------------------------------------------------------------------


def check(config: DataConfig) -> list[Panel]:
    """Open a panel, or folders of trajectories; damaged ones are refused."""
    from tsfm.data.panel import Panel

    if config.dataset == "dynamics" and not (Path(config.source) / STATE_FILE).exists():
        from tsfm.data.dynamics.layout import read_layout

        return [read_layout(config.source)]
    return [Panel.open(config.source)]


def build(config: DataConfig) -> list[Panel]:
    """Write the panel of a data set; a table with ``date_offset`` gives two."""
    from tsfm.data.csv import build_panel
    from tsfm.data.panel import Panel
    from tsfm.data.sources import SourceConfig, load_source

    if config.dataset == "table":
        options = {name: value for name, value in vars(config.table).items() if value != ""}
        if config.freq:
            options["freq"] = config.freq
        built = build_panel(config.source, config.out or None, **options)
        return [built.train] + ([built.evaluation] if built.evaluation is not None else [])
    directory = parent(config)
    if config.dataset == "dynamics":
        (panel,) = check(config)
    else:
        (panel,) = load_source(SourceConfig(name=config.dataset, seed=config.seed)).panels
    return [Panel.write(directory / panel.info.name, panel, panel.info)]


def parent(config: DataConfig) -> Path:
    """The directory that panels are written into.

    Raises
    ------
    ConfigError
        When none is given.
    """
    directory = config.out or os.environ.get("CUSTOM_DATA_PATH")
    if not directory:
        raise ConfigError("out is empty", remedy="give out=DIRECTORY, or set CUSTOM_DATA_PATH")
    return Path(directory)


# --- what is printed ------------------------------------------------------------------------------


def describe(panel: Panel) -> None:
    """A panel's facts."""
    info, bars = panel.info, panel.lengths
    print(f"{info.name}: {len(panel)} items of {bars.min()} to {bars.max()} bars")
    print(f"  variates     {', '.join(info.variates)}")
    dates = info.freq or ("none" if panel.timestamps(0) is None else "explicit timestamps")
    print(f"  frequency    {dates}, season {info.seasonality} bars")
    print(f"  fingerprint  {panel.fingerprint}")
    print(f"  path         {panel.path}")


def tell(title: str, facts: dict[str, Any]) -> None:
    """A short table of what was done and where it is; empty facts are left out."""
    from tsfm.tracking.console import stdout

    console = stdout(highlight=False)
    console.print(title, style="bold", soft_wrap=True, markup=False)
    for name, value in facts.items():
        if value != "":
            console.print(f"  {name:<12} {value}", soft_wrap=True, markup=False)


def tell_problems(problems: list[str]) -> None:
    """What was left out, on stderr, a line for each."""
    for problem in problems[:PROBLEMS_SHOWN]:
        print(f"problem: {problem}", file=sys.stderr)
    if len(problems) > PROBLEMS_SHOWN:
        more = len(problems) - PROBLEMS_SHOWN
        print(f"problem: and {more} more, all in the report", file=sys.stderr)


def in_words(counts: Mapping[str, int]) -> str:
    """``duplicate 3, missing 12``, or ``none``."""
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items()) or "none"


if __name__ == "__main__":
    run("data", DataConfig, PARAMETERS, main, title="Build or check a panel, or fill a lake.")
