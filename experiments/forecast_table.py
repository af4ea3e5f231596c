"""The user's table of a forecast: its series, and what is known of the horizon."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.forecast_config import SAMPLE, ForecastConfig
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from jaxtyping import Int

    from tsfm.data.panel import Panel
    from tsfm.data.preparation import Preparation
    from tsfm.tracking.chosen_model import ChosenModel


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The series to forecast.

    Attributes
    ----------
    panel
        With the bars after the last targets, where the table has such.
    preparation
        What made the panel of the user's columns; None where they are forecast as they are.
    sha256
        Of the file and of the one of future rows; empty of the sample.
    notices
        What had to be set right in its rows.
    """

    panel: Panel
    preparation: Preparation | None
    sha256: str
    notices: tuple[str, ...] = ()

    @cached_property
    def origins(self) -> Int[np.ndarray, " item"]:
        """Bars of every series up to its last target: the forecast begins after them."""
        from tsfm.data.future_rows import origins

        return origins(self.panel)

    @cached_property
    def past(self) -> Panel:
        """The bars up to the last targets."""
        return self.panel.slice(0, self.origins)

    def restored(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A forecast's frame in the user's units."""
        return self.preparation.restore(frame) if self.preparation else frame


def read(config: ForecastConfig, chosen: ChosenModel) -> Asked:
    """The table as a panel: by the model's own preparation, or its columns as they are."""
    from tsfm.data.table import read_table
    from tsfm.data.tidying import tidied
    from tsfm.data.user_table import read_long
    from tsfm.models.frames import grid

    own = chosen.preparation()
    preparation = None if config.targets else own
    path = Path(config.data)
    name = SAMPLE if config.data == SAMPLE else path.stem
    files = [Path(file) for file in (config.data, config.future) if file not in ("", SAMPLE)]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    sha256 = digest.hexdigest() if files else ""
    rows = partial(
        read_long, path, layout=config.layout, future=config.future,
        item_column=config.item_column, time_column=config.time_column,
    )  # fmt: skip
    if preparation is None:
        panel = as_they_are(config, rows, name, own)
        return Asked(panel=panel, preparation=None, sha256=sha256)
    expect_own(config, preparation, chosen)
    if config.data == SAMPLE:
        frame = sample()
    elif preparation.name == "glucose":
        frame = read_table(path)
    else:
        frame = wanted(rows, preparation, chosen)
    notices: tuple[str, ...] = ()
    try:
        if preparation.columns:
            tidy = tidied(frame, preparation.columns, freq=grid(preparation), where=name)
            frame, notices = tidy.frame, told(tidy.notes)
        panel = preparation.panel(frame, name)
        return Asked(panel=panel, preparation=preparation, sha256=sha256, notices=notices)
    except DataError as error:
        remedy = f"{error.remedy or 'correct the table'}; or give targets= to forecast columns as "
        raise DataError(error.what, where=error.where, remedy=f"{remedy}they are") from error


def told(notes: Mapping[str, list[str]]) -> tuple[str, ...]:
    """What was set right, with the series that it was set right in."""
    from tsfm.data.tidying import listed

    items: dict[str, list[str]] = {}
    for item, lines in notes.items():
        for line in lines:
            items.setdefault(line, []).append(item)
    return tuple(f"{line} ({listed(names)})" for line, names in items.items())


def as_they_are(
    config: ForecastConfig, rows: partial[pd.DataFrame], name: str, own: Preparation | None
) -> Panel:
    """A panel of the columns that the user names, in the order in which the model knows them."""
    from tsfm.data.future_rows import expect_one_past
    from tsfm.data.user_table import column_panel

    columns, past, known = (
        ordered(names, getattr(own, attribute, ()))
        for names, attribute in (
            (config.columns, "variates"),
            (config.past, "past_covariates"),
            (config.known, "known_covariates"),
        )
    )
    is_sample = config.data == SAMPLE
    frame = sample() if is_sample else rows(columns=columns, past=past, known=known)
    others = [one for one in frame.columns[2:] if one not in (*past, *known)]
    columns = ("value",) if others == ["value"] and not is_sample else columns
    if known:
        expect_one_past(frame, columns or frame[others].select_dtypes("number").columns)
    return column_panel(frame, name, columns=columns, past=past, known=known, freq=config.freq)


def ordered(names: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    """As the model's own, where they are the same."""
    return tuple(own if set(own) == set(names) else names)


def expect_own(config: ForecastConfig, preparation: Preparation, chosen: ChosenModel) -> None:
    """Refuse covariates and future rows that the model's own preparation does not take."""
    own = {
        "past_covariates": getattr(preparation, "past_covariates", ()),
        "known_covariates": preparation.known_columns,
    }
    for name, given in (("past_covariates", config.past), ("known_covariates", config.known)):
        foreign = [column for column in given if column not in own[name]]
        if foreign:
            raise ConfigError(
                f"{name}={','.join(foreign)}, but the model takes columns of its own"
                + (f", {name} {', '.join(own[name])}" if own[name] else ""),
                where=f"model {chosen.name}",
                remedy=f"leave {name}= out, or give targets= too",
            )
    if config.future and preparation.name == "glucose":
        raise ConfigError(
            "future= with a model of glucose",
            where=f"model {chosen.name}",
            remedy="write the announced rows into the file of readings",
        )


def wanted(
    rows: partial[pd.DataFrame], preparation: Preparation, chosen: ChosenModel
) -> pd.DataFrame:
    """The table with the columns that the model was made for."""
    from tsfm.data.future_rows import expect_one_past
    from tsfm.data.ohlcv.bars import PRICES

    columns = preparation.columns or (*PRICES, "volume")
    known = preparation.known_columns
    try:
        frame = rows(columns=[one for one in columns if one not in known], known=known)
    except DataError as error:
        if "missing" not in error.what:
            raise
        raise DataError(
            f"{error.what}: {chosen.name} forecasts {', '.join(columns)}",
            where=error.where,
            remedy=f"{error.remedy}; rename them, give another model, or targets= to forecast "
            "columns as they are",
        ) from error
    if known:
        expect_one_past(frame, getattr(preparation, "variates", columns))
    return frame


def sample() -> pd.DataFrame:
    """The real daily bars that ship in PyPI packages."""
    from tsfm.data.ohlcv.sample import sample_bars

    return sample_bars()
