"""What differs between the three families of Chronos: T5, Bolt and Chronos-2."""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tsfm.errors import ConfigError
from tsfm.models.base import Batch
from tsfm.models.chronos_config import ChronosConfig

if TYPE_CHECKING:
    from chronos import BaseChronosPipeline

LONGEST_DEFAULT_HORIZON = 128


class Family(ABC):
    """How one family resolves its configuration, forecasts and is trained.

    Attributes
    ----------
    pipeline_class
        Name of chronos-forecasting's class, as ``config.json`` has it.
    lora_targets
        Suffixes of the layers that LoRA adapts.
    head
        Name of the network's output layer.
    fine_tuning
        Fields of :class:`~tsfm.training.config.TrainerConfig` that do not wreck released weights.
    """

    pipeline_class: ClassVar[str]
    lora_targets: ClassVar[tuple[str, ...]]
    head: ClassVar[str]
    fine_tuning: ClassVar[dict[str, float]]

    def __init__(self, pipeline: BaseChronosPipeline) -> None:
        self.pipeline: Any = pipeline

    @property
    def network(self) -> Any:
        """The library's ``PreTrainedModel``."""
        return self.pipeline.inner_model

    @property
    def longest_context(self) -> int:
        return int(self.pipeline.model_context_length)

    @property
    def horizon(self) -> int:
        """Bars that the checkpoint forecasts at once."""
        return int(self.pipeline.model_prediction_length)

    def resolved(self, config: ChronosConfig) -> ChronosConfig:
        """The configuration with the checkpoint's own values where None was given, applied to it.

        Raises
        ------
        ConfigError
            When the checkpoint cannot be used that way.
        """
        context = config.context or self.longest_context
        if context > self.longest_context:
            raise ConfigError(
                f"context={context} is more than the checkpoint's {self.longest_context} bars",
                remedy="give a shorter context",
            )
        horizon = config.horizon or min(self.horizon, LONGEST_DEFAULT_HORIZON)
        return replace(config, context=context, horizon=horizon)

    @property
    @abstractmethod
    def levels(self) -> list[float]:
        """Native quantile levels; none for a family that draws samples."""

    @abstractmethod
    def draw(
        self,
        rows: Float[Tensor, "row time"],
        groups: Int[np.ndarray, " row"],
        horizon: int,
        config: ChronosConfig,
    ) -> Float[np.ndarray, "row horizon draw"]:
        """Native quantiles, or samples, of rows whose variates of one series share a group."""

    def encode(
        self,
        rows: Float[Tensor, "row time"],
        groups: Int[np.ndarray, " row"],  # noqa: ARG002
        config: ChronosConfig,
    ) -> Float[Tensor, "row token dim"]:
        """The encoder's states, without those of tokens that stand for no values."""
        parts = [self.pipeline.embed(part)[0] for part in rows.split(config.sequences_at_once)]
        return torch.cat(parts)[:, : self.tokens(rows.shape[1])]

    @abstractmethod
    def tokens(self, length: int) -> int:
        """How many of the encoder's tokens stand for ``length`` bars."""

    def fields(
        self,
        past: Float[Tensor, "row time"],
        future: Float[Tensor, "row horizon"],
        groups: Int[Tensor, " row"],
    ) -> Batch:
        """What :meth:`loss` needs of a training batch."""
        return {"context": past, "target": future, "group": groups}

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The library's own loss as a sum over terms, and their number."""


class T5(Family):
    """Chronos (Ansari et al. 2024): values are tokens of uniform bins, forecasts are samples.

    The loss is the cross-entropy of the target's tokens.
    """

    pipeline_class = "ChronosPipeline"
    lora_targets = (".q", ".k", ".v", ".o")
    head = "lm_head"
    fine_tuning: ClassVar[dict[str, float]] = {"lr": 1e-5, "weight_decay": 0.0, "beta2": 0.999}

    def resolved(self, config: ChronosConfig) -> ChronosConfig:
        own = self.pipeline.model.config
        if config.horizon:
            own.prediction_length = config.horizon
        limits = {"low_limit": config.low_limit, "high_limit": config.high_limit}
        given = {name: float(value) for name, value in limits.items() if value is not None}
        if given:
            own.tokenizer_kwargs = {**own.tokenizer_kwargs, **given}
            ends = own.tokenizer_kwargs
            if ends["low_limit"] >= ends["high_limit"]:
                raise ConfigError(f"the tokenizer's range {ends} is empty")
            self.pipeline.tokenizer = own.create_tokenizer()
        self.network.config.chronos_config.update(
            prediction_length=own.prediction_length, tokenizer_kwargs=own.tokenizer_kwargs
        )
        drawn = {
            name: getattr(own, name) if getattr(config, name) is None else getattr(config, name)
            for name in ("num_samples", "temperature", "top_k", "top_p")
        }
        resolved = super().resolved(replace(config, **drawn))
        return replace(resolved, horizon=own.prediction_length, **own.tokenizer_kwargs)

    @property
    def levels(self) -> list[float]:
        return []

    def draw(
        self,
        rows: Float[Tensor, "row time"],
        groups: Int[np.ndarray, " row"],  # noqa: ARG002
        horizon: int,
        config: ChronosConfig,
    ) -> Float[np.ndarray, "row horizon draw"]:
        at_once = max(1, config.sequences_at_once // (config.num_samples or 1))
        with _silent():
            parts = [
                self.pipeline.predict(
                    part,
                    prediction_length=horizon,
                    num_samples=config.num_samples,
                    temperature=config.temperature,
                    top_k=config.top_k,
                    top_p=config.top_p,
                )
                for part in rows.split(at_once)
            ]
        samples: np.ndarray = torch.cat(parts).swapaxes(1, 2).numpy()
        return samples

    def tokens(self, length: int) -> int:
        return length

    def fields(
        self,
        past: Float[Tensor, "row time"],
        future: Float[Tensor, "row horizon"],
        groups: Int[Tensor, " row"],  # noqa: ARG002
    ) -> Batch:
        tokenizer = self.pipeline.tokenizer
        tokens, mask, scale = tokenizer.context_input_transform(past)
        labels, known = tokenizer.label_input_transform(future, scale)
        return {
            "tokens": tokens,
            "attention": mask,
            "labels": labels.masked_fill(~known, _IGNORED),
        }

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        labels = batch["labels"]
        logits = self.network(
            input_ids=batch["tokens"], attention_mask=batch["attention"], labels=labels
        ).logits
        total = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        return total, (labels != _IGNORED).sum()


_IGNORED = -100


class Bolt(Family):
    """Chronos-Bolt: patches in, all quantiles of one output patch out.

    The loss is the library's: pinball, mean over levels, summed over the patch, mean over rows.
    """

    pipeline_class = "ChronosBoltPipeline"
    lora_targets = (".q", ".k", ".v", ".o")
    head = "output_patch_embedding"
    fine_tuning: ClassVar[dict[str, float]] = {"lr": 1e-5, "weight_decay": 0.0, "beta2": 0.999}

    def resolved(self, config: ChronosConfig) -> ChronosConfig:
        if config.horizon and config.horizon > self.horizon:
            raise ConfigError(
                f"horizon={config.horizon} is more than the output patch of {self.horizon} bars",
                remedy="train on that many; longer forecasts roll by themselves",
            )
        return super().resolved(config)

    @property
    def levels(self) -> list[float]:
        return [float(level) for level in self.pipeline.quantiles]

    def draw(
        self,
        rows: Float[Tensor, "row time"],
        groups: Int[np.ndarray, " row"],  # noqa: ARG002
        horizon: int,
        config: ChronosConfig,
    ) -> Float[np.ndarray, "row horizon draw"]:
        with _silent():
            parts = [
                self.pipeline.predict(part, prediction_length=horizon)
                for part in rows.split(config.sequences_at_once)
            ]
        quantiles: np.ndarray = torch.cat(parts).swapaxes(1, 2).numpy()
        return quantiles

    def tokens(self, length: int) -> int:
        return int(-(-length // self.network.chronos_config.input_patch_size))

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rows = torch.tensor(len(batch["context"]), device=batch["context"].device)
        mean = self.network(context=batch["context"], target=batch["target"]).loss
        return mean * rows, rows


class Chronos2(Family):
    """Chronos-2 (Ansari et al. 2025): attention over time and over the variates of a group.

    The loss is the library's: pinball, mean over the horizon, summed over levels, mean over rows.
    """

    pipeline_class = "Chronos2Pipeline"
    lora_targets = (
        "self_attention.q",
        "self_attention.k",
        "self_attention.v",
        "self_attention.o",
        "output_patch_embedding.output_layer",
    )
    head = "output_patch_embedding"
    fine_tuning: ClassVar[dict[str, float]] = {"lr": 1e-6, "weight_decay": 0.0, "beta2": 0.999}

    def resolved(self, config: ChronosConfig) -> ChronosConfig:
        resolved = super().resolved(config)
        own = self.network.chronos_config
        patches = -(-(resolved.horizon or 1) // own.output_patch_size)
        own.max_output_patches = max(own.max_output_patches, patches)
        self.network.config.chronos_config["max_output_patches"] = own.max_output_patches
        return resolved

    @property
    def levels(self) -> list[float]:
        return [float(level) for level in self.pipeline.quantiles]

    def draw(
        self,
        rows: Float[Tensor, "row time"],
        groups: Int[np.ndarray, " row"],
        horizon: int,
        config: ChronosConfig,
    ) -> Float[np.ndarray, "row horizon draw"]:
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        sizes = np.diff(np.append(starts, len(groups))).tolist()
        with _silent():
            parts = self.pipeline.predict(
                list(rows.split(sizes)),
                prediction_length=horizon,
                batch_size=config.sequences_at_once,
                unrolled_quantiles=self._unrolled(),
            )
        quantiles: np.ndarray = torch.cat(parts).swapaxes(1, 2).numpy()
        return quantiles

    def tokens(self, length: int) -> int:
        return int(-(-length // self.network.chronos_config.input_patch_size))

    def encode(
        self,
        rows: Float[Tensor, "row time"],
        groups: Int[np.ndarray, " row"],
        config: ChronosConfig,
    ) -> Float[Tensor, "row token dim"]:
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        sizes = np.diff(np.append(starts, len(groups))).tolist()
        series = list(rows.split(sizes))
        states, _ = self.pipeline.embed(series, batch_size=config.sequences_at_once)
        return torch.cat(states)[:, : self.tokens(rows.shape[1])]

    def _unrolled(self) -> list[float]:
        """Levels fed back beyond the model's own horizon: the library's nine, where it has them."""
        nine = {k / 10 for k in range(1, 10)}
        return [level for level in self.levels if level in nine] or self.levels

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rows = torch.tensor(len(batch["context"]), device=batch["context"].device)
        patch = self.network.chronos_config.output_patch_size
        mean = self.network(
            context=batch["context"],
            group_ids=batch["group"],
            future_target=batch["target"],
            num_output_patches=-(-batch["target"].shape[1] // patch),
        ).loss
        return mean * rows, rows


@contextmanager
def _silent() -> Iterator[None]:
    """The library's advice against long horizons repeats what our documentation says."""
    from chronos.chronos import logger

    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        finally:
            logger.setLevel(level)


FAMILIES: dict[str, type[Family]] = {kind.pipeline_class: kind for kind in (T5, Bolt, Chronos2)}
