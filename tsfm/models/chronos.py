"""Chronos: Amazon's pretrained forecasters, zero-shot and fine-tuned, through their own library.

Three families, told apart by the checkpoint: T5 (samples of tokens), Bolt (direct quantiles) and
Chronos-2 (multivariate, direct quantiles). Sources: Ansari et al. 2024, *Chronos: Learning the
language of time series*; Ansari et al. 2025, *Chronos-2: From univariate to universal forecasting*;
library: chronos-forecasting 2.3 (Apache-2.0, weights too).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsfm.data.windows import Window, WindowSpec
from tsfm.errors import ConfigError
from tsfm.models import chronos_checkpoint
from tsfm.models.base import Batch, Context, Forecast, Forecaster
from tsfm.models.chronos_config import ChronosConfig
from tsfm.models.chronos_families import FAMILIES
from tsfm.models.modes import evaluating
from tsfm.models.quantiles import between_levels

if TYPE_CHECKING:
    from chronos import BaseChronosPipeline


class Chronos(nn.Module, Forecaster):
    """A checkpoint of chronos-forecasting as one of our forecasters.

    T5 and Bolt forecast each variate by itself, Chronos-2 the variates of a series together.
    Covariates are not seen. Fine-tune with ``TrainerConfig(**model.fine_tuning, max_steps=…)``:
    learning rates above these make released weights worse than zero-shot on data like ours.

    Parameters
    ----------
    pipeline
        The library's; its network is trained in place.
    """

    name: ClassVar[str] = "chronos"

    def __init__(self, pipeline: BaseChronosPipeline, config: ChronosConfig | None = None) -> None:
        super().__init__()
        self.family = FAMILIES[type(pipeline).__name__](pipeline)
        self.network = self.family.network
        self.config = self.family.resolved(config or ChronosConfig())
        self.train()

    @property
    def fine_tuning(self) -> dict[str, float]:
        """Fields of ``TrainerConfig`` to fine-tune with.

        Learning rates: 1e-6 for Chronos-2 (its library's default), 1e-5 for T5 and Bolt
        (AutoGluon's); ten times as much for LoRA, as the library advises.
        """
        rate = self.family.fine_tuning["lr"]
        adapted = any(hasattr(layer, "lora_A") for layer in self.modules())
        return {**self.family.fine_tuning, "lr": 10 * rate if adapted else rate}

    @property
    def window_spec(self) -> WindowSpec:
        """A context as long as the horizon, up to the whole context, and the horizon."""
        context, horizon = self._lengths
        return WindowSpec(min_length=min(context, horizon) + horizon, max_length=context + horizon)

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return self.family.lora_targets

    @property
    def head(self) -> nn.Module:
        """The output layer, which linear probing trains."""
        return self.network.get_submodule(self.family.head)

    @property
    def _lengths(self) -> tuple[int, int]:
        assert self.config.context is not None
        assert self.config.horizon is not None
        return self.config.context, self.config.horizon

    def collate(
        self,
        windows: Iterator[Window],
        batch_size: int,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> Batch:
        """``batch_size`` windows, one row for each of their variates that can be learned from."""
        context, horizon = self._lengths
        pasts, futures, groups = [], [], []
        for index, window in enumerate(islice(windows, batch_size)):
            past, future = window.target[:, :-horizon], window.target[:, -horizon:]
            useful = np.isfinite(past).any(axis=1) & np.isfinite(future).any(axis=1)
            padding = ((0, 0), (max(context - past.shape[1], 0), 0))
            pasts.append(np.pad(past[useful], padding, constant_values=np.nan))
            futures.append(future[useful])
            groups.append(np.full(useful.sum(), index))
        rows, group = np.concatenate(pasts), np.concatenate(groups)
        if not self.config.multivariate:
            group = np.arange(len(rows))
        return self.family.fields(
            torch.from_numpy(rows.astype(np.float32)),
            torch.from_numpy(np.concatenate(futures).astype(np.float32)),
            torch.from_numpy(group),
        )

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """:meth:`loss`, so that wrappers of modules (compilation, data parallel) work."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The family's own loss: its sum, and the number of tokens (T5) or rows it is a mean of."""
        if self.training and self.config.untrained:
            self.config = replace(self.config, untrained=False)
        first = next(iter(batch.values()))
        if len(first) == 0:
            nothing = sum(p.sum() * 0.0 for p in self.parameters() if p.requires_grad)
            return torch.as_tensor(nothing), torch.zeros((), device=first.device)
        return self.family.loss(batch)

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """The library's forecasts; variates that were never observed are left NaN.

        T5: quantiles and mean of the samples, drawn by ``context.seed``. Bolt and Chronos-2: levels
        between the native ones by :func:`~tsfm.models.quantiles.between_levels`, and the median as
        the mean. Horizons beyond the model's own are rolled as the library does it: T5 goes on from
        the samples' median, the others from each of nine quantiles.

        Raises
        ------
        ConfigError
            When the weights are random and ``allow_untrained`` is not set.
        """
        self._expect_trained()
        recent = context.last(self._lengths[0])
        past = np.where(recent.observed, recent.past, np.nan)
        places = np.argwhere(recent.observed.any(axis=1))
        row, variate = places.T
        shape = (context.batch_size, horizon, past.shape[2])
        quantiles = np.full((*shape, len(quantile_levels)), np.nan, np.float32)
        mean = np.full(shape, np.nan, np.float32)
        samples = None
        if len(places):
            drawn = self._draw(past[row, :, variate], row, horizon, context.seed)
            quantiles[row, :, variate] = self._quantiles(drawn, quantile_levels)
            if self.family.levels:
                mean[row, :, variate] = self._quantiles(drawn, (0.5,))[..., 0]
            else:
                mean[row, :, variate] = drawn.mean(axis=-1)
                samples = np.full((shape[0], drawn.shape[2], *shape[1:]), np.nan, np.float32)
                samples[row, :, :, variate] = drawn.swapaxes(1, 2)
        return Forecast(
            quantiles=quantiles,
            quantile_levels=quantile_levels,
            mean=mean,
            samples=samples,
            is_joint=samples is not None and shape[2] == 1,
        )

    def embeddings(self, context: Context) -> Float[np.ndarray, "batch variate token dim"]:
        """The encoder's state of every token: a bar (T5) or a patch; NaN of absent variates.

        Raises
        ------
        ConfigError
            When the weights are random and ``allow_untrained`` is not set.
        """
        self._expect_trained()
        recent = context.last(self._lengths[0])
        past = np.where(recent.observed, recent.past, np.nan)
        row, variate = np.argwhere(recent.observed.any(axis=1)).T
        groups = row if self.config.multivariate else np.arange(len(row))
        rows = torch.from_numpy(np.ascontiguousarray(past[row, :, variate], np.float32))
        with evaluating(self), torch.inference_mode():
            hidden = self.family.encode(rows, groups, self.config).float().cpu().numpy()
        shape = (context.batch_size, past.shape[2], *hidden.shape[1:])
        states = np.full(shape, np.nan, np.float32)
        states[row, variate] = hidden
        return states

    def _expect_trained(self) -> None:
        if self.config.untrained and not self.config.allow_untrained:
            raise ConfigError(
                "the weights of this Chronos model are random: it has never been trained",
                remedy="give a released or fine-tuned one; tests set allow_untrained",
            )

    def _draw(
        self, rows: np.ndarray, series: np.ndarray, horizon: int, seed: int
    ) -> Float[np.ndarray, "row horizon draw"]:
        groups = series if self.config.multivariate else np.arange(len(rows))
        with evaluating(self), torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            values = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
            return self.family.draw(values, groups, horizon, self.config)

    def _quantiles(
        self, drawn: np.ndarray, levels: tuple[float, ...]
    ) -> Float[np.ndarray, "row horizon level"]:
        if self.family.levels:
            return between_levels(drawn, self.family.levels, levels)
        return np.moveaxis(np.quantile(drawn, levels, axis=-1), 0, -1)

    def expect_able(
        self,
        *,
        variates: int,  # noqa: ARG002
        context: int,  # noqa: ARG002
        horizon: int,  # noqa: ARG002
        past: int = 0,
        known: int = 0,
    ) -> None:
        """Warn (:class:`UserWarning`) when there are covariates, which are not seen."""
        if past or known:
            warnings.warn(
                f"chronos sees none of the {past + known} covariates", UserWarning, stacklevel=2
            )

    def save(self, directory: str | Path) -> Path:
        """Write a directory that :meth:`load` and chronos-forecasting itself read."""
        return chronos_checkpoint.save(self, Path(directory))

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote, or a released checkpoint's directory.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged, of no Chronos model, or lacks some of the weights.
        ConfigError
            When an override is unknown or not allowed, or chronos-forecasting is not installed.
        """
        return cls(*chronos_checkpoint.load(Path(directory), config_overrides))

    @classmethod
    def from_pretrained(cls, source: str | Path, **config_overrides: Any) -> Self:
        """Load a directory, or a model of the hub (``amazon/chronos-bolt-tiny`` …).

        Raises
        ------
        CheckpointError
            When the files cannot be obtained or read.
        """
        from tsfm.models.source import directory_of

        return cls.load(directory_of(source), **config_overrides)

    def info(self) -> dict[str, Any]:
        """Name, family, number of parameters (in all and trainable) and configuration."""
        return {
            "name": self.name,
            "family": type(self.family).__name__,
            "parameters": sum(p.numel() for p in self.parameters()),
            "trainable_parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "config": self.config.to_dict(),
        }
