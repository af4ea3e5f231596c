"""Forecasters as MLflow models: a frame of bars in, a long frame of quantiles out."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from packaging.requirements import Requirement
from packaging.version import Version

from tsfm.data.quantiles import quantile_column
from tsfm.errors import ConfigError, DataError
from tsfm.models.base import QUANTILE_LEVELS

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

FORECASTER = "forecaster"
CODE_FILE = Path(__file__).with_name("serving_model.py")
DEFAULT_HORIZON = 24
PARAMETERS = ("horizon", "quantile_levels", "seed")


class ServedForecaster(PythonModel):
    """Loads the model directory among its artifacts and forecasts frames with it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read forecaster and preparation from the model's own files."""
        from tsfm.data.preparation import load_preparation
        from tsfm.models.source import load_local

        directory = Path(context.artifacts[FORECASTER])
        self.forecaster = load_local(directory)
        self.preparation = load_preparation(directory)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Forecast the bars after the last of every item.

        Parameters
        ----------
        model_input
            ``item_id``, ``timestamp`` and the columns of the signature.
        params
            ``horizon`` (bars), ``quantile_levels``, ``seed``.

        Raises
        ------
        ConfigError
            When a parameter is unknown or out of range.
        DataError
            When the frame is not valid input of the model.
        """
        from tsfm.models.frames import forecast_frame

        check_parameters(params or {})
        chosen: dict[str, Any] = {
            "horizon": DEFAULT_HORIZON,
            "quantile_levels": QUANTILE_LEVELS,
            "seed": 0,
        } | (params or {})
        return forecast_frame(
            self.forecaster,
            self.preparation,
            model_input,
            int(chosen["horizon"]),
            tuple(float(level) for level in chosen["quantile_levels"]),
            int(chosen["seed"]),
        )


class Served:
    """A loaded MLflow model whose ``predict`` refuses unknown parameters.

    MLflow's own ``predict`` only warns of them and forecasts with the defaults.
    """

    def __init__(self, model: PyFuncModel) -> None:
        self.model = model

    def predict(self, frame: pd.DataFrame, **params: Any) -> pd.DataFrame:
        """As :meth:`ServedForecaster.predict`."""
        from mlflow.exceptions import MlflowException

        check_parameters(params)
        if "quantile_levels" in params:
            params["quantile_levels"] = [float(level) for level in params["quantile_levels"]]
        try:
            forecast = self.model.predict(as_input(frame), params=params)
        except MlflowException as error:
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
            f"unknown parameters {', '.join(unknown)}", remedy=f"give {', '.join(PARAMETERS)}"
        )
    for name, least in (("horizon", 1), ("seed", 0)):
        value = params.get(name, least)
        if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
            raise ConfigError(f"{name}={value!r} is not a whole number from {least} on")
    levels = params.get("quantile_levels", QUANTILE_LEVELS)
    if isinstance(levels, (str, bytes)) or not hasattr(levels, "__len__") or len(levels) == 0:
        raise ConfigError(
            f"quantile_levels={levels!r} is not a list of numbers",
            remedy=f"for example {list(QUANTILE_LEVELS)}",
        )


def signature(example: pd.DataFrame, horizon: int = DEFAULT_HORIZON) -> ModelSignature:
    """The columns of an input example in, a forecast's long frame out."""
    text, moment, number, whole = (
        DataType.string, DataType.datetime, DataType.double, DataType.long,
    )  # fmt: skip
    kinds = {"item_id": text, "timestamp": moment}
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(kinds.get(name, number), name) for name in map(str, example.columns)
    ]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(text, "item_id"),
        ColSpec(whole, "step"),
        ColSpec(moment, "timestamp"),
        ColSpec(text, "variate"),
        ColSpec(number, "mean"),
    ]
    outputs += [ColSpec(number, quantile_column(level)) for level in QUANTILE_LEVELS]
    params = [
        ParamSpec("horizon", whole, horizon),
        ParamSpec("quantile_levels", number, list(QUANTILE_LEVELS), shape=(-1,)),
        ParamSpec("seed", whole, 0),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def as_input(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the types of the signature: text, datetimes and doubles.

    MLflow itself refuses whole numbers where doubles are expected.
    """
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
