"""What a forecast may be told, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tsfm.data.frequency import to_offset
from tsfm.data.locations import VARIABLES, find
from tsfm.data.user_table import IRREGULAR, LAYOUTS
from tsfm.errors import ConfigError, one_of
from tsfm.evaluation.conformal import windows_needed
from tsfm.models import BASELINES

SAMPLE = "sample"
KINDS = (".csv", ".parquet")
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class ForecastConfig:
    """Forecasting what follows the last bar of a user's series.

    Attributes
    ----------
    model
        The name of a registered model (its champion, or with a notice its latest version),
        ``models:/…``, a directory, a hub id or a baseline.
    data
        A CSV or Parquet file; ``sample``: the real daily bars that come with the project.
    horizon
        Bars to forecast.
    out
        The file of forecasts, ``.csv`` or ``.parquet``; empty: ``outputs/<run id>/forecasts.csv``.
    layout
        Of the table: :data:`tsfm.data.user_table.LAYOUTS`.
    targets
        Columns to forecast as they are, with commas (items where ``layout=wide``); empty: those
        that the model's own preparation takes, or all where it has none.
    past_covariates, known_covariates
        Further columns that the model sees, with commas: up to the last target, or over the horizon
        as well; the latter on rows after it, with empty targets.
    future
        A second file with such rows; empty: they are in ``data``.
    freq
        Of columns that are forecast as they are: a pandas alias, ``irregular``; empty: inferred.
    item_column, time_column
        Of the table; empty: found by their usual names.
    windows
        The last ones of every series, a horizon apart, on which the model is held against the
        baselines; 0: no comparison.
    conformal
        Correct the quantiles by how often they held on those windows.
    jointly
        Corrected intervals hold over the whole horizon at once.
    baselines
        Compared with.
    items
        Series in the comparison, the first ones that are long enough.
    history
        Bars that baselines look back in the comparison, where series are that long.
    levels
        Quantile levels; 0.1 and 0.9 among them.
    min_bars
        Observed bars that every series must have; 0: a horizon, and a season and one.
    plots
        Series that are drawn, at most.
    """

    model: str = "ohlcv"
    data: str = SAMPLE
    horizon: int = 24
    out: str = ""
    layout: str = "auto"
    targets: str = ""
    past_covariates: str = ""
    known_covariates: str = ""
    future: str = ""
    freq: str = ""
    item_column: str = ""
    time_column: str = ""
    windows: int = 10
    conformal: bool = False
    jointly: bool = False
    baselines: tuple[str, ...] = ("seasonal_naive", "random_walk", "auto_ets")
    items: int = 32
    history: int = 1000
    levels: tuple[float, ...] = LEVELS
    min_bars: int = 0
    plots: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("baselines", "levels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.model:
            raise ConfigError("model is empty", remedy="give a registered model's name, models:/…")
        one_of("layout", self.layout, LAYOUTS)
        least = {"horizon": 1, "windows": 0, "items": 1, "history": 1, "plots": 0, "seed": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ConfigError(
                    f"{name}={getattr(self, name)}", remedy=f"give {smallest} or more"
                )
        for baseline in self.baselines:
            one_of("baselines", baseline, BASELINES)
        if self.freq and self.freq != IRREGULAR:
            to_offset(self.freq)
        self._check_levels()
        self._check_roles()
        self._check_files()

    def _check_levels(self) -> None:
        if any(b <= a for a, b in zip((0.0, *self.levels), (*self.levels, 1.0), strict=True)):
            raise ConfigError(f"levels={list(self.levels)} are not increasing inside (0, 1)")
        if not {0.1, 0.9} <= {round(level, 9) for level in self.levels}:
            raise ConfigError(f"levels={list(self.levels)} lack 0.1 or 0.9", remedy="add them")
        if self.conformal:
            needed = windows_needed(self.levels, steps=self.horizon if self.jointly else 1)
            if not self.windows:
                raise ConfigError("conformal without windows", remedy=f"give windows={needed}")

    def _check_roles(self) -> None:
        roles = ("targets", "past_covariates", "known_covariates")
        places: dict[str, list[str]] = {}
        for role in roles:
            for name in names_in(getattr(self, role)):
                places.setdefault(name.lower(), []).append(f"{role}={name}")
        for given in places.values():
            if len(given) > 1:
                raise ConfigError(
                    f"one column has two roles: {' and '.join(given)}",
                    remedy="name each column once: what is forecast is a target",
                )
        if self.future and not self.known:
            raise ConfigError(
                f"future={self.future!r} without known_covariates",
                remedy="name the columns in it that are known ahead",
            )

    def _check_files(self) -> None:
        if self.out and Path(self.out).suffix.lower() not in KINDS:
            raise ConfigError(f"out={self.out!r} is no table", remedy="end it in .csv or .parquet")
        if self.data == SAMPLE and self.future:
            raise ConfigError("future with data=sample", remedy="give a file of your own as data")
        for name, other in (("data", ", or sample"), ("future", "")):
            given = getattr(self, name)
            if given != (SAMPLE if name == "data" else ""):
                object.__setattr__(self, name, _located(name, given, other))

    @property
    def columns(self) -> tuple[str, ...]:
        """The targets by name."""
        return names_in(self.targets)

    @property
    def past(self) -> tuple[str, ...]:
        """The past covariates by name."""
        return names_in(self.past_covariates)

    @property
    def known(self) -> tuple[str, ...]:
        """The known covariates by name."""
        return names_in(self.known_covariates)


def names_in(text: str) -> tuple[str, ...]:
    """The names between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _located(name: str, given: str, other: str) -> str:
    found = find(given)
    if found is None or found.suffix.lower() not in KINDS or not found.is_file():
        what = "does not exist" if found is None else "is no CSV or Parquet file"
        raise ConfigError(
            f"{name}={given!r} {what}",
            remedy="give a .csv or .parquet file (also looked for in "
            f"{', '.join(VARIABLES)}){other}",
        )
    return str(found)
