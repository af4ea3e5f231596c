"""The peer's side of a benchmark: one repetition for each line on stdin, its CPU seconds back."""

import sys
import time


def answer(repetition):
    """Warm up once, then time one call of ``repetition`` per line until stdin closes."""
    repetition()
    for _ in sys.stdin:
        begin = time.process_time()
        repetition()
        print("cpu_seconds", time.process_time() - begin, flush=True)
