"""One thread for products of matrices: of those of a block or a column two threads burn several times the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = Lock()
_held: list[Any] = []
"""What gives the threads back, once for all who hold them."""
_holders = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread, for the whole process, until the last who holds it is done; from any thread."""
    global _holders  # noqa: PLW0603  # the threads are the process's too
    with _lock:
        if _holders == 0:
            _held.append(ThreadpoolController().limit(limits=1, user_api="blas"))
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _held.pop().restore_original_limits()
