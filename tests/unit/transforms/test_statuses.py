"""Statuses and reasons at the very moment at which they change, and which of two counts."""

from __future__ import annotations

import pytest

from market.clock import SECOND_NS
from market.events import TRADE
from tests.laws.messages import MIDNIGHT_NS
from transforms.order_book import VALID
from transforms.state import State, new_state
from transforms.status import GAP, NO_DATA, OK, STALE, UNDEFINED, WARMUP
from transforms.steps import history_reason, source_status, trade_reason, unknown_book_window

ROW_NS = MIDNIGHT_NS + 1_000 * SECOND_NS
WARM_UP_NS, STALE_NS, HORIZON_NS = 60 * SECOND_NS, 90 * SECOND_NS, 300 * SECOND_NS


def traded(*, began_ago_ns: int, seen_ago_ns: int | None) -> State:
    """Trades since so long ago, the last so long ago; None is never."""
    state = new_state(price_scale=100.0, quantity_scale=1000.0, tile_ns=SECOND_NS)
    state["start_ns"][0, TRADE] = ROW_NS - began_ago_ns
    if seen_ago_ns is not None:
        state["last_seen_ns"][0, TRADE] = ROW_NS - seen_ago_ns
    return state


@pytest.mark.parametrize(("began_ago_ns", "reason"), [(WARM_UP_NS - 1, WARMUP), (WARM_UP_NS, OK), (WARM_UP_NS + 1, OK)])
def test_a_feature_is_warm_once_its_history_is_as_long_as_it_looks_back(began_ago_ns: int, reason: int) -> None:
    state = traded(began_ago_ns=began_ago_ns, seen_ago_ns=0)
    assert history_reason(state[0], ROW_NS, TRADE, WARM_UP_NS) == reason
    assert source_status(state[0], ROW_NS, TRADE, HORIZON_NS, WARM_UP_NS, STALE_NS) == reason


@pytest.mark.parametrize(
    ("seen_ago_ns", "reason", "status"),
    [
        (STALE_NS, OK, OK),
        (STALE_NS + 1, OK, STALE),
        (HORIZON_NS, OK, STALE),
        (HORIZON_NS + 1, NO_DATA, NO_DATA),
        (None, NO_DATA, NO_DATA),
    ],
)
def test_a_silent_source_is_stale_past_its_limit_and_has_no_data_past_the_horizon(
    seen_ago_ns: int | None, reason: int, status: int
) -> None:
    state = traded(began_ago_ns=HORIZON_NS, seen_ago_ns=seen_ago_ns)
    assert trade_reason(state[0], ROW_NS, HORIZON_NS, WARM_UP_NS) == reason
    assert source_status(state[0], ROW_NS, TRADE, HORIZON_NS, WARM_UP_NS, STALE_NS) == status


def test_a_source_that_is_silent_and_cold_is_stale() -> None:
    state = traded(began_ago_ns=WARM_UP_NS - 1, seen_ago_ns=STALE_NS + 1)
    assert source_status(state[0], ROW_NS, TRADE, HORIZON_NS, WARM_UP_NS, STALE_NS) == STALE


@pytest.mark.parametrize(("before_window_ns", "reason"), [(1, UNDEFINED), (0, UNDEFINED), (-1, GAP)])
def test_a_book_that_was_broken_within_the_window_is_a_gap(before_window_ns: int, reason: int) -> None:
    state = new_state(price_scale=100.0, quantity_scale=1000.0, tile_ns=SECOND_NS)
    state["book"]["validity"][0] = VALID
    state["book"]["broken_ns"][0] = ROW_NS - HORIZON_NS - before_window_ns
    assert unknown_book_window(state[0], ROW_NS, HORIZON_NS) == reason
