"""MOIRAI training step, ours beside uni2ts.

    python benchmarks/moirai_step.py --peer-python PATH --json

Forward, loss, backward, gradient clipping and AdamW on the same packed batch of 32 rows of 512
slots, d_model 128, 4 layers, patch sizes 8 … 128, fp32, one thread, in turns.
"""

from __future__ import annotations

import torch
from interleave import arguments, cpu_seconds, report
from peers.inputs import PATCH_SIZES, packed_batch

from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig


def main() -> None:
    args = arguments("MOIRAI training step, ours beside uni2ts", repetitions=7)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Moirai(MoiraiConfig(d_model=128, num_layers=4, patch_sizes=PATCH_SIZES))
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=1e-4, betas=(0.9, 0.98), weight_decay=0.1, fused=True
    )
    batch = packed_batch()

    def step() -> None:
        total, count = model.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    ours, peer = cpu_seconds(step, args.peer_python, ["uni2ts_step.py"], args.repetitions)
    slots = batch["sample_id"].numel()
    report(
        {
            "ours": slots / ours,
            "peer": slots / peer if peer else None,
            "ratio": peer / ours if peer else None,
            "unit": "token slots per CPU-second",
            "goal": "ratio ≥ 5",
            "ours_cpu_seconds": ours,
            "peer_cpu_seconds": peer,
        },
        args.json,
    )


if __name__ == "__main__":
    main()
