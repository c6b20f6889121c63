"""BLAS is held to one thread as long as somebody holds it, and has what it had afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
from threadpoolctl import threadpool_info

from quality.one_thread import one_blas_thread


def blas_threads() -> set[int]:
    assert np.ones((2, 2)) @ np.ones(2) is not None  # so that it is loaded
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_of_two_who_hold_it_the_last_gives_the_threads_back() -> None:
    met = Barrier(2, timeout=30)
    first_left = Barrier(2, timeout=30)

    def hold(*, leaves_first: bool) -> set[int]:
        with one_blas_thread():
            met.wait()
            if leaves_first:
                return blas_threads()
            first_left.wait()
            return blas_threads()

    before = blas_threads()
    with ThreadPoolExecutor(2) as pool:
        last = pool.submit(hold, leaves_first=False)
        first = pool.submit(hold, leaves_first=True)
        assert first.result() == {1}
        first_left.wait()
        assert last.result() == {1}
    assert blas_threads() == before
