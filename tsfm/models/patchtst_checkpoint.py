"""Directories of a PatchTST: our own, and the released ones of Panda."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    own_config,
    read_config,
    read_weights,
    write_model,
)
from tsfm.models.dynamics_embedding import monomial_buffer
from tsfm.models.patchtst_config import ARCHITECTURE, PatchTSTConfig

if TYPE_CHECKING:
    from tsfm.models.patchtst import PatchTST

    M = TypeVar("M", bound=PatchTST)

MONOMIALS_FILE = "patch_indices.safetensors"
_HEAD = ("mode", "horizon", "quantiles")
_ONLY = {
    "norm_type": "rmsnorm", "pre_norm": True, "activation_function": "gelu", "scaling": "std",
    "bias": True, "use_cls_token": False, "channel_rope": False, "temporal_linattn": False,
    "channel_linattn": False,
}  # fmt: skip
_RENAMED = (
    (r"model\.encoder\.embedder\.input_embedding\.", "embedding."),
    (r"model\.encoder\.embedder\.freq_weights", "embedding.frequencies"),
    (r"model\.encoder\.embedder\.freq_biases", "embedding.phases"),
    (r"model\.encoder\.embedder\.", "embedding."),
    (r"model\.encoder\.layers\.", "encoder.layers."),
    (r"\.temporal_self_attn\.", ".time_attention."),
    (r"\.channel_self_attn\.", ".channel_attention."),
    (r"\.norm_sublayer1\.", ".time_norm."),
    (r"\.norm_sublayer2\.", ".channel_norm."),
    (r"\.norm_sublayer3\.", ".ff_norm."),
    (r"\.ff\.0\.", ".ff.fc1."),
    (r"\.ff\.3\.", ".ff.fc2."),
    (r"head\.(projection|linear)\.", "head."),
)


def save(model: PatchTST, directory: Path) -> Path:
    """Write a directory that :func:`load` reads.

    Raises
    ------
    CheckpointError
        When it cannot be written; an earlier model there stays.
    """
    content = {"model": model.name, "config": model.config.to_dict()}
    return write_model(directory, content, model.state_dict())


def load(kind: type[M], directory: Path, new_head: bool, overrides: Mapping[str, Any]) -> M:
    """Read a directory of ours or a released one; see :meth:`PatchTST.load`."""
    content = read_config(directory)
    if "model" in content:
        trained = _trusted(own_config(content, kind.name, directory), directory)
        weights = read_weights(directory)
    else:
        weights = read_weights(directory)
        trained = _trusted(_from_panda(content, weights, directory), directory)
        weights = _renamed(weights, trained)
    config = PatchTSTConfig.from_dict({**trained.to_dict(), **overrides})
    _expect_same(trained, config, new_head, directory)
    if "model" not in content:
        _add_monomials(weights, config, directory)
    model = kind(config)
    if new_head or trained.mode != config.mode:
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
        weights |= {f"head.{name}": value for name, value in model.head.state_dict().items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights do not fit the configuration: {str(error).splitlines()[-1].strip()}",
            where=str(directory / WEIGHTS_FILE),
            remedy="they are incomplete or of another architecture; save the model again",
        ) from error
    return model


def _trusted(values: Mapping[str, Any], directory: Path) -> PatchTSTConfig:
    try:
        return PatchTSTConfig.from_dict(values)
    except ConfigError as error:
        raise CheckpointError(
            f"{CONFIG_FILE} is damaged: {error.what}", where=str(directory)
        ) from error


def _expect_same(
    trained: PatchTSTConfig, asked: PatchTSTConfig, new_head: bool, directory: Path
) -> None:
    """Refuse overrides that the weights cannot follow."""
    for name in ARCHITECTURE:
        was, wanted = getattr(trained, name), getattr(asked, name)
        if was != wanted:
            raise CheckpointError(
                f"the weights were trained with {name}={was}, not {wanted}",
                where=str(directory),
                remedy=f"leave {name} as it was, or train a new model with {name}={wanted}",
            )
    if new_head or trained.mode != asked.mode:
        return
    for name in _HEAD:
        was, wanted = getattr(trained, name), getattr(asked, name)
        if was != wanted and not (name == "horizon" and asked.mode == "masked"):
            raise CheckpointError(
                f"the head was trained with {name}={was}, not {wanted}",
                where=str(directory),
                remedy="longer horizons need no change, they are rolled; to train another head, "
                "give new_head=True",
            )


def _from_panda(
    content: Mapping[str, Any], weights: Mapping[str, Tensor], directory: Path
) -> dict[str, Any]:
    """Our configuration for the reference's ``config.json``."""
    if "patch_length" in content and "rope_percent" not in content:
        raise CheckpointError(
            "this is Hugging Face's own PatchTST, another architecture (positions are embedded)",
            where=str(directory),
            remedy="give a directory of Panda (GilpinLab/panda) or one that save() wrote",
        )
    for name, only in _ONLY.items():
        if content.get(name, only) != only:
            raise CheckpointError(
                f"{name}={content[name]!r} is another architecture",
                where=str(directory / CONFIG_FILE),
                remedy=f"only {name}={only!r} can be loaded",
            )
    try:
        if content["patch_length"] != content["patch_stride"]:
            raise CheckpointError(
                f"patches of {content['patch_length']} bars overlap "
                f"(stride {content['patch_stride']})",
                where=str(directory / CONFIG_FILE),
                remedy="only patches that do not overlap can be loaded",
            )
        masked = "head.linear.weight" in weights
        dynamics = bool(content["use_dynamics_embedding"])
        features = {
            "monomials": int(content["num_poly_feats"]),
            "monomial_degree": 1 + int(content["poly_degrees"]),
            "fourier_features": int(content["num_rff"]),
            "fourier_scale": float(content.get("rff_scale", 1.0)),
        }
        loss = str(content.get("loss", "mse"))
        return {
            "channel_mixing": "attention" if content["channel_attention"] else "none",
            "patch": int(content["patch_length"]),
            "context": int(content["context_length"]),
            "horizon": int(content["prediction_length"]),
            "d_model": int(content["d_model"]),
            "heads": int(content["num_attention_heads"]),
            "layers": int(content["num_hidden_layers"]),
            "d_ff": int(content["ffn_dim"]),
            "rope_fraction": float(content["rope_percent"]),
            "rope_wavelength": float(content["max_wavelength"]),
            "pooling": content.get("pooling_type", "mean"),
            "dynamics_embedding": dynamics,
            **(features if dynamics else {}),
            "mode": "masked" if masked else "prediction",
            "mask_ratio": float(content.get("random_mask_ratio", 0.5)),
            "channel_consistent": bool(content.get("channel_consistent_masking", False)),
            "loss": loss if loss in ("mse", "huber") else "mse",
            "minimum_variance": 1e-5,
            "norm_eps": float(content.get("norm_eps", 1e-5)),
            "dropout": float(content.get("path_dropout", 0.0)),
            "attention_dropout": float(content.get("attention_dropout", 0.0)),
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{CONFIG_FILE} is no Panda configuration: {error!r}", where=str(directory)
        ) from error


def _renamed(weights: Mapping[str, Tensor], config: PatchTSTConfig) -> dict[str, Tensor]:
    """The reference's weights under our names.

    It turns feature ``i`` of a head with feature ``i + head_dim / 2``, we turn neighbours: rows of
    the queries and keys over time change places.
    """
    result = {}
    for name, value in weights.items():
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if re.search(r"time_attention\.[qk]_proj", name):
            by_half = value.unflatten(0, (config.heads, 2, -1))
            value = by_half.transpose(1, 2).flatten(0, 2).contiguous()
        result[name] = value.flatten() if name == "embedding.phases" else value
    return result


def _add_monomials(weights: dict[str, Tensor], config: PatchTSTConfig, directory: Path) -> None:
    """Monomials that were drawn when the reference was built, from a file beside its weights.

    Released checkpoints lack them; then they are drawn by ``config.feature_seed``.
    """
    if not config.dynamics_embedding:
        return
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = directory / MONOMIALS_FILE
    if not path.exists():
        warnings.warn(
            f"{directory} does not say which monomials its embedding was trained with "
            f"({MONOMIALS_FILE}); they are drawn anew (feature_seed), as the reference does, so "
            "that forecasts differ from those of the training",
            stacklevel=4,
        )
        generator = torch.Generator().manual_seed(config.feature_seed)
        drawn = {
            f"degree_{d}": torch.randint(
                high=config.patch, size=(config.monomials, d), generator=generator
            )
            for d in config.degrees
        }
    else:
        try:
            drawn = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{MONOMIALS_FILE} is damaged: {error}", where=str(path)
            ) from error
    for degree in config.degrees:
        chosen = drawn.get(f"degree_{degree}")
        shape = (config.monomials, degree)
        if chosen is None or tuple(chosen.shape) != shape or int(chosen.max()) >= config.patch:
            raise CheckpointError(
                f"{MONOMIALS_FILE} holds no monomials of degree {degree}",
                where=str(path),
                remedy=f"it must hold degree_{degree} of shape {shape}, bars below {config.patch}",
            )
        weights[f"embedding.{monomial_buffer(degree)}"] = chosen
