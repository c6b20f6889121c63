"""The sequence rules of the compiled order book, one by one."""

from __future__ import annotations

from typing import Final

import pytest

from tests.laws.messages import book_message
from tests.order_books import Levels, apply, changes, fresh, imbalance, known, levels
from transforms.order_book import (
    BROKEN,
    NO_SNAPSHOT,
    VALID,
    break_book,
    is_two_sided,
)
from transforms.state import BOOK_LEVELS, State


def with_book(*, update_id: int = 10) -> State:
    """A valid book 99 / 101."""
    state = fresh()
    apply(state, book_message(5, update_id, bids=[(99, 3), (98, 4)], asks=[(101, 5), (102, 6)], is_snapshot=True))
    return state


NEXT: Final = [(98, 9)]


@pytest.mark.parametrize(
    ("update_id", "is_snapshot", "validity", "bids", "gaps", "duplicates"),
    [
        (11, False, VALID, [(99, 3), (98, 9)], 0, 0),
        (10, False, VALID, [(99, 3), (98, 4)], 0, 1),
        (2, False, VALID, [(99, 3), (98, 4)], 0, 1),
        (12, False, BROKEN, [], 1, 0),
        (10**15, False, BROKEN, [], 1, 0),
        (1, False, VALID, [(98, 9)], 0, 0),
        (10, True, VALID, [(98, 9)], 0, 0),
        (3, True, VALID, [(98, 9)], 0, 0),
        (500, True, VALID, [(98, 9)], 0, 0),
    ],
    ids=[
        "the next id is applied",
        "the same id is a duplicate",
        "an older id is a duplicate",
        "one id left out is a gap",
        "many ids left out are a gap",
        "id 1 is a restart and replaces the book",
        "a snapshot replaces the book at the same id",
        "a snapshot replaces the book at an older id",
        "a snapshot replaces the book at any later id",
    ],
)
def test_the_update_id_decides_the_fate_of_a_message(
    *,
    update_id: int,
    is_snapshot: bool,
    validity: int,
    bids: Levels,
    gaps: int,
    duplicates: int,
) -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, update_id, bids=NEXT, asks=[(103, 1)], is_snapshot=is_snapshot))
    assert known(state, "validity") == validity
    assert levels(state, "bids") == bids
    assert (known(state, "gaps"), known(state, "duplicates")) == (gaps, duplicates)
    assert known(state, "two_sided_since_ns") == 5, "a book that is replaced was never unknown"


def test_deltas_before_the_first_snapshot_are_ignored_and_are_no_gap() -> None:
    state = fresh()
    apply(state, book_message(6, 12, bids=NEXT, asks=[(103, 1)]))
    assert known(state, "validity") == NO_SNAPSHOT
    assert levels(state, "bids") == []
    assert known(state, "gaps") == 0


def test_a_broken_book_ignores_deltas_until_a_snapshot_even_contiguous_ones() -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 13, bids=NEXT))
    for update_id in (11, 13, 14):
        apply(state, book_message(7, update_id, bids=NEXT, asks=[(103, 1)]))
    assert known(state, "validity") == BROKEN
    assert levels(state, "bids") == []
    apply(state, book_message(8, 40, bids=NEXT, asks=[(103, 1)], is_snapshot=True))
    assert known(state, "validity") == VALID
    apply(state, book_message(9, 41, bids=[(99, 1)]))
    assert levels(state, "bids") == [(99, 1), (98, 9)]


def test_a_control_gap_empties_the_book() -> None:
    state = with_book()
    break_book(state["book"][0], 77)
    assert known(state, "validity") == BROKEN
    assert known(state, "broken_ns") == 77
    assert levels(state, "bids") == levels(state, "asks") == []
    apply(state, book_message(78, 12, bids=NEXT, asks=[(103, 1)], is_snapshot=True))
    assert known(state, "two_sided_since_ns") == 78


@pytest.mark.parametrize("bid", [101, 102, 150])
def test_a_locked_or_crossed_book_is_invalid(bid: int) -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 11, bids=[(bid, 1)]))
    assert known(state, "validity") == BROKEN
    assert known(state, "crossed") == 1
    assert known(state, "broken_ns") == 6


def test_a_message_that_crosses_and_uncrosses_within_itself_is_sound() -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 11, bids=[(101, 1)], asks=[(101, 0)]))
    assert known(state, "validity") == VALID
    assert levels(state, "bids")[0] == (101, 1)


def test_an_empty_side_leaves_the_book_valid_but_unknown_until_it_is_filled() -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 11, asks=[(101, 0), (102, 0)]))
    assert known(state, "validity") == VALID
    assert not is_two_sided(state["book"][0])
    apply(state, book_message(7, 12, asks=[(105, 2)]))
    assert is_two_sided(state["book"][0])
    assert known(state, "two_sided_since_ns") == 7
    assert changes(state) == 0, "there was no best ask to compare with"


def test_a_side_that_overflows_breaks_the_book() -> None:
    state = fresh()
    full = [(px, 1) for px in range(1, BOOK_LEVELS + 1)]
    apply(state, book_message(5, 10, bids=full, asks=[(9_000, 1)], is_snapshot=True))
    assert len(levels(state, "bids")) == BOOK_LEVELS
    apply(state, book_message(6, 11, bids=[(1, 0), (5_000, 1)]))
    assert known(state, "validity") == VALID
    apply(state, book_message(7, 12, bids=[(5_001, 1), (2, 0)]))
    assert known(state, "validity") == BROKEN
    assert known(state, "overflows") == 1
    assert levels(state, "bids") == levels(state, "asks") == []


def test_deleting_an_unknown_level_changes_nothing() -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 11, bids=[(97, 0), (150, 0), (1, 0)]))
    assert levels(state, "bids") == [(99, 3), (98, 4)]


def test_a_message_without_levels_still_counts_in_the_sequence() -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 11))
    apply(state, book_message(7, 12, bids=NEXT))
    assert levels(state, "bids") == [(99, 3), (98, 9)]


def test_a_message_that_moves_both_best_prices_counts_two_changes() -> None:
    state = with_book(update_id=10)
    apply(state, book_message(6, 11, bids=[(100, 2)], asks=[(101, 0)]))
    assert changes(state) == 2
    # Bid up: + its quantity. Ask up: + the quantity that stood there.
    assert imbalance(state) == 2 + 5
