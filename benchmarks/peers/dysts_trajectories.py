"""The peer of benchmarks/trajectories.py: dysts integrating with scipy, one line per request.

A request is a JSON object with ``name``, ``n``, ``method``, ``rtol``, ``atol`` and ``path``; the
answer is ``cpu_seconds S``, or ``failed REASON``, and the trajectory lies at ``path`` (npz of
``times`` and ``states``). Compilation by dysts is left out: the flow is called once before.
"""

import json
import sys
import time
import warnings

import numpy as np
from dysts import flows

warnings.filterwarnings("ignore")


def trajectory(request):
    system = getattr(flows, request["name"])()
    system.rhs(np.asarray(system.ic, dtype=float), 0.0)
    begin = time.process_time()
    result = system.make_trajectory(
        request["n"],
        method=request["method"],
        rtol=request["rtol"],
        atol=request["atol"],
        return_times=True,
        postprocess=False,
    )
    seconds = time.process_time() - begin
    if result[0] is None:
        raise RuntimeError("it did not reach the last time")
    np.savez(request["path"], times=result[0], states=result[1])
    return seconds


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            print("cpu_seconds", trajectory(json.loads(line)), flush=True)
        except Exception as error:
            print("failed", repr(error).replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
