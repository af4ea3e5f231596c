"""Panels from tables, and the panels that come with the project.

mlflow run . -e data -P source=sales.csv -P layout=wide -P out=panels
mlflow run . -e data -P source=bars.parquet -P layout=long -P date_offset=2020-12-31 -P out=panels
mlflow run . -e data -P dataset=sample -P out=panels
mlflow run . -e data -P action=check -P source=panels/sample_bars
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import Parameter, run
from experiments.config import DataConfig
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from tsfm.data.panel import Panel

PARAMETERS = {
    "dataset": Parameter("dataset", "table, or the bars called sample or simulated"),
    "action": Parameter("action", "build a panel, or check one"),
    "source": Parameter("source", "CSV or Parquet file to build from, or panel to check"),
    "out": Parameter("out", "directory of panels; empty: the variable CUSTOM_DATA_PATH"),
    "layout": Parameter("table.layout", "of the table: wide, wide_multivariate or long"),
    "freq": Parameter("table.freq", "pandas alias; empty: inferred, or refused"),
    "date_offset": Parameter("table.date_offset", "last date of the training part; empty: all"),
    "normalize": Parameter("table.normalize", "standardise by the training part: true or false"),
}


def main(config: DataConfig) -> None:
    for panel in check(config) if config.action == "check" else build(config):
        info = panel.info
        bars = panel.lengths
        print(f"{info.name}: {len(panel)} items of {bars.min()} to {bars.max()} bars")
        print(f"  variates     {', '.join(info.variates)}")
        print(
            f"  frequency    {info.freq or 'explicit timestamps'}, season {info.seasonality} bars"
        )
        print(f"  fingerprint  {panel.fingerprint}")
        print(f"  path         {panel.path}")


def check(config: DataConfig) -> list[Panel]:
    """Open a panel; a damaged one is refused."""
    from tsfm.data.panel import Panel

    return [Panel.open(config.source)]


def build(config: DataConfig) -> list[Panel]:
    """Write the panel of a data set; a table with ``date_offset`` gives two."""
    from tsfm.data.csv import build_panel
    from tsfm.data.panel import Panel
    from tsfm.data.sources import SourceConfig, load_source

    if config.dataset == "table":
        options = {name: value for name, value in vars(config.table).items() if value != ""}
        built = build_panel(config.source, config.out or None, **options)
        return [built.train] + ([built.evaluation] if built.evaluation is not None else [])
    directory = config.out or os.environ.get("CUSTOM_DATA_PATH")
    if not directory:
        raise ConfigError("out is empty", remedy="give out=DIRECTORY, or set CUSTOM_DATA_PATH")
    (panel,) = load_source(SourceConfig(name=config.dataset, seed=config.seed)).panels
    return [Panel.write(Path(directory) / panel.info.name, panel, panel.info)]


if __name__ == "__main__":
    run("data", DataConfig, PARAMETERS, main, title="Build or check a panel.")
