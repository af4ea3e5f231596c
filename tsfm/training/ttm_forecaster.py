"""A TinyTimeMixer for people with frames: fit, predict, predict_zero_shot, evaluate, save, load.

>>> from tsfm import TTMConfig, TTMForecaster
>>> model = TTMForecaster(TTMConfig(model_path="ttm-base"))  # doctest: +SKIP
>>> model.fit(train_data=frames, output_dir="trained")  # doctest: +SKIP
>>> model.predict(new_frames)  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import pandas as pd
import torch

from tsfm.data.preparation import load_preparation
from tsfm.data.provenance import Provenance
from tsfm.data.windows import Window
from tsfm.errors import CheckpointError, ConfigError, DataError
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.leaderboard import leaderboard
from tsfm.evaluation.metrics import score
from tsfm.evaluation.patient_holdout import ends_apart
from tsfm.evaluation.tasks import Task
from tsfm.models.adaptation import adapt
from tsfm.models.base import Context, Forecaster, Trainable
from tsfm.models.conditioning import Conditioned
from tsfm.models.source import directory_of, load_local
from tsfm.models.starting import Asked, load_start
from tsfm.training.logger import NullLogger
from tsfm.training.trainer import FitResult, fit
from tsfm.training.ttm_data import TTMData
from tsfm.training.ttm_options import DistributedConfig, LoRAConfig, TTMConfig

if TYPE_CHECKING:
    from tsfm.data.panel import Panel
    from tsfm.training.ttm_data import Data

SETTINGS_FILE = "ttm_forecaster.json"
_AT_ONCE = 64


class TTMForecaster:
    """A base model, fitted to a user's frames, and its forecasts in the user's columns and units.

    Frames are one person's each (a dict by id) or all together; files, folders, the names of data
    sets (``"brist1d"``) and panels are taken as well.

    Parameters
    ----------
    config
        Its base, columns and training.
    lora_config
        Train low-rank adapters instead of all weights.
    distributed_config
        Train on several devices.

    Raises
    ------
    CheckpointError
        When the base model cannot be found or read, or is of another architecture.
    """

    def __init__(
        self,
        config: TTMConfig | None = None,
        lora_config: LoRAConfig | None = None,
        distributed_config: DistributedConfig | None = None,
    ) -> None:
        self.config = config or TTMConfig()
        self.lora, self.distributed = lora_config or LoRAConfig(), distributed_config
        self.data = TTMData(self.config)
        self.model: Forecaster | None = None
        self.provenance: Provenance | None = None
        self._base = directory_of(self.config.model_path)
        self._zero_shot = self._start((1, 0, 0)).model

    def fit(
        self,
        train_data: Data,
        val_data: Data | None = None,
        test_data: Data | None = None,
        output_dir: str | Path = "outputs/ttm",
        resume_from_checkpoint: str | Path | None = None,
    ) -> dict[str, float]:
        """Train, keep the weights of the best validation, and save the model in ``output_dir``.

        Parameters
        ----------
        val_data
            By default the end of each series, ``validation_share`` of it.
        test_data
            Scored afterwards.
        resume_from_checkpoint
            The directory of an interrupted ``fit`` of the same arguments.

        Returns
        -------
        metrics
            Of training (``train_seconds``, ``steps``, ``validation_loss`` …) and of the test data
            (``test_rmse`` …).

        Raises
        ------
        ConfigError
            When a LoRA target matches nothing, or a column or value is not known.
        DataError
            When data cannot be read, or hold no window long enough.
        """
        config = self.config
        panel = self.data.panel(train_data, "train")
        if val_data is None:
            train, validation, _ = ends_apart(
                panel, config.validation_share,
                context=config.context_length, horizon=config.forecast_length,
            )  # fmt: skip
        else:
            train, validation = panel, self.data.panel(val_data, "validation")
        info = panel.info
        channels = len(info.variates), len(info.past_covariates), len(info.known_covariates)
        start = self._start(channels)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            adapted = adapt(start.model, config.adaptation(self.lora), start.fresh)
        model = start.model
        if config.conditioning.is_needed:
            model = Conditioned.fitted(model, config.conditioning, train)
        output = Path(output_dir)
        if config.training_mode == "zero_shot":
            result = FitResult.untrained(model, output)
        else:
            result = self._fit(model, train, validation, output, resume_from_checkpoint)
        self.model = result.model
        self.provenance = Provenance.of(train)
        self.save(result.model_directory)
        metrics = {
            "parameters": float(adapted.parameters),
            "trainable_parameters": float(adapted.trainable),
            "steps": float(result.steps),
            "train_seconds": result.train_seconds,
            "peak_memory_bytes": float(result.peak_memory),
        }
        if result.validation_loss is not None:
            metrics["validation_loss"] = result.validation_loss
        if test_data is not None:
            table = self.evaluate(test_data)
            metrics |= {f"test_{m}": float(v) for m, v in zip(table["metric"], table["value"])}
        return metrics

    def predict(
        self, data: Data, batch_size: int = _AT_ONCE, horizon: int | None = None
    ) -> pd.DataFrame:
        """Forecast what follows the last row of every series.

        With known features, the rows after the last observed target are what is known of the
        horizon.

        Parameters
        ----------
        batch_size
            Series at once.
        horizon
            Bars; by default ``forecast_length``.

        Returns
        -------
        pd.DataFrame
            Long: ``item_id, step, timestamp, variate, mean, q0.1 …``, in the units of the data.

        Raises
        ------
        ConfigError
            When the model has not been fitted or loaded.
        DataError
            When data cannot be read, or what must be known of the horizon is absent.
        """
        if self.model is None:
            raise ConfigError(
                "the model has not been fitted", remedy="call fit or load, or predict_zero_shot"
            )
        return self._predict(self.model, data, batch_size, horizon)

    def predict_zero_shot(
        self, data: Data, batch_size: int = _AT_ONCE, horizon: int | None = None
    ) -> pd.DataFrame:
        """As :meth:`predict`, by the base model as it is."""
        return self._predict(self._zero_shot, data, batch_size, horizon)

    def evaluate(self, data: Data, *, windows_per_item: int = 20) -> pd.DataFrame:
        """Score forecasts within series of which the end is known.

        Returns
        -------
        pd.DataFrame
            ``variate, metric, value, low, high, windows``: errors in the panel's units (glucose:
            mg/dL) with intervals over series.

        Raises
        ------
        DataError
            When no series holds a context and a horizon.
        """
        panel = self.data.panel(data, "test")
        task = Task.on(
            panel,
            known=panel.info.known_covariates,
            context=self.config.context_length,
            horizon=self.config.forecast_length,
            stride=max(self.config.forecast_length // 8, 1),
            max_windows=windows_per_item,
            cluster="item",
        )
        table = leaderboard(score(backtest(self.model or self._zero_shot, task, panel)))
        return table.drop(columns=["task", "model", "clusters"])

    def save(self, path: str | Path) -> Path:
        """Write a directory that :meth:`load` and :func:`tsfm.load_forecaster` read.

        Raises
        ------
        ConfigError
            When there is nothing to save yet.
        CheckpointError
            When it cannot be written.
        """
        if self.model is None or self.data.preparation is None:
            raise ConfigError("the model has not been fitted", remedy="call fit before save")
        directory = self.model.save(path)
        self.data.preparation.save(directory)
        if self.provenance is not None:
            self.provenance.save(directory)
        settings = {"config": asdict(self.config), "lora_config": asdict(self.lora)}
        temporary = directory / f".{SETTINGS_FILE}"
        temporary.write_text(json.dumps(settings, indent=2))
        temporary.replace(directory / SETTINGS_FILE)
        return directory

    def load(self, path: str | Path) -> Self:
        """Read what :meth:`save` wrote, settings included, in place.

        Raises
        ------
        CheckpointError
            When a file is missing or damaged.
        """
        directory = Path(path)
        model = load_local(directory)
        preparation = load_preparation(directory)
        try:
            settings = json.loads((directory / SETTINGS_FILE).read_text())
            config = TTMConfig(**settings["config"])
            lora = LoRAConfig(**settings["lora_config"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{SETTINGS_FILE} cannot be read: {error!r}",
                where=str(directory),
                remedy="give a directory that TTMForecaster.save wrote",
            ) from error
        self.model, self.config, self.lora = model, config, lora
        self.data = TTMData(config, preparation)
        return self

    def info(self) -> dict[str, Any]:
        """What the model is."""
        return (self.model or self._zero_shot).info()

    def _start(self, channels: tuple[int, int, int]) -> Any:
        from tsfm.models.starting import kind_of

        kind = kind_of(self._base)
        if kind != "ttm":
            raise CheckpointError(
                f"the directory holds {kind!r}, not 'ttm'",
                where=str(self._base),
                remedy="give a TinyTimeMixer, or fine-tune other models with -e finetune",
            )
        is_covered = channels[1] + channels[2] > 0
        asked = Asked(
            context=self.config.context_length,
            horizon=self.config.forecast_length,
            channels=channels,
            loss=self.config.loss if is_covered or self.config.training_mode != "zero_shot" else "",
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            return load_start(self._base, asked)

    def _fit(
        self,
        model: Forecaster,
        train: Panel,
        validation: Panel,
        output: Path,
        resume: str | Path | None,
    ) -> FitResult:
        from tsfm.training.tensorboard import TensorBoardLogger

        config = self.config
        trainer = config.trainer(self.distributed or DistributedConfig())
        spec = cast(Trainable, model).window_spec
        trainer = config.recipe.trainer(trainer, "ttm", [train], spec)
        trainer = replace(trainer, validate_every=min(trainer.validate_every, trainer.max_steps))
        logger = TensorBoardLogger(NullLogger(), config.logging_dir) if config.logging_dir else None
        try:
            return fit(
                model, train, validation=validation, config=trainer, output_dir=output,
                resume_from=resume, logger=logger,
            )  # fmt: skip
        finally:
            if logger is not None:
                logger.close()

    def _predict(
        self, model: Forecaster, data: Data, batch_size: int, horizon: int | None
    ) -> pd.DataFrame:
        panel = self.data.panel(data, "data")
        steps = horizon or self.config.forecast_length
        windows = list(self._contexts(panel, steps))
        frames = [
            model.predict(
                Context.from_windows(windows[k : k + batch_size], horizon=steps), steps
            ).to_frame()
            for k in range(0, len(windows), batch_size)
        ]
        return self.data.restore(pd.concat(frames, ignore_index=True))

    def _contexts(self, panel: Panel, horizon: int) -> Iterator[Window]:
        needs_future = bool(panel.info.known_covariates)
        for item, item_id in enumerate(panel.item_ids):
            stop = int(panel.lengths[item])
            if needs_future:
                seen = np.flatnonzero(np.isfinite(panel.series(item).target).any(axis=0))
                last = int(seen[-1]) + 1 if len(seen) else stop
                if stop - last < horizon:
                    raise DataError(
                        f"{', '.join(panel.info.known_covariates)} are known for "
                        f"{stop - last} of {horizon} bars after the last target",
                        where=f"series {item_id!r}",
                        remedy="add rows for the horizon, targets empty",
                    )
                stop = last
            length = min(stop, self.config.context_length)
            yield panel.window(item, stop - length, length, future=horizon)
