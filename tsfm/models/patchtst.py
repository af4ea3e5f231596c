"""PatchTST with and without attention between channels; loads released Panda weights.

Each variate is standardised by its context and cut into patches; attention works over time and,
apart from it, between variates, whose number and order are free. The patches of a variate are
pooled and mapped to the horizon, or hidden patches are filled in, which is how it is pretrained.
Source: Nie et al. 2023, *A Time Series is Worth 64 Words*; Lai, Bao & Gilpin 2025, *Panda: A
pretrained forecast model for chaotic dynamics*.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tsfm.data.windows import Window, WindowSpec
from tsfm.models import patchtst_checkpoint
from tsfm.models.base import QUANTILE_LEVELS, Batch, Context, Forecast, Forecaster
from tsfm.models.dynamics_embedding import DynamicsEmbedding
from tsfm.models.modes import evaluating
from tsfm.models.patchtst_config import N_LEVELS, PatchTSTConfig
from tsfm.models.patchtst_forecast import roll_forecast, warn_of_covariates
from tsfm.models.patchtst_layers import Encoder, pooled_over
from tsfm.models.patchtst_windows import context_batch, training_batch, window_spec


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Mean and standard deviation of each context, and which contexts vary at all."""

    location: Float[Tensor, "batch variate 1"]
    scale: Float[Tensor, "batch variate 1"]
    varies: Bool[Tensor, "batch variate 1"]

    @classmethod
    def of(
        cls,
        context: Float[Tensor, "batch variate time"],
        observed: Bool[Tensor, "batch variate time"] | None,
        minimum_variance: float,
    ) -> Scaling:
        """In double precision, since squares may overflow single."""
        values = context.double()
        if observed is None:
            location = values.mean(-1, keepdim=True)
            variance = (values - location).square().mean(-1, keepdim=True)
        else:
            count = observed.sum(-1, keepdim=True).clamp_min(1)
            location = values.where(observed, 0).sum(-1, keepdim=True) / count
            squares = (values - location).square().where(observed, 0)
            variance = squares.sum(-1, keepdim=True) / count
        return cls(
            location=location,
            scale=(variance + minimum_variance).sqrt(),
            varies=variance > minimum_variance,
        )

    def standardised(self, values: Float[Tensor, "batch variate time"]) -> Tensor:
        return ((values.double() - self.location) / self.scale).float()


class PatchTST(nn.Module, Forecaster):
    """The patch encoder, its losses and its forecasts."""

    name: ClassVar[str] = "patchtst"

    def __init__(self, config: PatchTSTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PatchTSTConfig()
        self.embedding: nn.Module = (
            DynamicsEmbedding(
                config.patch,
                config.d_model,
                degrees=config.degrees,
                monomials=config.monomials,
                fourier_features=config.fourier_features,
                fourier_scale=config.fourier_scale,
                seed=config.feature_seed,
            )
            if config.dynamics_embedding
            else nn.Linear(config.patch, config.d_model)
        )
        self.encoder = Encoder(config)
        self.head = nn.Linear(config.d_model, config.head_width, bias=config.mode == "masked")
        self.apply(_initialise)
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(QUANTILE_LEVELS), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def window_spec(self) -> WindowSpec:
        return window_spec(self.config)

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")

    def collate(
        self, windows: Iterator[Window], batch_size: int, rng: np.random.Generator
    ) -> Batch:
        """``batch_size`` windows, their variates and hidden patches drawn by ``rng``."""
        return training_batch(windows, batch_size, rng, self.config)

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """:meth:`loss`, so that wrappers of modules (compilation, data parallel) work."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum over the observed values of the horizon (or of hidden patches) and their number."""
        if self.config.mode == "masked":
            return self._masked_loss(batch)
        hidden, scaling = self._encode(batch)
        target = scaling.standardised(batch["future"])
        scored = batch["scored"] & scaling.varies
        return self._score(self._project(hidden, batch), target, scored)

    def _masked_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        hidden, scaling = self._encode(batch)
        asked = batch["hidden"] & scaling.varies
        patches = (*asked.shape, self.config.patch)
        target = scaling.standardised(batch["context"]).view(patches)[asked]
        observed = batch.get("observed")
        scored = (
            torch.ones_like(target, dtype=torch.bool)
            if observed is None
            else observed.view(patches)[asked]
        )
        return self._score(self.head(hidden[asked])[..., None], target, scored)

    def _score(
        self,
        predicted: Float[Tensor, "*batch bar level"],
        target: Float[Tensor, "*batch bar"],
        scored: Bool[Tensor, "*batch bar"],
    ) -> tuple[Tensor, Tensor]:
        predicted = predicted.float()
        if self.config.quantiles:
            error = target[..., None] - predicted
            terms = torch.maximum(self.levels * error, (self.levels - 1) * error).mean(-1)
        elif self.config.loss == "huber":
            terms = F.huber_loss(predicted[..., 0], target, reduction="none")
        elif self.config.loss == "mae":
            terms = (predicted[..., 0] - target).abs()
        else:
            terms = (predicted[..., 0] - target).square()
        return terms.where(scored, 0).sum(), scored.sum().float()

    def _encode(
        self, batch: Batch, maps: list[Tensor] | None = None
    ) -> tuple[Float[Tensor, "batch variate patch dim"], Scaling]:
        """Encode every patch; hidden ones enter as zeros, and do not take part in the scaling."""
        context, seen = batch["context"], batch.get("observed")
        if "hidden" in batch:
            visible = ~batch["hidden"].repeat_interleave(self.config.patch, dim=-1)
            seen = visible if seen is None else seen & visible
        scaling = Scaling.of(context, seen, self.config.minimum_variance)
        values = scaling.standardised(context)
        if seen is not None:
            values = values.where(seen, 0)
        tokens = self.embedding(values.unflatten(-1, (-1, self.config.patch)))
        return self.encoder(tokens, batch.get("real"), maps), scaling

    def _project(
        self, hidden: Float[Tensor, "batch variate patch dim"], batch: Batch
    ) -> Float[Tensor, "batch variate bar level"]:
        """Pool the real patches of each variate and map them to the horizon."""
        real = batch.get("real")
        chosen = None if real is None else pooled_over(real)[..., None]
        if self.config.pooling == "max":
            if chosen is not None:
                hidden = hidden.masked_fill(~chosen, -torch.inf)
            pooled = hidden.max(dim=2).values
        elif chosen is None:
            pooled = hidden.mean(dim=2)
        else:
            pooled = (hidden * chosen).sum(dim=2) / chosen.sum(dim=2)
        levels = N_LEVELS if self.config.quantiles else 1
        return self.head(pooled).unflatten(-1, (-1, levels))

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """Blocks of ``config.horizon`` bars from the latest ``config.context``, rolled on.

        A point forecast repeats its point at every level and says so (``is_degenerate``). In masked
        mode the blocks are hidden patches that are filled in.

        Raises
        ------
        DataError
            When a series has no observed value in its context.
        """
        tokens = context.past.shape[2] * -(-self.config.context // self.config.patch)
        with evaluating(self):
            return roll_forecast(
                self._block,
                context,
                horizon,
                quantile_levels,
                look_back=self.config.context,
                series_at_once=max(1, self.config.forecast_tokens // tokens),
            )

    @torch.inference_mode()
    def _block(
        self, past: Float[np.ndarray, "batch variate time"]
    ) -> Float[np.ndarray, "batch variate bar level"]:
        """The next ``config.horizon`` bars in the data's units."""
        patch, horizon = self.config.patch, self.config.horizon
        if self.config.mode == "masked":
            asked = -(-horizon // patch)
            blank = np.full((*past.shape[:2], asked * patch), np.nan, np.float32)
            batch = self._on_device(context_batch(np.concatenate([past, blank], axis=2), patch))
            hidden, scaling = self._encode(batch)
            raw = self.head(hidden[:, :, -asked:]).flatten(2)[..., :horizon, None]
        else:
            batch = self._on_device(context_batch(past, patch))
            hidden, scaling = self._encode(batch)
            raw = self._project(hidden, batch)
        values = raw.double() * scaling.scale[..., None] + scaling.location[..., None]
        return values.float().cpu().numpy()

    def _on_device(self, batch: Batch) -> Batch:
        return {name: value.to(self.device) for name, value in batch.items()}

    @torch.inference_mode()
    def embeddings(self, context: Context) -> Float[np.ndarray, "batch variate patch dim"]:
        """The encoder's state of every patch; NaN where a patch is padding."""
        batch = self._context(context)
        hidden, _ = self._encode(batch)
        if "real" in batch:
            hidden = hidden.masked_fill(~batch["real"][..., None], torch.nan)
        return hidden.float().cpu().numpy()

    @torch.inference_mode()
    def channel_maps(
        self, context: Context
    ) -> Float[np.ndarray, "layer batch patch head variate variate"]:
        """How much each variate (second to last axis) looks at each other one, in every layer.

        Without channel mixing there are no layers.
        """
        maps: list[Tensor] = []
        batch = self._context(context)
        self._encode(batch, maps)
        if not maps:
            width, patches = context.past.shape[2], batch["context"].shape[2] // self.config.patch
            return np.empty((0, context.batch_size, patches, self.config.heads, width, width))
        return torch.stack(maps).float().cpu().numpy()

    def _context(self, context: Context) -> Batch:
        seen = context.last(self.config.context)
        past = np.where(seen.observed, seen.past, np.nan).swapaxes(1, 2)
        return self._on_device(context_batch(past, self.config.patch))

    def expect_able(self, *, past: int = 0, known: int = 0, **_sizes: int) -> None:
        """Any size will do; warns (:class:`UserWarning`) of covariates, which it does not see."""
        warn_of_covariates(self.name, past, known)

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, each complete or not at all."""
        return patchtst_checkpoint.save(self, Path(directory))

    @classmethod
    def load(
        cls, directory: str | Path, *, new_head: bool = False, **config_overrides: Any
    ) -> Self:
        """Read what :meth:`save` wrote, or a released Panda directory.

        Parameters
        ----------
        new_head
            Start the head afresh, for another ``horizon`` or with ``quantiles``; another ``mode``
            always does, so that masked pretraining goes on as prediction.
        config_overrides
            Fields of :class:`~tsfm.models.patchtst_config.PatchTSTConfig`.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged or of another model, or the weights are of another
            patch size or architecture.
        ConfigError
            When an override is unknown or out of range.
        """
        return patchtst_checkpoint.load(cls, Path(directory), new_head, config_overrides)

    @classmethod
    def from_pretrained(cls, source: str | Path, **config_overrides: Any) -> Self:
        """As :meth:`load`; ``source`` may be a model of the Hugging Face hub
        (``GilpinLab/panda``)."""
        from tsfm.models.source import directory_of

        return cls.load(directory_of(source), **config_overrides)

    def info(self) -> dict[str, Any]:
        """Name, number of parameters (in all and trainable), operations and configuration."""
        return {
            "name": self.name,
            "parameters": sum(p.numel() for p in self.parameters()),
            "trainable_parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "flops_per_variate": self.config.flops(1),
            "config": self.config.to_dict(),
        }


def _initialise(module: nn.Module) -> None:
    """As the reference does."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
