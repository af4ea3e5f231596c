"""LoRA: low-rank adapters on a model's own choice of linear layers (Hu et al. 2021), by peft."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

from tsfm.errors import ConfigError
from tsfm.models.base import Forecaster, Trainable

if TYPE_CHECKING:
    from peft import LoraConfig

_logger = logging.getLogger(__name__)


def enable_lora(
    model: Forecaster,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    targets: Sequence[str] | None = None,
) -> Forecaster:
    """Freeze ``model`` and add trainable adapters of rank ``rank`` to its target layers, in place.

    Each adapted layer computes with ``W + s·B·A``
    (:class:`tsfm.models.lora_linear.MergedLinear`).

    Parameters
    ----------
    rank
        Capped per layer below its full rank; :func:`adapter_ranks` tells what came of it.
    alpha
        The adapters' output is scaled by ``alpha / rank``.
    dropout
        Share of an adapter's input that is dropped while it learns, as peft does.
    targets
        Suffixes of linear layers' names; the model's ``lora_targets`` by default.

    Raises
    ------
    ConfigError
        When the model has no weights, or adapters already, or no linear layer matches.
    """
    from peft import LoraConfig

    if not isinstance(model, Trainable) or not isinstance(model, torch.nn.Module):
        raise ConfigError(f"model {model.name!r} has no weights to adapt")
    if rank < 1 or alpha <= 0:
        raise ConfigError(f"rank={rank}, alpha={alpha}", remedy="give a positive rank and alpha")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout={dropout} lies outside [0, 1)")
    if any(hasattr(layer, "lora_A") for layer in model.modules()):
        raise ConfigError(
            f"model {model.name!r} has adapters already", remedy="merge_lora it first"
        )
    suffixes = tuple(targets or model.lora_targets)
    linear = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.endswith(suffixes)
    }
    if not linear:
        raise ConfigError(
            f"no linear layer matches {', '.join(suffixes)}",
            remedy="choose suffixes of: "
            + ", ".join(n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)),
        )
    full_rank = {n: min(layer.in_features, layer.out_features) for n, layer in linear.items()}
    capped = {name: full - 1 for name, full in full_rank.items() if rank >= full > 1}
    config = LoraConfig(
        r=rank,
        lora_alpha=cast(int, alpha),
        lora_dropout=dropout,
        target_modules=list(linear),
        rank_pattern=capped,
        alpha_pattern={name: alpha * low / rank for name, low in capped.items()},
    )
    inject(model, config)
    if capped:
        _logger.info(
            "rank %d is capped in %d of %d layers, to %d at the least",
            rank, len(capped), len(linear), min(capped.values()),
        )  # fmt: skip
    return model


def inject(model: torch.nn.Module, config: LoraConfig) -> None:
    """Put adapters of this configuration on a model, in place, and freeze the rest."""
    from peft import inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    from tsfm.models.lora_linear import MergedLinear

    config._register_custom_module({torch.nn.Linear: MergedLinear})
    inject_adapter_in_model(config, model)
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and isinstance(layer, torch.nn.Module):
            layer.train(layer.get_base_layer().training)


def adapter_ranks(model: torch.nn.Module) -> dict[str, int]:
    """The effective rank of each adapted layer; empty without adapters."""
    return {
        name: int(layer.r["default"])
        for name, layer in model.named_modules()
        if hasattr(layer, "lora_A") and hasattr(layer, "r")
    }


def enable_linear_probe(model: Forecaster) -> Forecaster:
    """Freeze everything but the model's output projection (``head``), in place.

    Raises
    ------
    ConfigError
        When the model has no weights.
    """
    head = getattr(model, "head", None)
    if not isinstance(model, torch.nn.Module) or not isinstance(head, torch.nn.Module):
        raise ConfigError(f"model {model.name!r} has no output projection to train")
    model.requires_grad_(False)
    head.requires_grad_(True)
    return model


def merge_lora(model: torch.nn.Module) -> torch.nn.Module:
    """Fold adapters into the weights they adapt, in place, and let all weights train again."""
    model.requires_grad_(True)
    if not any(hasattr(layer, "lora_A") for layer in model.modules()):
        return model
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer) and isinstance(layer, torch.nn.Module):
            layer.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, layer.get_base_layer())
    return model.requires_grad_(True)
