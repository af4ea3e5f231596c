"""Simulated bars, ours beside GARCH paths of arch: python benchmarks/simulator.py --json

Ours is the whole market of :mod:`tsfm.data.ohlcv.simulator` (correlated assets, volume, valid
ranges). The peer is what the ``arch`` library offers: a GARCH(1, 1) path of as many
steps per bar, folded into open, high, low and close, of one asset after another and without
volume. Both in bars per CPU second, the compilation of ours left out.
"""

from __future__ import annotations

import numpy as np
from interleave import arguments, cpu_seconds, report

from tsfm.data.ohlcv.simulator import MarketConfig, simulate_arrays, simulate_panel

CONFIG = MarketConfig(n_assets=32, n_bars=20_000)
PEER_BARS = 20_000
PARAMETERS = np.array([0.0, 0.01, 0.1, 0.88])


def main() -> None:
    args = arguments("simulated bars, ours beside arch", repetitions=3)
    bars = CONFIG.n_assets * CONFIG.n_bars
    arrays, _ = cpu_seconds(lambda: simulate_arrays(CONFIG), None, [], args.repetitions)
    panel, _ = cpu_seconds(lambda: simulate_panel(CONFIG), None, [], args.repetitions)
    garch, _ = cpu_seconds(garch_bars, None, [], args.repetitions)
    report(
        {
            "units": "bars per CPU second",
            "ours": bars / arrays,
            "ours as a panel": bars / panel,
            "peer": PEER_BARS / garch,
            "ratio": garch / PEER_BARS * bars / arrays,
        },
        args.json,
    )


def garch_bars() -> np.ndarray:
    """Logs of open, high, low and close, ``[4, bar]``."""
    from arch.univariate import GARCH, ConstantMean, Normal

    steps = CONFIG.n_steps
    normal = Normal(seed=np.random.default_rng(0))
    model = ConstantMean(volatility=GARCH(1, 0, 1), distribution=normal)
    path = model.simulate(PARAMETERS, PEER_BARS * steps)["data"].to_numpy().cumsum()
    folded = path.reshape(PEER_BARS, steps)
    return np.stack([folded[:, 0], folded.max(axis=1), folded.min(axis=1), folded[:, -1]])


if __name__ == "__main__":
    main()
