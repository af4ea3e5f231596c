"""How much of a base model is trained: nothing, its head, low-rank adapters, or all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tsfm.errors import ConfigError
from tsfm.models.adaptation_config import AdaptationConfig
from tsfm.models.adapters import adapter_ranks, enable_linear_probe, enable_lora
from tsfm.models.base import Forecaster, Trainable

_BACKBONES = {"ttm": "backbone", "moirai": "encoder", "patchtst": "encoder"}


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """What came of :func:`adapt`.

    Attributes
    ----------
    ranks
        Effective rank of each adapted layer; empty in other modes.
    """

    parameters: int
    trainable: int
    ranks: dict[str, int]


def adapt(model: Forecaster, config: AdaptationConfig, fresh: Sequence[str] = ()) -> Adapted:
    """Choose which weights of a model train, in place.

    Parameters
    ----------
    fresh
        Names of weights that start at random.

    Raises
    ------
    ConfigError
        When the model has no weights or no backbone by name, a LoRA target matches nothing, or
        random weights would forecast untrained.
    """
    if not isinstance(model, torch.nn.Module) or not isinstance(model, Trainable):
        raise ConfigError(f"model {model.name!r} has no weights to adapt")
    if config.mode == "zero_shot":
        if fresh:
            raise ConfigError(
                f"mode=zero_shot with weights that are not the base model's: {fresh[0]} …",
                remedy="leave covariates and loss as the base model has them, or train",
            )
        return Adapted(parameters=_count(model), trainable=0, ranks={})
    backbone = _backbone(model) if config.freeze_backbone else ""
    new = [value for name, value in model.named_parameters() if name in set(fresh)]
    if config.mode == "lora":
        layers = lora_layers(model, config.lora_targets, without=backbone)
        enable_lora(
            model, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout,
            targets=layers,
        )  # fmt: skip
    elif config.mode == "linear_probe":
        enable_linear_probe(model)
    elif backbone:
        model.get_submodule(backbone).requires_grad_(False)
    for value in new:
        value.requires_grad_(True)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    ranks = adapter_ranks(model)
    return Adapted(parameters=_count(model), trainable=trainable, ranks=ranks)


def lora_layers(
    model: torch.nn.Module, targets: Sequence[str] = (), *, without: str = ""
) -> list[str]:
    """Names of the linear layers that targets match, outside of one part of the model.

    Parameters
    ----------
    targets
        Suffixes of names, or whole names; empty: the model's ``lora_targets``.

    Raises
    ------
    ConfigError
        When a target matches no linear layer, naming those that there are.
    """
    linear = [n for n, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    outside = [name for name in linear if not without or not name.startswith(f"{without}.")]
    wanted = tuple(targets) or tuple(model.lora_targets) if isinstance(model, Trainable) else ()
    idle = [target for target in targets if not any(name.endswith(target) for name in outside)]
    found = [name for name in outside if name.endswith(wanted)]
    if idle or not found:
        raise ConfigError(
            f"no linear layer {'outside the backbone ' if without else ''}matches "
            f"{', '.join(idle or wanted)}",
            remedy=f"choose from {', '.join(_short_names(outside))}, or whole names such as "
            f"{(outside or linear)[0]}",
        )
    return found


def _short_names(names: Sequence[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})


def _backbone(model: Forecaster) -> str:
    if model.name not in _BACKBONES:
        raise ConfigError(
            f"freeze_backbone=true, but {model.name} has no backbone by name",
            remedy=f"use mode=linear_probe; backbones are known of {', '.join(_BACKBONES)}",
        )
    return _BACKBONES[model.name]


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for n, p in model.named_parameters() if ".lora_" not in n)
