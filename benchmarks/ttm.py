"""TinyTimeMixer of TTM-r2's size, ours beside granite-tsfm.

    python benchmarks/ttm.py --peer-python PATH --json

Full fine-tuning and LoRA (r = 8; loss, backward, AdamW) and inference, batches of 64 univariate
windows 512 → 96, dropout 0.2, fp32, one thread, in turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from interleave import arguments, cpu_seconds, report
from peers.inputs import univariate

from tsfm.models.adapters import enable_lora
from tsfm.models.ttm import TinyTimeMixer
from tsfm.models.ttm_config import TinyTimeMixerConfig

BATCH = 64
CALLS = {"full": 1, "lora": 1, "inference": 5}


def ours(mode: str) -> tuple[Callable[[], object], int]:
    """One training step or forecast, and the number of trainable weights."""
    torch.manual_seed(0)
    model = TinyTimeMixer(TinyTimeMixerConfig(loss_scale="none", minimum_variance=1e-5))
    if mode == "lora":
        enable_lora(model, rank=8, alpha=16.0)
    model.train(mode != "inference")
    past, future = (values.unsqueeze(1) for values in univariate(BATCH))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        total, count = model.loss({"past": past, "future": future})
        (total / count).backward()
        optimizer.step()

    @torch.inference_mode()
    def forecast() -> None:
        model.outputs({"past": past})

    chosen = forecast if mode == "inference" else step
    return lambda: [chosen() for _ in range(CALLS[mode])], sum(p.numel() for p in parameters)


def lora_to_full(repetitions: int) -> float:
    """Speed of our LoRA as a share of our full fine-tuning's, step by step in turns."""
    steps = [ours(mode)[0] for mode in ("full", "lora")]
    seconds: list[list[float]] = [[], []]
    for _ in range(repetitions + 2):
        for step, spent in zip(steps, seconds, strict=True):
            begin = time.process_time()
            step()
            spent.append(time.process_time() - begin)
    full, lora = (statistics.median(spent[2:]) for spent in seconds)
    return full / lora


def main() -> None:
    args = arguments("TinyTimeMixer, ours beside granite-tsfm", repetitions=15)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for mode, calls in CALLS.items():
        repeat, trainable = ours(mode)
        command = ["granite_ttm.py", mode, str(BATCH), str(calls)]
        mine, theirs = cpu_seconds(repeat, args.peer_python, command, args.repetitions)
        windows = BATCH * calls
        figures[mode] = {
            "ours": windows / mine,
            "peer": windows / theirs if theirs else None,
            "ratio": theirs / mine if theirs else None,
            "trainable": trainable,
        }
    ratios = [figure["ratio"] for figure in figures.values()]
    report(
        {
            "ours": figures["full"]["ours"],
            "peer": figures["full"]["peer"],
            "ratio": None if None in ratios else min(ratios),
            "unit": "windows per CPU-second (full fine-tuning; ratio: the least of the three)",
            "goal": "ratio ≥ 2 for each; LoRA ≥ 0.95 × our own full fine-tuning",
            "lora_to_full": lora_to_full(4 * args.repetitions),
            **figures,
        },
        args.json,
    )


if __name__ == "__main__":
    main()
