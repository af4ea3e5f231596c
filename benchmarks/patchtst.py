"""PatchTST training step with attention between channels, ours beside Hugging Face's.

    python benchmarks/patchtst.py --json

Forward, loss, backward, gradient clipping and AdamW on the same 32 windows of 3 variates, 512 bars
to 128, patch 16, d_model 128, 4 layers, 4 heads, feed-forward 256, fp32. The peer is
``transformers.PatchTSTForPrediction(channel_attention=True)``, a dependency of ours, in this very
process and in turns. ``ours`` and ``peer`` are windows per second on all cores by the fastest
repetition, since whatever else runs on the machine can only slow one down; ``*_cpu`` are windows
per CPU-second on one thread by the median one, ``*_none`` the same without channel attention.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from interleave import report

from tsfm.models.patchtst import PatchTST
from tsfm.models.patchtst_config import PatchTSTConfig
from tsfm.models.patchtst_hf_config import HfPatchTSTConfig, build_network

WINDOWS, VARIATES, CONTEXT, HORIZON = 32, 3, 512, 128


def main() -> None:
    parser = argparse.ArgumentParser(description="PatchTST training, ours beside Hugging Face's")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    torch.manual_seed(0)
    values = torch.randn(WINDOWS, VARIATES, CONTEXT + HORIZON).cumsum(-1)
    steps = {
        "ours": our_step(values, "attention"),
        "peer": peer_step(values, "attention"),
        "ours_none": our_step(values, "none"),
        "peer_none": peer_step(values, "none"),
    }
    torch.set_num_threads(args.threads)
    wall = seconds(steps, args.repetitions, time.perf_counter)
    torch.set_num_threads(1)
    cpu = seconds(steps, args.repetitions, time.process_time)
    rates = {name: WINDOWS / min(taken) for name, taken in wall.items()}
    rates |= {f"{name}_cpu": WINDOWS / statistics.median(taken) for name, taken in cpu.items()}
    report(
        {
            "ours": rates.pop("ours"),
            "peer": rates.pop("peer"),
            "ratio": min(wall["peer"]) / min(wall["ours"]),
            "unit": f"training windows per second on {args.threads} threads",
            "goal": "ratio ≥ 1.5",
            "ratio_cpu": statistics.median(cpu["peer"]) / statistics.median(cpu["ours"]),
            "ratio_none": min(wall["peer_none"]) / min(wall["ours_none"]),
            **rates,
        },
        args.json,
    )


def our_step(values: torch.Tensor, channel_mixing: str) -> Callable[[], None]:
    """One training step of ours."""
    model = PatchTST(PatchTSTConfig(channel_mixing=channel_mixing))
    context, future = values[..., :CONTEXT].contiguous(), values[..., CONTEXT:].contiguous()
    batch = {"context": context, "future": future, "scored": torch.ones_like(future).bool()}

    def loss() -> torch.Tensor:
        total, count = model.loss(batch)
        return total / count

    return step(model, loss)


def peer_step(values: torch.Tensor, channel_mixing: str) -> Callable[[], None]:
    """One training step of the library's."""
    config = HfPatchTSTConfig(channel_mixing=channel_mixing, variates=VARIATES)
    model = build_network(config).train()
    bars_first = values.transpose(1, 2).contiguous()
    past, future = bars_first[:, :CONTEXT], bars_first[:, CONTEXT:]
    return step(model, lambda: model(past_values=past, future_values=future).loss)


def step(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Loss, gradients, clipping and AdamW."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return run


def seconds(
    steps: dict[str, Callable[[], None]], repetitions: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each repetition, the steps taking turns after one round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(repetitions + 1):
        for name, run in steps.items():
            began = clock()
            run()
            if round_:
                taken[name].append(clock() - began)
    return taken


if __name__ == "__main__":
    main()
