"""A forecaster that asks a model in another environment."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from tsfm.errors import ConfigError, DataError, UserError
from tsfm.models.base import Context, Forecast, Forecaster
from tsfm.models.foreign.config import ForeignConfig
from tsfm.models.foreign.environment import interpreter
from tsfm.models.foreign.process import Worker, WorkerError
from tsfm.models.foreign.question import answered, one_by_one, placed, question
from tsfm.models.foreign.standalone.worker_side import PROTOCOL, Message


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a worker says of its model when it is ready.

    Attributes
    ----------
    variates
        That are forecast together at most; 1: every variate is asked as a series of its own. None:
        any number.
    context
        Latest bars that it is given; None: all.
    horizon
        Bars that it forecasts at most; None: any number.
    covariates
        Whether it is given covariates.
    parameters
        How many it has; None: not known.
    """

    variates: int | None = None
    context: int | None = None
    horizon: int | None = None
    covariates: bool = False
    parameters: int | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """As the worker's handshake has them.

        Raises
        ------
        ConfigError
            When one is unknown or has another type.
        """
        unknown = sorted(set(told) - {field.name for field in fields(cls)})
        if unknown:
            raise ConfigError(f"CAPABILITIES has {unknown}, which are not known")
        for name, value in told.items():
            if name == "covariates":
                right = isinstance(value, bool)
            else:
                least = 0 if name == "parameters" else 1
                right = value is None or (type(value) is int and value >= least)
            if not right:
                raise ConfigError(f"CAPABILITIES has {name}={value!r}")
        return cls(**told)


class ForeignForecaster(Forecaster):
    """Asks a directory with ``foreign.yaml`` and ``worker.py``, in a process of its own.

    The process starts with the first question. One that crashed, took too long or wrote nonsense is
    ended, and started again for the next question; one that did not even start is not tried again.
    """

    name: ClassVar[str] = "foreign"

    def __init__(self, config: ForeignConfig) -> None:
        self.config = config
        self._worker: Worker | None = None
        self._capabilities: Capabilities | None = None
        self._unstartable: UserError | None = None
        self._lock = threading.RLock()

    @property
    def reads_history(self) -> bool:  # type: ignore[override]
        return self.config.reads_history

    @property
    def sees_covariates(self) -> bool:  # type: ignore[override]
        return self.capabilities.covariates

    @property
    def capabilities(self) -> Capabilities:
        """Of the model, which is started to tell.

        Raises
        ------
        CheckpointError
            When its environment cannot be made.
        WorkerError
            When it does not start.
        """
        self._started()
        assert self._capabilities is not None
        return self._capabilities

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        return cls(ForeignConfig.read(directory, **config_overrides))

    def save(self, directory: str | Path) -> Path:
        """Copy the model's files, hidden ones and compiled ones excepted."""
        import shutil

        ignored = shutil.ignore_patterns(".*", "__pycache__")
        target = Path(directory)
        shutil.copytree(self.config.directory, target, ignore=ignored, dirs_exist_ok=True)
        return target

    def info(self) -> dict[str, Any]:
        known = self._capabilities
        return {
            "name": self.name,
            "parameters": None if known is None else known.parameters,
            "directory": str(self.config.directory),
        }

    def expect_able(
        self,
        *,
        variates: int,
        context: int,  # noqa: ARG002
        horizon: int,
        past: int = 0,
        known: int = 0,
    ) -> None:
        can = self.capabilities
        self._expect_within("horizon", horizon, can.horizon)
        if can.variates != 1:
            self._expect_within("variates", variates, can.variates)
        if (past or known) and not can.covariates:
            warnings.warn(
                f"{self.config.name} is not given the {past + known} covariates: its CAPABILITIES "
                "do not claim them",
                stacklevel=2,
            )

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        can = self.capabilities
        self._expect_within("horizon", horizon, can.horizon)
        seen = context.last(can.context) if can.context else context
        batch, width = seen.batch_size, len(seen.variate_names)
        if can.variates == 1 and (width > 1 or not seen.observed.any(axis=1).all()):
            asked, place = one_by_one(seen)
            if not len(place):
                raise DataError("no value is observed in any series", where=self.config.name)
            return placed(self._ask(asked, horizon, quantile_levels), place, batch, width)
        self._expect_within("variates", width, can.variates)
        return self._ask(seen, horizon, quantile_levels)

    def close(self) -> None:
        """End the process; a later question starts another."""
        with self._lock:
            if self._worker is not None:
                self._worker.close()
            self._worker = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.config,)

    def _ask(self, context: Context, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """In batches of the size that the model takes."""
        step = int(self.config.batch_size)
        parts = []
        for start in range(0, context.batch_size, step):
            part = context.rows(slice(start, start + step))
            parts.append(self._batch(replace(part, seed=context.seed + start), horizon, levels))
        if len(parts) == 1:
            return parts[0]
        samples = [part.samples for part in parts if part.samples is not None]
        whole = len(samples) == len(parts) and len({one.shape[1] for one in samples}) == 1
        return replace(
            parts[0],
            quantiles=np.concatenate([part.quantiles for part in parts]),
            mean=np.concatenate([part.mean for part in parts]),
            samples=np.concatenate(samples) if whole else None,
        )

    def _batch(self, context: Context, horizon: int, levels: tuple[float, ...]) -> Forecast:
        seconds = float(self.config.request_seconds)
        with self._lock:
            worker = self._started()
            told = question(context, horizon, levels, covariates=self.capabilities.covariates)
            doing = f"forecasting {context.batch_size} series"
            header, columns = self._exchange(worker, told, seconds, doing)
        try:
            return answered(header, columns, context, horizon, levels)
        except DataError as error:
            raise worker.fail(f"{doing}: {error.what}") from error

    def _exchange(self, worker: Worker, told: bytes, seconds: float, doing: str) -> Message:
        try:
            return worker.exchange(told, seconds, doing)
        except WorkerError:
            if not worker.is_alive:
                self.close()
            raise
        except BaseException:
            self.close()
            raise

    def _started(self) -> Worker:
        with self._lock:
            if self._worker is not None and self._worker.is_alive:
                return self._worker
            if self._unstartable is not None:
                raise self._unstartable
            try:
                self._worker = self._start()
            except UserError as error:
                self._unstartable = error
                raise
            return self._worker

    def _start(self) -> Worker:
        config = self.config
        worker = Worker(interpreter(config), config.directory, config.environment)
        try:
            header, _ = worker.exchange(b"", float(config.start_seconds), "loading the model")
            if header.get("kind") != "ready" or header.get("protocol") != PROTOCOL:
                raise worker.fail(f"it speaks protocol {header.get('protocol')}, not {PROTOCOL}")
            self._capabilities = Capabilities.of(header["capabilities"])
        except ConfigError as error:
            worker.close()
            raise worker.fail(error.what) from error
        except BaseException:
            worker.close()
            raise
        return worker

    def _expect_within(self, what: str, asked: int, most: int | None) -> None:
        if most is not None and asked > most:
            raise ConfigError(
                f"{what}={asked} is beyond the {most} of {self.config.name}",
                where=str(self.config.directory),
            )


__all__ = ["Capabilities", "ForeignForecaster", "WorkerError"]
