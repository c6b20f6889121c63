"""The compiled order book against a plain one of sorted dictionaries, and its sequence rules one by one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from market.book_sequence import Step, replacing, step_after
from market.events import ASK, BID, Events
from tests.laws.messages import book_message
from transforms.order_book import (
    BROKEN,
    NO_SNAPSHOT,
    VALID,
    apply_order_book_record,
    break_book,
    is_two_sided,
)
from transforms.state import BOOK_LEVELS, BOOK_SLOTS, State, new_state

Levels = list[tuple[int, int]]


def fresh() -> State:
    return new_state(price_scale=100.0, quantity_scale=1000.0)


def apply(state: State, message: Events) -> None:
    for record in message:
        apply_order_book_record(state["book"][0], state["sums"][0], record)


def levels(state: State, side: str) -> Levels:
    """(px, qty) of a side, the best first."""
    kept = state["book"][side][0]
    held = slice(int(kept["first"]), int(kept["end"]))
    return list(zip(kept["px"][held][::-1].tolist(), kept["qty"][held][::-1].tolist(), strict=True))


def known(state: State, name: str) -> int:
    return int(state["book"][name][0])


def changes(state: State) -> int:
    return int(state["sums"]["best_changes"][0])


def imbalance(state: State) -> int:
    high, low = state["sums"]["order_flow_imbalance"][0].tolist()
    return int(high) * 2**62 + int(low)


def with_book(*, update_id: int = 10) -> State:
    """A valid book 99 / 101."""
    state = fresh()
    apply(state, book_message(5, update_id, bids=[(99, 3), (98, 4)], asks=[(101, 5), (102, 6)], is_snapshot=True))
    return state


class PlainBook:
    """The same rules written slowly: two sorted dictionaries, a message applied to copies and kept when it is sound."""

    def __init__(self) -> None:
        self.bids: Any = SortedDict()
        self.asks: Any = SortedDict()
        self.validity = NO_SNAPSHOT
        self.last_update_id = 0
        self.changes = 0
        self.imbalance = 0

    def give_up(self) -> None:
        self.bids, self.asks = SortedDict(), SortedDict()
        self.validity = BROKEN

    def apply(self, message: Events) -> None:
        update_id = int(message["update_id"][0])
        is_whole = bool(replacing(message)[0])
        step = step_after(self.last_update_id, update_id, update_id)
        if not is_whole and (self.validity != VALID or step is Step.REPEATED):
            return
        if not is_whole and step is Step.GAP:
            self.give_up()
            return
        before = self.best()
        bids, asks = (SortedDict(), SortedDict()) if is_whole else (self.bids.copy(), self.asks.copy())
        for field, px, qty in zip(
            message["field"].tolist(), message["px"].tolist(), message["qty"].tolist(), strict=True
        ):
            if field in {BID, ASK}:
                side = bids if field == BID else asks
                if qty:
                    side[px] = qty
                else:
                    side.pop(px, None)
        self.bids, self.asks, self.validity, self.last_update_id = bids, asks, VALID, update_id
        if bids and asks and bids.peekitem(-1)[0] >= asks.peekitem(0)[0]:
            self.give_up()
        after = self.best()
        if before is not None and after is not None:
            self.compare(before, after)

    def best(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        if self.validity != VALID or not self.bids or not self.asks:
            return None
        return self.bids.peekitem(-1), self.asks.peekitem(0)

    def compare(
        self, before: tuple[tuple[int, int], tuple[int, int]], after: tuple[tuple[int, int], tuple[int, int]]
    ) -> None:
        (old_bid, old_bid_qty), (old_ask, old_ask_qty) = before
        (bid, bid_qty), (ask, ask_qty) = after
        self.changes += (bid != old_bid) + (ask != old_ask)
        self.imbalance += (bid >= old_bid) * bid_qty - (bid <= old_bid) * old_bid_qty
        self.imbalance += (ask >= old_ask) * old_ask_qty - (ask <= old_ask) * ask_qty


@st.composite
def messages(draw: st.DrawFn) -> list[Events]:
    """A snapshot and then mostly the next id, from a narrow band of prices so that levels meet and sides empty."""
    written: list[Events] = []
    update_id = 5
    side = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 4)), max_size=6)
    for number in range(draw(st.integers(1, 40))):
        is_snapshot = number == 0 or draw(st.integers(0, 9)) == 0
        update_id = max(update_id + draw(st.sampled_from((1, 1, 1, 1, 1, 1, 1, 1, 0, 2, -1))), 1)
        bids = [(px, qty) for px, qty in draw(side)]
        asks = [(px + draw(st.sampled_from((30, 30, 30, 30, 25))), qty) for px, qty in draw(side)]
        if is_snapshot:
            bids, asks = [(px, qty + 1) for px, qty in bids], [(px, qty + 1) for px, qty in asks]
        written.append(book_message(number, update_id, bids=bids, asks=asks, is_snapshot=is_snapshot))
    return written


@settings(max_examples=60)
@given(written=messages())
def test_the_book_is_that_of_sorted_dictionaries_after_every_message(written: list[Events]) -> None:
    state, plain = fresh(), PlainBook()
    for message in written:
        apply(state, message)
        plain.apply(message)
        assert known(state, "validity") == plain.validity
        assert levels(state, "bids") == list(reversed(plain.bids.items()))
        assert levels(state, "asks") == list(plain.asks.items())
        assert changes(state) == plain.changes
        assert imbalance(state) == plain.imbalance
        assert is_two_sided(state["book"][0]) == (plain.best() is not None)


def test_a_deep_book_under_random_updates_is_that_of_sorted_dictionaries() -> None:
    random = np.random.default_rng(2)
    state, plain = fresh(), PlainBook()
    first = book_message(1, 5, bids=[(5_000, 1)], asks=[(5_001, 1)], is_snapshot=True)
    updates = [
        book_message(
            2 + number,
            6 + number,
            bids=[
                (int(px), int(qty))
                for px, qty in zip(random.integers(4_000, 5_000, 40), random.integers(0, 3, 40), strict=True)
            ],
            asks=[
                (int(px), int(qty))
                for px, qty in zip(random.integers(5_001, 6_000, 40), random.integers(0, 3, 40), strict=True)
            ],
        )
        for number in range(300)
    ]
    for message in [first, *updates]:
        apply(state, message)
        plain.apply(message)
    assert len(levels(state, "bids")) > 500
    assert levels(state, "bids") == list(reversed(plain.bids.items()))
    assert levels(state, "asks") == list(plain.asks.items())
    assert imbalance(state) == plain.imbalance


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("depth", [3, BOOK_LEVELS - 1])
def test_a_book_that_wanders_further_than_it_is_deep_is_that_of_sorted_dictionaries(direction: int, depth: int) -> None:
    state, plain = fresh(), PlainBook()
    bid = 100_000
    bids = [(bid - level, 1 + level) for level in range(depth)]
    asks = [(bid + 1 + level, 1 + level) for level in range(depth)]
    written = [book_message(1, 5, bids=bids, asks=asks, is_snapshot=True)]
    for number in range(BOOK_SLOTS):
        old, bid = bid, bid + direction
        best, worst = (old, old - depth + 1) if direction < 0 else (bid, old - depth + 1)
        written.append(
            book_message(
                2 + number,
                6 + number,
                bids=[(worst, 0), (best, 7)] if direction > 0 else [(best, 0), (worst - 1, 7)],
                asks=[(old + 1, 0), (old + 1 + depth, 7)] if direction > 0 else [(old + depth, 0), (old, 7)],
            )
        )
    for message in written:
        apply(state, message)
        plain.apply(message)
    assert len(levels(state, "bids")) == len(levels(state, "asks")) == depth
    assert levels(state, "bids") == list(reversed(plain.bids.items()))
    assert levels(state, "asks") == list(plain.asks.items())


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
