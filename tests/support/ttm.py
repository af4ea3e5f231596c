"""Small TinyTimeMixers, their batches, and the reference implementation's recorded cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tsfm.data.windows import Window
from tsfm.models.ttm import TinyTimeMixer
from tsfm.models.ttm_config import TinyTimeMixerConfig

CASES = (
    "channel_independent",
    "decoder_channel_mixing",
    "exogenous_mixer",
    "filtered_horizon",
    "frequency_prefix",
)
NINE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def make_model(seed: int = 0, **fields: object) -> TinyTimeMixer:
    torch.manual_seed(seed)
    return TinyTimeMixer(TinyTimeMixerConfig.preset("tiny", **fields)).eval()


def make_mixing_model(
    targets: int = 1, past: int = 1, known: int = 1, seed: int = 0, **fields: object
) -> TinyTimeMixer:
    torch.manual_seed(seed)
    config = TinyTimeMixerConfig.preset("tiny", **fields).with_channels(targets, past, known)
    return TinyTimeMixer(config).eval()


def make_windows(
    *,
    targets: int = 1,
    past: int = 0,
    known: int = 0,
    length: int = 80,
    missing: float = 0.0,
    seed: int = 0,
    **fields: object,
) -> Iterator[Window]:
    """Endless random walks."""
    rng = np.random.default_rng(seed)

    def walks(count: int) -> np.ndarray:
        values = rng.normal(size=(count, length)).cumsum(1).astype(np.float32)
        values[rng.random(values.shape) < missing] = np.nan
        return values

    while True:
        yield Window(
            item_id="x",
            target=walks(targets),
            start=0,
            variate_names=tuple(map(str, range(targets))),
            past_covariates=walks(past) if past else None,
            known_covariates=walks(known) if known else None,
            **fields,  # type: ignore[arg-type]
        )


def make_batch(model: TinyTimeMixer, size: int = 4, **fields: object) -> dict[str, Tensor]:
    windows = make_windows(**fields)  # type: ignore[arg-type]
    return model.collate(windows, size, np.random.default_rng(0))


def reference(
    directory: Path, **overrides: object
) -> tuple[TinyTimeMixer, dict[str, Tensor], dict[str, Tensor]]:
    """The model of a recorded case, its inputs as a batch of ours, and its outputs."""
    from safetensors.torch import load_file

    overrides = {"imputation": "none", "loss_scale": "none", **overrides}
    model = TinyTimeMixer.from_pretrained(directory, **overrides).eval()
    config = model.config
    inputs = load_file(directory / "inputs.safetensors")
    past = inputs["past_values"].transpose(1, 2).contiguous()
    future = inputs["future_values"].transpose(1, 2).contiguous()
    observed = inputs.get("past_observed_mask")
    batch = {"past": past, "future": future[..., : config.steps]}
    if observed is not None:
        batch["observed"] = observed.transpose(1, 2).contiguous()
    if not config.mixes_channels:
        batch = {name: values.flatten(0, 1)[:, None] for name, values in batch.items()}
    else:
        batch["future"] = batch["future"][:, list(config.targets)]
    if config.exogenous_channel_indices:
        batch["exogenous"] = future[:, list(config.exogenous_channel_indices)]
    if "freq_token" in inputs:
        batch["frequency"] = inputs["freq_token"].repeat_interleave(past.shape[1])
    return model, batch, load_file(directory / "outputs.safetensors")
