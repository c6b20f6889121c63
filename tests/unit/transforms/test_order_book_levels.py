"""The levels of an order book are those of sorted dictionaries, whatever messages come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from market.book_sequence import Step, replacing, step_after
from market.events import ASK, BID, Events
from tests.laws.messages import book_message
from tests.order_books import apply, changes, fresh, imbalance, known, levels
from transforms.order_book import (
    BROKEN,
    NO_SNAPSHOT,
    VALID,
    is_two_sided,
)
from transforms.state import BOOK_LEVELS, BOOK_SLOTS


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
