"""Reading ahead keeps the order, holds a bounded number of results, and raises what a read raises in its turn."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from feature_repo.read_ahead import AHEAD, read_ahead


def test_results_come_in_order_whichever_read_ends_first_and_few_are_begun_before_they_are_wanted() -> None:
    begun: list[int] = []
    is_second_done = threading.Event()

    def read(number: int) -> int:
        begun.append(number)
        if number == 0:
            assert is_second_done.wait(30)
        if number == 1:
            is_second_done.set()
        return number

    reads = read_ahead(partial(read, number) for number in range(50))
    assert next(reads) == 0
    assert len(begun) <= AHEAD + 1
    assert list(reads) == list(range(1, 50))


def test_an_error_comes_in_its_turn_and_ends_the_reading() -> None:
    begun: list[int] = []

    def read(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("the third")
        return number

    with pytest.raises(ValueError, match="the third"):
        list(read_ahead(partial(read, number) for number in range(50)))
    reads = read_ahead(partial(read, number) for number in range(10, 60))
    assert next(reads) == 10
    reads.close()
    assert len(begun) <= 2 * (2 * AHEAD + 1)
