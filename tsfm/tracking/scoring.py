"""Requests to ``mlflow models serve``: read, answered or refused in words, whatever they hold.

MLflow's own request path echoes a damaged body into its answer, answers deep nesting or a missing
type with status 500, ignores parameters it does not know, and reads as many large bodies at once
as there are clients. Here the same four formats lead to the same answer, nonsense to status 400
with what is wrong, where, and what to do, and large bodies are read one after the other.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from tsfm.errors import UserError
from tsfm.tracking.request_body import JSON, read_body
from tsfm.tracking.scoring_limits import ServingLimits

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.pyfunc import PyFuncModel
    from mlflow.pyfunc.scoring_server import InvocationsResponse

    from tsfm.tracking.serving import ServedForecaster

LARGE_BODY = 4_000_000
_logger = logging.getLogger(__name__)
_large = threading.Lock()
_working = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))


def install() -> ServingLimits | None:
    """Answer a scoring server's requests with :func:`answer`; elsewhere nothing happens.

    Raises
    ------
    ConfigError
        When an environment variable sets a limit that is none.
    """
    from mlflow.pyfunc import scoring_server

    if scoring_server._SERVER_MODEL_PATH not in os.environ:
        return None
    limits = ServingLimits.from_environment()

    def invocations(
        data: bytes,
        content_type: str | None,
        model: PyFuncModel,
        input_schema: object,  # noqa: ARG001
    ) -> InvocationsResponse:
        return answer(data, content_type, model, limits)

    scoring_server.invocations = invocations
    return limits


def warm_up(model: ServedForecaster, directory: Path) -> None:
    """Forecast the logged model's own example once, so that no client waits for what comes late."""
    example = directory / "serving_input_example.json"
    try:
        frame = pd.DataFrame(**json.loads(example.read_text())["dataframe_split"])
        predictions(model.forecast(frame, {"horizon": 1}))
    except Exception as error:
        _logger.warning("the model's example was not forecast: %s", error)


def answer(
    body: bytes, content_type: str | None, model: PyFuncModel, limits: ServingLimits
) -> InvocationsResponse:
    """``{"predictions": […]}`` with status 200, or ``{"error_code": …, "message": …}``."""
    from mlflow.exceptions import MlflowException

    columns = model.metadata.get_input_schema().input_names()
    try:
        with _turn(len(body)):
            frame, params = read_body(body, content_type, columns, limits)
            forecast = model.unwrap_python_model().forecast(frame, _defaults(model) | params)
            return _response(predictions(forecast), 200)
    except UserError as error:
        return _refusal("INVALID_PARAMETER_VALUE", str(error), 400)
    except MlflowException as error:
        return _refusal(error.error_code, error.message, error.get_http_status_code())
    except MemoryError:
        return _refusal("RESOURCE_EXHAUSTED", "the request needs more memory than there is", 503)
    except Exception as error:
        _logger.exception("a request failed")
        told = f"the forecast failed ({type(error).__name__}); the server's log says where"
        return _refusal("INTERNAL_ERROR", told, 500)


def predictions(forecast: pd.DataFrame) -> str:
    """The answer's JSON: a record per row, dates as ISO 8601, null where there is no number."""
    import polars as pl

    columns = {str(name): forecast[name].to_numpy() for name in forecast}
    table = pl.DataFrame(columns, nan_to_null=True).with_columns(
        pl.col("timestamp").dt.to_string("%Y-%m-%dT%H:%M:%S%.f")
    )
    return f'{{"predictions": {table.write_json()}}}'


def _defaults(model: PyFuncModel) -> dict[str, Any]:
    schema = model.metadata.get_params_schema()
    return {one.name: one.default for one in schema.params}


@contextmanager
def _turn(size: int) -> Iterator[None]:
    """One large body at a time, and as many requests as there are cores."""
    if size > LARGE_BODY:
        with _large, _working:
            yield
    else:
        with _working:
            yield


def _refusal(code: str, message: str, status: int) -> InvocationsResponse:
    return _response(
        json.dumps({"error_code": code, "message": message[:4000]}, ensure_ascii=False), status
    )


def _response(text: str, status: int) -> InvocationsResponse:
    from mlflow.pyfunc.scoring_server import InvocationsResponse

    return InvocationsResponse(response=text, status=status, mimetype=JSON)
