"""A window is the sum of its seconds, whole and nothing else."""

from __future__ import annotations

import pytest

from market.clock import SECOND_NS
from market.events import BUY, SELL
from tests.laws.messages import MIDNIGHT_NS, trade_message
from transforms.state import TILE_COUNT, State, new_state
from transforms.tiles import apply_trade_record, extend_trades, no_trades, open_tile, tile_before


def with_trades(*times_ns: int) -> State:
    """A buy of 5 and a sale of 3 at 100 at each time."""
    state = new_state(price_scale=100.0, quantity_scale=1000.0)
    for time_ns in times_ns:
        row_ns = (time_ns // SECOND_NS + 1) * SECOND_NS
        for record in trade_message(time_ns, (BUY, 100, 5), (SELL, 100, 3)):
            apply_trade_record(state["tiles"][0], tile_before(row_ns, 1), record)
    return state


@pytest.mark.parametrize(
    ("before_row_ns", "is_inside"),
    [(1, True), (SECOND_NS, True), (15 * SECOND_NS, True), (15 * SECOND_NS + 1, False), (0, False)],
)
def test_a_window_is_closed_on_the_left_and_open_on_the_right(before_row_ns: int, is_inside: bool) -> None:  # noqa: FBT001  # a table
    row_ns = MIDNIGHT_NS + 100 * SECOND_NS
    window = extend_trades(with_trades(row_ns - before_row_ns)["tiles"][0], row_ns, no_trades(), 0, 15)
    assert tuple(window) == ((8, 5, 3, 800, 2) if is_inside else (0, 0, 0, 0, 0))


def test_a_longer_window_goes_on_from_a_shorter_one() -> None:
    row_ns = MIDNIGHT_NS
    tiles = with_trades(*(row_ns - back * SECOND_NS for back in (1, 3, 4, 15, 16, 300)))["tiles"][0]
    short = extend_trades(tiles, row_ns, no_trades(), 0, 3)
    assert short.trade_count == 4
    for seconds in (4, 15, 16, 300):
        long = extend_trades(tiles, row_ns, short, 3, seconds)
        assert tuple(long) == tuple(extend_trades(tiles, row_ns, no_trades(), 0, seconds))
    assert extend_trades(tiles, row_ns, short, 3, 300).trade_count == 12


def test_a_second_that_begins_is_empty_even_where_an_old_one_stood() -> None:
    state = with_trades(MIDNIGHT_NS)
    again_ns = MIDNIGHT_NS + (TILE_COUNT + 1) * SECOND_NS
    assert tile_before(again_ns, 1) == tile_before(MIDNIGHT_NS + SECOND_NS, 1)
    open_tile(state[0], tile_before(again_ns, 1))
    assert tuple(extend_trades(state["tiles"][0], again_ns, no_trades(), 0, 1)) == (0, 0, 0, 0, 0)
