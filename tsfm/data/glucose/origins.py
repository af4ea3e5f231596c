"""Sources of glucose for training: the virtual cohort, and what sensors recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm.data.origins import Origin
from tsfm.errors import ConfigError

if TYPE_CHECKING:
    from tsfm.data.glucose.cgm_config import CgmConfig
    from tsfm.data.glucose.cohort_config import CohortConfig
    from tsfm.data.panel import Panel

PRICES = frozenset({"open", "high", "low", "close"})
MG_DL = "mg/dL"


def is_glucose(panel: Panel) -> bool:
    """Whether a panel's only variate is glucose in mg/dL."""
    info = panel.info
    return len(info.variates) == 1 and info.units.get(info.variates[0]) == MG_DL


def is_named(source: str) -> bool:
    """Whether a source is a named data set: ``brist1d``, or ``brist1d:FOLDER``."""
    from tsfm.data.glucose.loaders import LOADERS

    return source.partition(":")[0] in LOADERS


def holds_readings(source: str, config: CgmConfig, targets: Sequence[str] = ()) -> bool:
    """Whether a file, or a folder's first file, holds readings of a sensor rather than bars.

    Parameters
    ----------
    config
        The columns and the format that it names are taken for a sensor's.
    targets
        A column of this name, too, where there are no prices.
    """
    from tsfm.data.glucose.readers import SUFFIXES, detect_format

    path = Path(source).expanduser()
    if is_named(source) and not path.exists():
        return True
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
        found = next(files, None)
        return found is not None and holds_readings(str(found), config, targets)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        return False
    is_table = suffix == ".parquet" or (suffix == ".csv" and detect_format(path) == "table")
    if not is_table or config.columns or config.format != "auto":
        return True
    columns = _columns(path)
    if len(PRICES & {name.lower() for name in columns}) > 1:
        return False
    return bool(set(targets) & set(columns)) or _has_glucose(columns)


def _has_glucose(columns: Sequence[str]) -> bool:
    from tsfm.data.glucose.columns import GLUCOSE, guess_columns
    from tsfm.errors import DataError

    try:
        return GLUCOSE in guess_columns(columns, where="the file").roles
    except DataError as error:
        return "could all be" in str(error)


def _columns(path: Path) -> list[str]:
    import polars as pl

    try:
        if path.suffix.lower() == ".parquet":
            return list(pl.read_parquet_schema(path))
        return pl.read_csv(path, n_rows=0).columns
    except (OSError, pl.exceptions.PolarsError):
        return []


def cohort_origin(config: CohortConfig, example_bars: int) -> Origin:
    """The virtual cohort."""
    from tsfm.data.glucose.cohort import simulate_cohort
    from tsfm.data.glucose.preparation import GlucosePreparation
    from tsfm.data.origins import columns_of

    panel = simulate_cohort(config)
    preparation = GlucosePreparation().adopt(panel)
    return Origin(panels=(panel,), preparation=preparation, example=columns_of(panel, example_bars))


def cgm_origin(source: str, config: CgmConfig, targets: Sequence[str], example_bars: int) -> Origin:
    """What sensors recorded: a file, a folder, or a named data set.

    Parameters
    ----------
    targets
        The column of glucose; none: guessed.

    Raises
    ------
    ConfigError
        When several columns shall be forecast, or a column is not known.
    DataError
        As :func:`tsfm.data.glucose.cgm.glucose_panel`.
    """
    from tsfm.data.glucose.cgm import glucose_panel
    from tsfm.data.glucose.preparation import GlucosePreparation
    from tsfm.data.origins import columns_of

    if len(targets) > 1:
        raise ConfigError(
            f"targets={','.join(targets)}: of readings glucose alone is forecast",
            remedy="name its column, or none where it can be guessed; others are covariates",
        )
    if targets and targets != ("glucose",):
        config = replace(config, columns={**config.columns, "glucose": targets[0]})
    if config.name == "cgm":
        config = replace(config, name=_name(source))
    panel, report = glucose_panel(source, config)
    serving = replace(config, columns={}, units="auto", format="auto")
    return Origin(
        panels=(panel,),
        preparation=GlucosePreparation.of(serving).adopt(panel),
        example=columns_of(panel, example_bars),
        report=report,
    )


def _name(source: str) -> str:
    first, _, _ = source.partition(":")
    return first if is_named(source) else Path(source).expanduser().resolve().stem
