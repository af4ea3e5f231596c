"""Work done by several threads, its results in order and few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def in_order(
    threads: ThreadPoolExecutor, task: Callable[[int], Made], numbers: Sequence[int], workers: int
) -> Iterator[tuple[int, Made]]:
    """Results in the order of the numbers; no more of them wait than there are workers."""
    waiting: deque[tuple[int, Future[Made]]] = deque()
    left = iter(numbers)
    try:
        for number in left:
            waiting.append((number, threads.submit(task, number)))
            if len(waiting) > workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
