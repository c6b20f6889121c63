"""Which candles a row may look at: confirmed, fresh, contiguous and received within the horizon."""

from __future__ import annotations

from typing import Final

import pytest

from market.clock import MINUTE_NS, SECOND_NS
from market.events import CLOSE, Events
from tests.laws.messages import MIDNIGHT_NS, kline_message
from transforms.candles import apply_kline_record, candle_horizon_ns, collect_candles
from transforms.state import CANDLE_COUNT, State, new_state

ARRIVAL_NS: Final = SECOND_NS


def minute(number: int) -> int:
    return MIDNIGHT_NS + number * MINUTE_NS


def candle(number: int, *, close: int = 0, recv_ns: int | None = None, is_confirmed: bool = True) -> Events:
    """The candle of a minute, received a second after its end; its close tells which it is."""
    arrived_ns = minute(number + 1) + ARRIVAL_NS if recv_ns is None else recv_ns
    return kline_message(arrived_ns, minute(number), close or 1_000 + number, is_confirmed=is_confirmed)


def apply(state: State, message: Events) -> None:
    for record in message:
        apply_kline_record(state["candles"][0], record)


def holding(*messages: Events) -> State:
    state = new_state(price_scale=100.0, quantity_scale=1000.0)
    for message in messages:
        apply(state, message)
    return state


def closes(state: State, row_ns: int, count: int) -> list[int]:
    """Closes of the candles known at the row, oldest first."""
    candles = state["candles"][0]
    collect_candles(candles, row_ns, count)
    known = int(candles["known"])
    return [int(close) for close in candles["window"][CLOSE, CANDLE_COUNT - known :]]


def test_the_last_candles_come_oldest_first_and_no_more_than_asked_for() -> None:
    six = [candle(number) for number in range(6)]
    assert closes(holding(*six), minute(6) + 2 * SECOND_NS, 3) == [1_003, 1_004, 1_005]
    assert closes(holding(*six), minute(6) + 2 * SECOND_NS, 10) == [1_000, 1_001, 1_002, 1_003, 1_004, 1_005]


def test_a_hole_is_never_bridged() -> None:
    state = holding(*(candle(number) for number in (0, 1, 2, 4, 5)))
    assert closes(state, minute(6) + 2 * SECOND_NS, 5) == [1_004, 1_005]


def test_a_hole_that_is_filled_late_is_whole_again() -> None:
    state = holding(*(candle(number) for number in (0, 1, 2, 4, 5)), candle(3, recv_ns=minute(6) + 2 * SECOND_NS))
    assert closes(state, minute(6) + 3 * SECOND_NS, 6) == [1_000, 1_001, 1_002, 1_003, 1_004, 1_005]


def test_a_re_sent_candle_replaces_the_first() -> None:
    state = holding(*(candle(number) for number in range(3)), candle(1, close=7, recv_ns=minute(3) + 2 * SECOND_NS))
    assert closes(state, minute(3) + 3 * SECOND_NS, 3) == [1_000, 7, 1_002]


def test_an_unconfirmed_candle_is_ignored_and_leaves_no_trace() -> None:
    state = holding(candle(0), candle(1, close=5, is_confirmed=False), candle(1))
    assert closes(state, minute(2) + 2 * SECOND_NS, 3) == [1_000, 1_001]
    unconfirmed = holding(candle(0), candle(0, close=5, is_confirmed=False), candle(1, is_confirmed=False))
    assert closes(unconfirmed, minute(1) + 2 * SECOND_NS, 3) == [1_000]


@pytest.mark.parametrize(("age_ns", "known"), [(2 * MINUTE_NS, 1), (2 * MINUTE_NS + 1, 0)])
def test_no_candle_is_known_once_the_newest_was_received_more_than_two_minutes_ago(age_ns: int, known: int) -> None:
    row_ns = minute(9)
    assert len(closes(holding(candle(5, recv_ns=row_ns - age_ns)), row_ns, 3)) == known


@pytest.mark.parametrize(("late_ns", "known"), [(0, 3), (1, 2)])
def test_a_candle_received_before_its_horizon_is_not_seen(late_ns: int, known: int) -> None:
    row_ns = minute(9)
    oldest_ns = row_ns - candle_horizon_ns(3) - late_ns
    state = holding(
        candle(5, recv_ns=oldest_ns), candle(6, recv_ns=row_ns - 3 * MINUTE_NS), candle(7, recv_ns=row_ns - MINUTE_NS)
    )
    assert len(closes(state, row_ns, 3)) == known


def test_a_fresh_older_candle_stands_in_when_the_newest_is_stale() -> None:
    row_ns = minute(9)
    state = holding(candle(6, recv_ns=row_ns - 2 * MINUTE_NS - 1), candle(5, close=4, recv_ns=row_ns - SECOND_NS))
    assert closes(state, row_ns, 3) == [4]


def test_a_slot_taken_by_another_day_is_a_hole() -> None:
    later = CANDLE_COUNT + 3
    state = holding(candle(3), candle(later), candle(later - 1))
    assert closes(state, minute(later + 1) + 2 * SECOND_NS, 5) == [1_000 + later - 1, 1_000 + later]


def test_candles_are_collected_again_only_when_another_arrives_or_one_grows_too_old() -> None:
    state = holding(*(candle(number, recv_ns=minute(number + 1)) for number in range(3)))
    candles = state["candles"][0]
    until_ns = minute(3) + 2 * MINUTE_NS
    assert collect_candles(candles, minute(3) + SECOND_NS, 3)
    assert not collect_candles(candles, minute(3) + 2 * SECOND_NS, 3)
    assert not collect_candles(candles, until_ns, 3)
    assert int(candles["known"]) == 3
    assert collect_candles(candles, until_ns + 1, 3)
    assert int(candles["known"]) == 0
    assert not collect_candles(candles, until_ns + 9 * MINUTE_NS, 3), "what nobody can know stays unknown"

    apply(state, candle(3, recv_ns=until_ns))
    assert closes(state, until_ns + SECOND_NS, 2) == [1_002, 1_003]


def test_a_re_sent_candle_is_seen_in_the_next_row() -> None:
    state = holding(*(candle(number) for number in range(3)))
    assert closes(state, minute(3) + 2 * SECOND_NS, 3) == [1_000, 1_001, 1_002]
    apply(state, candle(1, close=7, recv_ns=minute(3) + 2 * SECOND_NS))
    assert closes(state, minute(3) + 3 * SECOND_NS, 3) == [1_000, 7, 1_002]


def test_an_older_candle_grows_too_old_before_the_newest_is_stale() -> None:
    row_ns = minute(9)
    state = holding(candle(6, recv_ns=row_ns - 3 * MINUTE_NS), candle(7, recv_ns=row_ns - MINUTE_NS))
    assert closes(state, row_ns, 2) == [1_006, 1_007]
    assert closes(state, row_ns + 1, 2) == [1_007]
