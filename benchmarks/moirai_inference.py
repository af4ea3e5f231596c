"""MOIRAI forecasts, ours beside uni2ts.

    python benchmarks/moirai_inference.py --peer-python PATH --json

Probabilistic forecasts, context 336, horizon 48, patch 16, d_model 128, 4 layers, fp32, one
thread, in turns: ours gives nine quantiles and the mean of every bar, straight from the mixture's
distribution function; the peer draws its 100 samples. ``ratio`` is the smaller of one and five
variates.
"""

from __future__ import annotations

import torch
from interleave import arguments, cpu_seconds, report
from peers.inputs import PATCH_SIZES, series

from tsfm.models.moirai import Moirai
from tsfm.models.moirai_config import MoiraiConfig

OURS, PEERS = {1: 512, 5: 128}, {1: 32, 5: 8}


def main() -> None:
    args = arguments("MOIRAI forecasts, ours beside uni2ts", repetitions=3)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = MoiraiConfig(
        d_model=128, num_layers=4, patch_sizes=PATCH_SIZES, context=336, horizon=48, patch_size=16
    )
    model = Moirai(config).eval()
    result: dict[str, float | str | None] = {}
    for n_variates, n_series in OURS.items():
        past = series(n_series, n_variates, 336).numpy()
        ours, peer = cpu_seconds(
            lambda past=past: model.predict(past=past, horizon=48),
            args.peer_python,
            ["uni2ts_inference.py", str(n_variates), str(PEERS[n_variates])],
            args.repetitions,
        )
        result[f"ours_{n_variates}"] = n_series / ours
        result[f"peer_{n_variates}"] = PEERS[n_variates] / peer if peer else None
    ratios = {
        n: result[f"ours_{n}"] / result[f"peer_{n}"]  # type: ignore[operator]
        for n in OURS
        if result[f"peer_{n}"]
    }
    worst = min(ratios, key=lambda n: ratios[n], default=1)
    report(
        {
            "ours": result[f"ours_{worst}"],
            "peer": result[f"peer_{worst}"],
            "ratio": min(ratios.values(), default=None),
            "unit": "series per CPU-second",
            "goal": "ratio ≥ 30 required, 100 wanted",
            "variates": worst,
            **result,
        },
        args.json,
    )


if __name__ == "__main__":
    main()
