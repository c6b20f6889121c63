"""Read-ahead: of reads in order from a store that is far away, the next few go on while one is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

AHEAD: Final = 4
"""So many results more are held at most: of row groups, a few hundred megabytes."""


def read_ahead(reads: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """What each read gives, in order. Raises what one raises, in its turn; those that were not begun are given up."""
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(AHEAD)
    try:
        for read in reads:
            waiting.append(pool.submit(read))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
