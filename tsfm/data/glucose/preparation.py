"""Readings in a user's own columns and units to panels, and forecasts back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tsfm.data.glucose.cgm_config import ALL, CgmConfig
from tsfm.data.glucose.columns import GLUCOSE
from tsfm.data.glucose.units import MMOL_L, from_mg_dl
from tsfm.data.preparation import Preparation
from tsfm.data.quantiles import quantile_columns
from tsfm.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Float
    from numpy import ndarray

    from tsfm.data.panel import Panel


class GlucosePreparation(Preparation):
    """Readings to ``glucose`` in mg/dL on a regular grid, with IOB, COB and other covariates.

    What :meth:`fit` learns is which covariates there are; repairs of one person depend on that
    person's readings alone, and every bar on what was known at its time.

    Parameters
    ----------
    covariates, known_covariates
        Those of the training data, once fitted; ``("all",)`` before.
    options
        The other fields of :class:`CgmConfig`.

    Raises
    ------
    ConfigError
        When an option is unknown or not allowed.
    """

    name: ClassVar[str] = "glucose"

    def __init__(self, **options: Any) -> None:
        known = {one.name for one in fields(CgmConfig)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ConfigError(
                f"options {', '.join(unknown)} are not known",
                where="glucose preparation",
                remedy=f"choose from {', '.join(sorted(known))}",
            )
        self.config = CgmConfig(**options)

    @classmethod
    def of(cls, config: CgmConfig) -> Self:
        """With these options."""
        return cls(**asdict(config))

    def adopt(self, panel: Panel) -> Self:
        """Take over the covariates and the resolution of a panel of training readings."""
        from tsfm.data.frequency import step_nanoseconds

        step = step_nanoseconds(panel.info.freq) if panel.info.freq else None
        self.config = replace(
            self.config,
            covariates=panel.info.past_covariates,
            known_covariates=panel.info.known_covariates,
            resolution_minutes=step // 60_000_000_000 if step else self.config.resolution_minutes,
        )
        return self

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from training readings which covariates there are, and at which resolution.

        Raises
        ------
        DataError
            As :func:`tsfm.data.glucose.cgm.glucose_panel`.
        """
        return self.adopt(self.panel(frame))

    def panel(self, frame: pd.DataFrame | Mapping[str, pd.DataFrame], name: str = "frame") -> Panel:
        """A panel of new readings, of one person or many, in the columns that were fitted.

        Rows after the last reading of glucose give the known covariates that are announced.

        Raises
        ------
        DataError
            As :func:`tsfm.data.glucose.cgm.glucose_panel`.
        """
        from tsfm.data.glucose.cgm import glucose_panel

        return glucose_panel(frame, replace(self.config, name=name, announced=self.is_fitted))[0]

    def impute(self, past: Float[ndarray, "*any time"]) -> Float[ndarray, "*any time"]:
        """A context with its gaps filled as configured; see :mod:`tsfm.data.glucose.imputation`."""
        from tsfm.data.glucose.imputation import impute

        config = self.config
        return impute(past, method=config.imputation, steps=config.imputation_steps)

    def restore(self, forecast: pd.DataFrame) -> pd.DataFrame:
        """A forecast's long frame with glucose in ``forecast_units``.

        Raises
        ------
        DataError
            When it forecasts something else.
        """
        levels = quantile_columns(forecast, ("item_id", "variate", "mean"))
        foreign = sorted(set(forecast["variate"]) - {GLUCOSE})
        if foreign:
            raise DataError(
                f"variates {', '.join(map(str, foreign))} are not {GLUCOSE}", where="forecast"
            )
        if self.config.forecast_units != MMOL_L:
            return forecast
        restored = forecast.copy()
        columns = ["mean", *levels]
        restored[columns] = from_mg_dl(forecast[columns].to_numpy(float), MMOL_L)
        return restored

    @property
    def known_columns(self) -> tuple[str, ...]:
        """What is announced ahead, by role."""
        return self.config.known_covariates

    @property
    def is_fitted(self) -> bool:
        """Whether the covariates are those of training data."""
        return self.config.covariates != (ALL,)

    def state(self) -> dict[str, Any]:
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self.config).items()
        }
