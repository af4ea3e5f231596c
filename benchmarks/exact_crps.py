"""What the exact CRPS adds to a backtest of MOIRAI small on the bundled suite ``general``.

    python benchmarks/exact_crps.py --json

CPU seconds on one thread of forecasting and scoring all windows, those spent on the exact CRPS of
the mixtures apart. With the patch size chosen for each series (the default), and with one of 32,
which forecasts at a fraction of the cost. Weights are random.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any
from unittest import mock

import numpy as np

PATCH_SIZES = {"chosen": None, "32": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    result = {name: added(size) for name, size in PATCH_SIZES.items()}
    for name, found in result.items():
        print(
            f"patch size {name}: {found['exact']:.2f} s beside {found['rest']:.2f} s "
            f"(+{100 * found['ratio']:.1f} %)"
        )
    if options.json:
        print(json.dumps(result))


def added(patch_size: int | None) -> dict[str, float]:
    """CPU seconds of the exact CRPS, of everything else, and their ratio."""
    import torch

    from tsfm.evaluation import backtest
    from tsfm.evaluation.suites import load_suite
    from tsfm.evaluation.window_blocks import block_table
    from tsfm.models.moirai import Moirai
    from tsfm.models.moirai_config import MoiraiConfig

    torch.manual_seed(0)
    model = Moirai(MoiraiConfig.preset("small", patch_size=patch_size))
    warm = model.predict(past=np.arange(300.0), horizon=8)
    backtest.exact_crps(warm, warm.mean)
    spent, score = 0.0, backtest.exact_crps

    def timed(*asked: Any) -> Any:
        nonlocal spent
        began = time.process_time()
        found = score(*asked)
        spent += time.process_time() - began
        return found

    opened = [entry.open() for entry in load_suite("general")]
    began = time.process_time()
    with mock.patch.object(backtest, "exact_crps", timed):
        for task, panel in opened:
            for part in backtest.stream(model, task, panel):
                block_table(part)
    rest = time.process_time() - began - spent
    return {"exact": spent, "rest": rest, "ratio": spent / rest}


if __name__ == "__main__":
    main()
