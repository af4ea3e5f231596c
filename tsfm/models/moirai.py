"""MOIRAI 1.x: a masked encoder that forecasts any number of variates as a mixture distribution.

Patches of every variate become the tokens of one sequence; attention knows time by rotation and
variates by a learned bias, so the order of variates does not matter. Released weights load with
:meth:`Moirai.from_pretrained`.
Source: Woo et al. 2024, *Unified Training of Universal Time Series Forecasting Transformers*;
reference implementation: uni2ts 2.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tsfm.data.packing import pack
from tsfm.data.windows import Window, WindowSpec
from tsfm.models import moirai_checkpoint, moirai_forecast
from tsfm.models.base import Batch, Context, Forecast, Forecaster
from tsfm.models.distributions import N_PARAMETERS, Mixture
from tsfm.models.layers import Encoder, PatchEmbedding
from tsfm.models.mixture_head import MixtureProjection
from tsfm.models.moirai_config import MoiraiConfig
from tsfm.models.tokens import Patches, Tokens


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is predicted for the asked tokens of one patch size.

    Attributes
    ----------
    rows
        Which of the batch's sorted tokens these are.
    size
        Bars in their patches.
    raw
        Unconstrained parameters of the mixture.
    location, scale
        Of each token's series.
    """

    rows: Int[Tensor, " token"]
    size: int
    raw: Float[Tensor, "parameter token bar"]
    location: Float[Tensor, "token 1"]
    scale: Float[Tensor, "token 1"]

    @property
    def mixture(self) -> Mixture:
        """The predictive distribution of every bar, ``[token, bar]``."""
        return Mixture.from_raw(self.raw, self.location, self.scale)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A batch's patches by the index of their size, standardised by their series' context."""

    seen: dict[int, Patches]
    masked: dict[int, Patches]
    location: Float[Tensor, " token"]
    scale: Float[Tensor, " token"]


class Moirai(nn.Module, Forecaster):
    """The masked encoder, its loss and its forecasts."""

    name: ClassVar[str] = "moirai"

    def __init__(self, config: MoiraiConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MoiraiConfig()
        self.mask_encoding = nn.Embedding(1, config.d_model)
        self.in_proj = PatchEmbedding(config.patch_sizes, config.d_model)
        self.encoder = Encoder(
            config.d_model,
            config.num_layers,
            config.dropout,
            config.attention_dropout,
            config.gradient_checkpointing,
        )
        self.param_proj = MixtureProjection(
            config.d_model, config.patch_sizes, config.reference_weight_layout
        )

    @property
    def device(self) -> torch.device:
        return self.mask_encoding.weight.device

    @property
    def window_spec(self) -> WindowSpec:
        """Two of the smallest patches up to context and horizon."""
        longest = self.config.context + self.config.horizon
        return WindowSpec(
            min_length=min(2 * self.config.patch_sizes[0], longest), max_length=longest
        )

    @property
    def lora_targets(self) -> tuple[str, ...]:
        return ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "fc_gate")

    @property
    def head(self) -> nn.Module:
        """The output projection, which linear probing trains."""
        return self.param_proj

    def collate(
        self, windows: Iterator[Window], batch_size: int, rng: np.random.Generator
    ) -> Batch:
        """Pack windows into ``batch_size`` rows of ``token_budget`` tokens."""
        fields = pack(windows, batch_size, rng, self.config.recipe)
        return {name: torch.from_numpy(values) for name, values in fields.items()}

    def forward(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """:meth:`loss`, so that wrappers of modules (compilation, data parallel) work."""
        return self.loss(batch)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Negative log likelihood of the masked, observed values.

        Averaged over each (sample, variate) that has a masked patch and summed over these pairs;
        the second value counts them. Their quotient is the reference's packed loss.
        """
        tokens = Tokens.from_batch(batch)
        inputs = self._standardise(batch, tokens)
        parts = self._predict(tokens, inputs, tokens.predicted)
        masked = torch.zeros(tokens.n_groups, device=self.device)
        masked[tokens.group[tokens.predicted]] = 1.0
        if not parts:
            return self.mask_encoding.weight.sum() * 0.0, masked.sum()
        scored = list(inputs.masked.values())
        per_group = tokens.patch_sum((p.rows, p.observed.float()) for p in scored)
        weight = (1 / per_group.clamp_min(1))[tokens.group].float()
        values = torch.cat([p.values.flatten() for p in scored])
        weights = torch.cat([(p.observed * weight[p.rows, None]).flatten() for p in scored])
        scale = torch.cat(
            [inputs.scale[p.rows].repeat_interleave(p.values.shape[1]) for p in scored]
        )
        raw = torch.cat([part.raw.flatten(1) for part in parts], dim=1)
        mixture = Mixture.from_raw(raw, torch.zeros_like(scale), scale)
        return -(mixture.scaled_log_prob(values) * weights).sum(), masked.sum()

    def _standardise(self, batch: Batch, tokens: Tokens) -> Inputs:
        seen = self._patches(batch, tokens, ~tokens.predicted)
        masked = self._patches(batch, tokens, tokens.predicted)
        location = torch.zeros(len(tokens.index), device=self.device)
        scale = torch.ones_like(location)
        if self.config.scaling:
            location, scale = tokens.location_scale(seen.values(), self.config.minimum_variance)

        def standardised(patches: Patches) -> Patches:
            rows = patches.rows
            values = (patches.values - location[rows, None]) / scale[rows, None]
            if self.config.mean_imputation:
                values = values.where(patches.observed, 0.0)
            return replace(patches, values=values)

        return Inputs(
            seen={k: standardised(patches) for k, patches in seen.items()},
            masked={k: standardised(patches) for k, patches in masked.items()},
            location=location,
            scale=scale,
        )

    def _patches(
        self, batch: Batch, tokens: Tokens, chosen: Bool[Tensor, " token"]
    ) -> dict[int, Patches]:
        sizes = self.config.patch_sizes
        target, observed = batch["target"].flatten(0, 1), batch["observed_mask"].flatten(0, 1)
        return {
            k: Patches(
                rows=rows,
                values=target[:, : sizes[k]][tokens.index[rows]],
                observed=observed[:, : sizes[k]][tokens.index[rows]],
            )
            for k, rows in tokens.by_size(sizes, chosen).items()
        }

    def _predict(
        self,
        tokens: Tokens,
        inputs: Inputs,
        asked: Bool[Tensor, " token"],
        bars: int | None = None,
    ) -> list[Prediction]:
        """Predict the asked tokens: one part for each patch size that occurs.

        ``bars`` overrides how many bars of each patch are predicted.
        """
        hidden = self._encode(tokens, inputs, asked)
        place = torch.cumsum(asked, 0) - 1
        asked_rows = tokens.by_size(self.config.patch_sizes, asked)
        raws = self.param_proj({k: hidden[place[rows]] for k, rows in asked_rows.items()}, bars)
        return [
            Prediction(
                rows=rows,
                size=self.config.patch_sizes[k],
                raw=raw,
                location=inputs.location[rows, None],
                scale=inputs.scale[rows, None],
            )
            for (k, rows), raw in zip(asked_rows.items(), raws, strict=True)
        ]

    def _encode(
        self, tokens: Tokens, inputs: Inputs, asked: Bool[Tensor, " token"]
    ) -> Float[Tensor, "asked dim"]:
        lengths, blocks = tokens.blocks(asked)
        embedded = self._embed(tokens, inputs).split(lengths)
        encoded = [self.encoder(x, *block) for x, block in zip(embedded, blocks, strict=True)]
        return torch.cat(encoded)

    def _embed(self, tokens: Tokens, inputs: Inputs) -> Float[Tensor, "token dim"]:
        """Embed seen patches by their size; masked ones all become the mask encoding."""
        parts = self.in_proj({k: patches.values for k, patches in inputs.seen.items()})
        mask = self.mask_encoding.weight
        place = torch.zeros_like(tokens.index)
        rows = torch.cat([place[:0], *(patches.rows for patches in inputs.seen.values())])
        place[rows] = torch.arange(1, len(rows) + 1, device=rows.device)
        return torch.cat([mask, *(part.to(mask.dtype) for part in parts)])[place]

    def distribution(self, batch: Batch) -> Mixture:
        """The distribution of every slot and bar of a packed batch, ``[batch, token, bar]``.

        Slower than :meth:`loss` and :meth:`forecast`, which compute what they need only. Bars
        beyond a token's patch and padding carry no information.
        """
        tokens = Tokens.from_batch(batch)
        inputs = self._standardise(batch, tokens)
        slots, longest = batch["sample_id"].numel(), self.config.patch_sizes[-1]
        raw = torch.zeros(N_PARAMETERS, slots, longest, device=self.device)
        location = torch.zeros(slots, 1, device=self.device)
        scale = torch.ones(slots, 1, device=self.device)
        location[tokens.index, 0], scale[tokens.index, 0] = inputs.location, inputs.scale
        everything = torch.ones_like(tokens.predicted)
        for part in self._predict(tokens, inputs, everything, bars=longest):
            raw[:, tokens.index[part.rows]] = part.raw
        shape = batch["sample_id"].shape
        return Mixture.from_raw(
            raw.unflatten(1, shape), location.unflatten(0, shape), scale.unflatten(0, shape)
        )

    @torch.inference_mode()
    def predict_tokens(self, batch: Batch) -> list[tuple[Int[Tensor, " token"], Mixture]]:
        """Slots (flattened ``[batch · token]``) and mixtures ``[token, bar]`` of masked tokens."""
        tokens = Tokens.from_batch(batch)
        parts = self._predict(tokens, self._standardise(batch, tokens), tokens.predicted)
        return [(tokens.index[part.rows], part.mixture) for part in parts]

    @torch.inference_mode()
    def encode_tokens(self, batch: Batch) -> tuple[Int[Tensor, " token"], Float[Tensor, "token d"]]:
        """Slots (flattened ``[batch · token]``) of all real tokens, and their encoder states."""
        tokens = Tokens.from_batch(batch)
        everything = torch.ones_like(tokens.predicted)
        return tokens.index, self._encode(tokens, self._standardise(batch, tokens), everything)

    def embeddings(self, context: Context) -> Float[np.ndarray, "batch variate patch dim"]:
        """The encoder's state of every patch of the context; NaN where a patch is padding.

        All series at one patch size: ``config.patch_size``, or the smallest within the token
        budget. Covariates are left out.

        Raises
        ------
        ConfigError
            When the context is over the token budget at every patch size.
        """
        return moirai_forecast.embeddings(self, context)

    def forecast(
        self, context: Context, horizon: int, quantile_levels: tuple[float, ...]
    ) -> Forecast:
        """Quantiles of the mixtures, all horizon tokens masked in one shot.

        The latest ``config.context`` bars are looked at, and their covariates as far as the token
        budget allows. With ``config.patch_size`` None, each series uses the size that forecasts the
        end of its own context best.

        Raises
        ------
        ConfigError
            When context and horizon are over the token budget at every patch size.
        DataError
            When a series has no observed value in its context.
        """
        return moirai_forecast.forecast(self, context, horizon, quantile_levels)

    @property
    def sees_covariates(self) -> bool:  # type: ignore[override]
        return self.config.use_covariates

    def expect_able(
        self, *, variates: int, context: int, horizon: int, past: int = 0, known: int = 0
    ) -> None:
        """Raise :class:`ConfigError` when no patch size keeps the variates within the token budget.

        Warns (:class:`UserWarning`) when it leaves covariates out; how many each forecast left out
        is in its ``metadata["covariates_left_out"]``.
        """
        seen = min(context, self.config.context)
        moirai_forecast.expect_able(
            self.config, width=variates, length=seen, horizon=horizon, past=past, known=known
        )

    def choose_patch_size(
        self, contexts: Context | Sequence[Context], horizon: int | None = None
    ) -> int:
        """Choose the patch size that forecasts the last ``horizon`` bars of the contexts best.

        Where no context goes further back than that, it is their second half that is forecast. The
        choice (lowest mean scaled CRPS over series) is kept in ``config.patch_size``, so that it is
        saved with the model.

        Raises
        ------
        DataError
            When no context varies before its end.
        """
        batches = [contexts] if isinstance(contexts, Context) else list(contexts)
        asked, longest = horizon or self.config.horizon, max(batch.length for batch in batches)
        forecast = asked if longest > asked + 1 else max(longest // 2, 1)
        size = moirai_forecast.best_patch_size(self, batches, forecast)
        self.config = replace(self.config, patch_size=size)
        return size

    def settle(self, contexts: Sequence[Context]) -> None:
        """Choose the patch size, even where one was chosen before."""
        self.choose_patch_size(contexts)

    def save(self, directory: str | Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, each complete or not at all."""
        return moirai_checkpoint.save(self, Path(directory))

    @classmethod
    def load(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            When a file is missing, damaged, of another model, or does not fit the overrides.
        ConfigError
            When an override is unknown or out of range.
        """
        return moirai_checkpoint.load(cls, Path(directory), config_overrides)

    @classmethod
    def from_pretrained(cls, source: str | Path, **config_overrides: Any) -> Self:
        """Load released weights (``Salesforce/moirai-1.1-R-small`` …) or our own directory.

        Parameters
        ----------
        source
            A local directory, or a model of the Hugging Face hub.
        config_overrides
            Fields of :class:`~tsfm.models.moirai_config.MoiraiConfig`, for example ``context``.

        Raises
        ------
        CheckpointError
            When the files cannot be obtained or read.
        """
        return moirai_checkpoint.from_pretrained(cls, source, config_overrides)

    def info(self) -> dict[str, Any]:
        """Name, number of parameters (in all and trainable) and configuration."""
        return {
            "name": self.name,
            "parameters": sum(p.numel() for p in self.parameters()),
            "trainable_parameters": sum(p.numel() for p in self.parameters() if p.requires_grad),
            "config": self.config.to_dict(),
        }
