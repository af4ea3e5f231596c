"""Forecasters as MLflow models: a frame of bars in, a long frame of quantiles out."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType
from packaging.requirements import Requirement
from packaging.version import Version

from tsfm.data.quantiles import quantile_column
from tsfm.data.tidying import listed, shortened
from tsfm.errors import ConfigError, DataError, UserError
from tsfm.models.base import QUANTILE_LEVELS

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

    from tsfm.tracking.scoring_limits import ServingLimits

FORECASTER = "forecaster"
CODE_FILE = Path(__file__).with_name("serving_model.py")
DEFAULT_HORIZON = 24
PARAMETERS = ("horizon", "quantile_levels", "seed", "as_of")
NOTE = "note"


class ServedForecaster(PythonModel):
    """Loads the model directory among its artifacts and forecasts frames with it.

    Threads may share it: forecasters have a state while they forecast (the mode of a network, a
    seeded generator), so they forecast one after the other; torch itself uses all cores.

    Attributes
    ----------
    limits
        Of one request; None outside a scoring server.
    """

    limits: ServingLimits | None = None

    def load_context(self, context: PythonModelContext) -> None:
        """Read forecaster and preparation from the model's own files, safetensors and JSON."""
        from tsfm.data.preparation import load_preparation
        from tsfm.models.source import load_local
        from tsfm.tracking import scoring

        directory = Path(context.artifacts[FORECASTER])
        self.forecaster = load_local(directory)
        if hasattr(self.forecaster, "eval"):
            self.forecaster.eval()
        self.preparation = load_preparation(directory)
        self.context_length = self.forecaster.info().get("config", {}).get("context")
        self.one_at_a_time = threading.Lock()
        self.limits = scoring.install()
        if self.limits is not None:
            scoring.warm_up(self, directory.parents[1])

    def predict(
        self,
        context: PythonModelContext | None,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Forecast the bars after the last of every item.

        Parameters
        ----------
        model_input
            ``item_id``, ``timestamp`` and the columns of the signature.
        params
            ``horizon`` (bars), ``quantile_levels``, ``seed``, ``as_of`` (a date: forecast as if it
            were now).

        Returns
        -------
        pd.DataFrame
            As :func:`tsfm.models.frames.forecast_frame`. Where an item's rows were set right or
            its forecast lacks something, the column ``note`` says so.

        Raises
        ------
        MlflowException
            ``INVALID_PARAMETER_VALUE`` (HTTP 400), with what is wrong, where, and what to do.
        """
        try:
            return self.forecast(model_input, params or {})
        except UserError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error

    def forecast(self, frame: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
        """As :meth:`predict`, with errors of this project."""
        from tsfm.models.frames import NOTES, forecast_frame

        check_parameters(params)
        given = {name: value for name, value in params.items() if value is not None}
        horizon = int(given.get("horizon", DEFAULT_HORIZON))
        levels = tuple(float(level) for level in given.get("quantile_levels", QUANTILE_LEVELS))
        if self.limits is not None:
            items = frame["item_id"].nunique() if "item_id" in frame else 1
            self.limits.expect_forecast(horizon, items, len(levels))
        with self.one_at_a_time:
            forecast = forecast_frame(
                self.forecaster,
                self.preparation,
                frame,
                horizon,
                levels,
                int(given.get("seed", 0)),
                context=self.context_length,
                as_of=given.get("as_of") or None,
            )
        notes = forecast.attrs[NOTES]
        if notes:
            told = {item: "; ".join(texts) for item, texts in notes.items()}
            forecast[NOTE] = forecast["item_id"].map(told).fillna("")
        return forecast


class Served:
    """A loaded MLflow model whose ``predict`` refuses unknown parameters.

    MLflow's own ``predict`` only warns of them and forecasts with the defaults.
    """

    def __init__(self, model: PyFuncModel) -> None:
        self.model = model

    def predict(self, frame: pd.DataFrame, **params: Any) -> pd.DataFrame:
        """As :meth:`ServedForecaster.predict`."""
        check_parameters(params)
        if "quantile_levels" in params:
            params["quantile_levels"] = [float(level) for level in params["quantile_levels"]]
        try:
            forecast = self.model.predict(frame, params=params)
        except MlflowException as error:
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from None
            columns = self.model.metadata.get_input_schema().input_names()
            raise DataError(
                f"the frame is no input of the model: {error.message}",
                remedy=f"its columns are {', '.join(columns)}",
            ) from error
        return cast("pd.DataFrame", forecast)


def load_served(uri: str) -> Served:
    """Load a logged or registered model as it is served.

    Raises
    ------
    TrackingError
        When there is no such model.
    """
    from mlflow.pyfunc import load_model

    from tsfm.tracking.registry import download

    return Served(load_model(str(download(uri))))


def check_parameters(params: Mapping[str, Any]) -> None:
    """Raise :class:`ConfigError` unless every parameter is known and of the right kind."""
    unknown = sorted(set(params) - set(PARAMETERS))
    if unknown:
        raise ConfigError(
            f"unknown parameters {listed(unknown)}", remedy=f"give {', '.join(PARAMETERS)}"
        )
    for name, least in (("horizon", 1), ("seed", 0)):
        value = params.get(name, least)
        if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
            raise ConfigError(f"{name}={_shown(value)} is not a whole number from {least} on")
        if int(value) >= 2**63:
            raise ConfigError(f"{name}={_shown(value)} is beyond 2^63")
    levels = params.get("quantile_levels", QUANTILE_LEVELS)
    if not isinstance(levels, (list, tuple, np.ndarray)) or not _are_levels(levels):
        raise ConfigError(
            f"quantile_levels={_shown(levels)} are not increasing numbers inside (0, 1)",
            remedy=f"for example {list(QUANTILE_LEVELS)}",
        )
    as_of = params.get("as_of")
    if as_of is not None and not isinstance(as_of, (str, pd.Timestamp, np.datetime64)):
        raise ConfigError(f"as_of={_shown(as_of)} is no date", remedy="give text like 2024-01-31")


def _shown(value: object) -> str:
    return shortened(repr(value)[:200])


def _are_levels(levels: Sequence[Any] | np.ndarray) -> bool:
    if not all(isinstance(level, (int, float, np.number)) for level in levels):
        return False
    bounded = (0.0, *levels, 1.0)
    return len(levels) > 0 and all(low < high for low, high in pairwise(bounded))


def signature(example: pd.DataFrame, horizon: int = DEFAULT_HORIZON) -> ModelSignature:
    """The columns of an input example in, a forecast's long frame out.

    Inputs are of any type: MLflow's own checks refuse whole numbers where doubles are expected and
    tell neither row nor remedy; :func:`tsfm.data.tidying.tidied` reads them instead.
    """
    text, moment, number, whole = (
        DataType.string, DataType.datetime, DataType.double, DataType.long,
    )  # fmt: skip
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(AnyType(), name) for name in map(str, example.columns)
    ]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(text, "item_id"),
        ColSpec(whole, "step"),
        ColSpec(moment, "timestamp"),
        ColSpec(text, "variate"),
        ColSpec(number, "mean"),
    ]
    outputs += [ColSpec(number, quantile_column(level)) for level in QUANTILE_LEVELS]
    outputs += [ColSpec(text, NOTE, required=False)]
    params = [
        ParamSpec("horizon", whole, horizon),
        ParamSpec("quantile_levels", number, list(QUANTILE_LEVELS), shape=(-1,)),
        ParamSpec("seed", whole, 0),
        ParamSpec("as_of", text, None),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def as_input(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as text, datetimes and doubles."""
    return pd.DataFrame({name: _as_column(str(name), frame[name]) for name in frame.columns})


def _as_column(name: str, column: pd.Series) -> pd.Series:
    try:
        if name == "item_id":
            return column.astype(str).astype(object)
        return pd.to_datetime(column) if name == "timestamp" else column.astype("float64")
    except (ValueError, TypeError) as error:
        raise DataError(f"column {name} cannot be read: {error}") from error


def pinned_requirements() -> list[str]:
    """The project's dependencies at the versions installed here.

    Stated, since MLflow's own inference of them imports the model in another process for 20 s.
    """
    try:
        declared = requires("tsfm-lab") or []
    except PackageNotFoundError:
        project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        declared = project["project"]["dependencies"]
    needed = [Requirement(line) for line in declared]
    return [_pin(requirement) for requirement in needed if "extra" not in str(requirement.marker)]


def _pin(requirement: Requirement) -> str:
    """Without the local part of a version (``+cpu``), which no index has."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={Version(version(requirement.name)).public}"
