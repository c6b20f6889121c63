"""BLAS is held to one thread as long as somebody holds it, and has what it had afterwards."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from threading import Barrier

import numpy as np
from threadpoolctl import threadpool_info

from quality.one_thread import one_blas_thread


def blas_threads() -> set[int]:
    assert np.ones((2, 2)) @ np.ones(2) is not None  # so that it is loaded
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def threads_of_two_who_hold_it() -> tuple[set[int], set[int], set[int], set[int]]:
    """Before, in the one that leaves first while both hold it, in the other afterwards, and at the end."""
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
        of_both = first.result()
        first_left.wait()
        return before, of_both, last.result(), blas_threads()


def test_of_two_who_hold_it_the_last_gives_the_threads_back() -> None:
    # The threads are a process's, and so of its own: libraries that other tests use change them too.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        before, of_both, of_last, after = processes.submit(threads_of_two_who_hold_it).result()
    assert (of_both, of_last) == ({1}, {1})
    assert after == before
